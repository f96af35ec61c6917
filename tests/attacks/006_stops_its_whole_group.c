// items: 6
// about: A group whose members stop each other again as soon as one goes on is killed all the same.
// expect: wall_limit
// limits: wall_ms=400

#include <signal.h>
#include <unistd.h>

int main(void) {
    for (int i = 0; i < 4; i++)
        if (fork() == 0)
            for (;;) kill(0, SIGSTOP);
    for (;;) kill(0, SIGSTOP);
}
