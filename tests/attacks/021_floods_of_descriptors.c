// items: 21
// about: Whatever makes a descriptor is bounded by the limit on open files.
// expect: exited 0
// stdout: held
// walls: rlimits
// limits: open_files=64

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int an_inotify(void) { return inotify_init1(0); }
static int an_epoll(void) { return epoll_create1(0); }
static int a_timer(void) { return timerfd_create(CLOCK_MONOTONIC, 0); }
static int an_event(void) { return eventfd(0, 0); }
static int a_memory(void) { return memfd_create("x", 0); }
static int a_signal(void) {
    sigset_t none;
    sigemptyset(&none);
    return signalfd(-1, &none, 0);
}

int main(void) {
    int (*makers[])(void) = {an_inotify, an_epoll, a_timer, an_event, a_memory, a_signal};
    for (unsigned maker = 0; maker < sizeof makers / sizeof *makers; maker++) {
        int highest = -1, made;
        while ((made = makers[maker]()) >= 0 && made < 100000) highest = made;
        if (highest >= 64) {
            printf("BROKEN: maker %u reached descriptor %d\n", maker, highest);
            return 0;
        }
        for (; highest > 2; highest--) close(highest);
    }
    puts("held");
}
