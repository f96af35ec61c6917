// items: 91
// about: Whatever a program asks of prctl, seccomp, capset and Landlock for itself, it gains nothing.
// expect: exited 0
// stdout: held
// walls: seccomp no_new_privs caps

#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken;

static void must_fail(const char *name, long answer) {
    if (answer < 0) return;
    printf("BROKEN: %s\n", name);
    broken = 1;
}

int main(void) {
    must_fail("no_new_privs off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    must_fail("seccomp off", prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
    must_fail("the memory map", prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, 0, 0, 0));
    must_fail("secure bits", prctl(PR_SET_SECUREBITS, 0x2f, 0, 0, 0));
    must_fail("an ambient capability", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    must_fail("capset", syscall(SYS_capset, &head, all));
    must_fail("setuid 0", setuid(0));
    must_fail("setgid 0", setgid(0));
    // These may be allowed; none of them may open what is shut.
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    // A filter of one's own that allows everything, or would ask somebody else, comes on top.
    const unsigned verdicts[] = {SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_ALLOW};
    for (unsigned i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
        // Only unshare, so that everything else goes on as before.
        struct sock_filter steps[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, verdicts[i]),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
        must_fail("unshare behind a filter of its own", unshare(CLONE_NEWUSER));
    }
    must_fail("a lifted no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -1 : 0);
    if (!broken) puts("held");
}
