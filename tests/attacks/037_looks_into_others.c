// items: 37
// about: Neither the init nor a child of its own can be traced, read, compared or robbed of descriptors.
// expect: exited 0
// stdout: held
// walls: seccomp

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int broken;

static void must_be_refused(const char *name, pid_t pid, long answer) {
    if (answer >= 0) {
        printf("BROKEN: %s of %d\n", name, pid);
        broken = 1;
    } else if (errno != EPERM && errno != EACCES) {
        printf("BROKEN: %s of %d answered %d\n", name, pid, errno);
        broken = 1;
    }
}

int main(void) {
    static char theirs[16], ours[16];
    pid_t child = fork();
    if (child == 0)
        for (;;) pause();
    const pid_t pids[] = {1, getppid(), child};
    for (unsigned i = 0; i < sizeof pids / sizeof *pids; i++) {
        pid_t pid = pids[i];
        struct iovec here = {ours, sizeof ours}, there = {theirs, sizeof theirs};
        must_be_refused("attach", pid, ptrace(PTRACE_ATTACH, pid, 0, 0));
        must_be_refused("seize", pid, ptrace(PTRACE_SEIZE, pid, 0, 0));
        must_be_refused("read", pid, process_vm_readv(pid, &here, 1, &there, 1, 0));
        must_be_refused("write", pid, process_vm_writev(pid, &here, 1, &there, 1, 0));
        must_be_refused("kcmp", pid, syscall(SYS_kcmp, pid, getpid(), 0, 0, 0));
        int handle = (int)syscall(SYS_pidfd_open, pid, 0);
        // Without a handle there is nothing to rob; the number stands for any descriptor.
        must_be_refused("getfd", pid, syscall(SYS_pidfd_getfd, handle, 0, 0));
    }
    must_be_refused("traceme", 0, ptrace(PTRACE_TRACEME, 0, 0, 0));
    kill(child, SIGKILL);
    waitpid(child, 0, 0);
    if (!broken) puts("held");
}
