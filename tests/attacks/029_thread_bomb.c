// items: 29
// about: Threads are tasks: as many as the limit says, whatever their stacks cost.
// expect: exited 0
// stdout: held
// walls: cgroup_pids
// limits: processes=16

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *wait_for_ever(void *nothing) {
    for (;;) pause();
    return nothing;
}

int main(void) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    int made = 0;
    pthread_t thread;
    while (made < 10000 && pthread_create(&thread, &small, wait_for_ever, 0) == 0) made++;
    printf(made < 16 ? "held\n" : "BROKEN: %d threads\n", made);
}
