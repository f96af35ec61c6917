// items: 32
// about: Children that nobody waits for count as tasks, and are reaped at the end.
// expect: exited 0
// stdout: held
// walls: cgroup_pids
// limits: processes=16

#include <stdio.h>
#include <unistd.h>

int main(void) {
    int made = 0;
    for (; made < 10000; made++) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0) break;
    }
    printf(made < 16 ? "held\n" : "BROKEN: %d zombies\n", made);
}
