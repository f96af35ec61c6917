// items: 101
// about: Hundreds of crashes and refused calls do no more than end their own children, and the kernel's log can be neither read nor written.
// expect: exited 0
// stdout: held
// walls: seccomp root
// limits: cpu_ms=10000 wall_ms=20000

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/klog.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int works = 0;
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int calls = 0; calls < 100; calls++) unshare(CLONE_NEWUSER);
            *(volatile int *)0 = 1;
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV) works |= 1;
    }
    static char bytes[4096];
    works |= (klogctl(3, bytes, sizeof bytes) >= 0) << 1;
    works |= (open("/dev/kmsg", O_RDWR) >= 0) << 2;
    works |= (open("/proc/kmsg", O_RDONLY) >= 0) << 3;
    works |= (open("/dev/log", O_WRONLY) >= 0) << 4;
    printf(works ? "BROKEN: ways %#x\n" : "held\n", works);
}
