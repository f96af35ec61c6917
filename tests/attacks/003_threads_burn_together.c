// items: 3
// about: Threads that burn the CPU side by side are billed together.
// expect: cpu_limit
// walls: rlimits
// limits: cpu_ms=600 wall_ms=10000

#include <pthread.h>
#include <stddef.h>

static void *burn(void *nothing) {
    volatile unsigned long turns = 0;
    for (;;) turns++;
    return nothing;
}

int main(void) {
    pthread_t thread;
    for (int i = 0; i < 4; i++) pthread_create(&thread, NULL, burn, NULL);
    burn(NULL);
}
