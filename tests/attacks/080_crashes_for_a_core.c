// items: 80
// about: A crash leaves no core and feeds no program of the host with one, whatever the program does to its own limits.
// expect: exited 0
// stdout: held
// walls: rlimits seccomp

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int dumps(int limit) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit core = {(rlim_t)limit, (rlim_t)limit};
        prctl(PR_SET_DUMPABLE, 1);
        if (limit >= 0) setrlimit(RLIMIT_CORE, &core);
        if (chdir("tmp") != 0) _exit(1);
        raise(SIGSEGV);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !WIFSIGNALED(status) || WCOREDUMP(status);
}

int main(void) {
    int works = dumps(-1) | dumps(0) << 1 | dumps(1) << 2;
    printf(works ? "BROKEN: ways %#x\n" : "held\n", works);
}
