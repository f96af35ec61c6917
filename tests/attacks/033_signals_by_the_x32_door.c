// items: 33 89
// about: Calls by the x32 table do not exist, nor do numbers beyond the newest.
// expect: exited 0
// stdout: held
// walls: seccomp
// architecture: x86_64

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    const long x32 = 0x40000000, calls[] = {x32 + 62, x32 + 39, x32 + 520, 100000, 0x7fffffff, -1};
    int works = 0;
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        if (syscall(calls[i], 1, SIGKILL, 0) != -1 || errno != ENOSYS) works |= 1 << i;
    printf(works ? "BROKEN: calls %#x\n" : "held\n", works);
}
