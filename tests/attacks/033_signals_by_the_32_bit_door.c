// items: 33 89
// about: A kill by the 32-bit entry of the kernel ends its own sender before anything is sent.
// expect: signaled 31
// stdout: held
// walls: seccomp
// architecture: x86_64

#include <stdio.h>

int main(void) {
    long answer;
    puts("held");
    fflush(stdout);
    // kill(1, SIGKILL), as the 32-bit table numbers it.
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(37), "b"(1), "c"(9) : "memory");
    printf("BROKEN: it answered %ld\n", answer);
}
