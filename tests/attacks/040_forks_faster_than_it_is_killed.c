// items: 40
// about: A chain of processes that lives only in the gap between fork and exit is caught by the kill that ends the run.
// expect: wall_limit
// walls: pidns
// limits: wall_ms=500 cpu_ms=60000 processes=20

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    signal(SIGCHLD, SIG_IGN);
    for (int chain = 0; chain < 6; chain++) {
        if (fork() != 0) continue;
        setsid();
        // The parent ends, the child goes on under a number that nobody has read yet.
        for (;;)
            if (fork() > 0) _exit(0);
    }
    for (;;) pause();
}
