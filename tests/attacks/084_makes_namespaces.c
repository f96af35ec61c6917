// items: 84 85
// about: No namespace can be made or entered, whichever call asks for it.
// expect: exited 0
// stdout: held
// walls: seccomp

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken;

static void must_answer(const char *name, long flag, long answer, int error) {
    if (answer < 0 && errno == error) return;
    // A child that should not be must not go on as if it were the parent.
    if (answer == 0 && strcmp(name, "clone") == 0) _exit(0);
    printf("BROKEN: %s with %#lx answered %ld (%d)\n", name, flag, answer, errno);
    broken = 1;
}

int main(void) {
    const int kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80};
    const char *names[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        must_answer("unshare", kinds[i], unshare(kinds[i]), EPERM);
        must_answer("unshare with user", kinds[i], unshare(kinds[i] | CLONE_NEWUSER), EPERM);
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        int own = open(path, O_RDONLY);
        must_answer("setns", own, setns(own, 0), EPERM);
        // The low byte of clone's flags is a signal: time namespaces cannot be asked for by it.
        if (kinds[i] != 0x80)
            must_answer("clone", kinds[i], syscall(SYS_clone, kinds[i] | SIGCHLD, 0, 0, 0, 0), EPERM);
    }
    must_answer("setns of a pid", 1, setns((int)syscall(SYS_pidfd_open, 1, 0), CLONE_NEWNS), EPERM);
    struct { unsigned long long fields[11]; } arguments = {{CLONE_NEWUSER, 0, 0, 0, SIGCHLD}};
    must_answer("clone3", 0, syscall(SYS_clone3, &arguments, sizeof arguments), ENOSYS);
    if (!broken) puts("held");
}
