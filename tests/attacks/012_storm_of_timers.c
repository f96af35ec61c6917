// items: 12
// about: A storm of timers and their signals costs its own program's time, and the number of timers is bounded.
// expect: cpu_limit
// stdout: held
// walls: rlimits
// limits: cpu_ms=500 wall_ms=10000

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void ignore(int signal) { (void)signal; }

int main(void) {
    static timer_t timers[100000];
    int made = 0;
    signal(SIGRTMIN, ignore);
    for (int i = 0; i < 100000; i++) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
        if (timer_create(CLOCK_MONOTONIC, &event, &timers[made]) != 0) break;
        made++;
    }
    printf(made <= 2048 ? "held\n" : "BROKEN: %d timers\n", made);
    fflush(stdout);
    struct itimerspec often = {{0, 100000}, {0, 100000}};
    for (int i = 0; i < made; i++) timer_settime(timers[i], 0, &often, 0);
    for (;;) {
        // The signals interrupt nothing else.
    }
}
