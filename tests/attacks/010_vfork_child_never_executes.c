// items: 10
// about: A parent that its vfork child keeps waiting, with all signals blocked, is killed at its wall limit.
// expect: wall_limit
// limits: wall_ms=400

#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

int main(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, 0);
    if (vfork() == 0)
        for (;;) pause();
    return 0;
}
