// items: 86 87 88 90
// about: The calls that made most past escapes are refused, and what no kernel that was looked at has does not exist.
// expect: exited 0
// stdout: held
// walls: seccomp

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken;

static void must_answer(const char *name, int error, long number, long first) {
    long answer = syscall(number, first, 0, 0, 0, 0, 0);
    if (answer < 0 && errno == error) return;
    printf("BROKEN: %s answered %ld (%d)\n", name, answer, errno);
    broken = 1;
}

#define REFUSED(name) must_answer(#name, EPERM, SYS_##name, 0)
#define ABSENT(name) must_answer(#name, ENOSYS, SYS_##name, 0)

int main(void) {
    ABSENT(io_uring_setup);
    ABSENT(io_uring_enter);
    ABSENT(io_uring_register);
    ABSENT(splice);
    ABSENT(tee);
    ABSENT(vmsplice);
    ABSENT(inotify_init1);
    ABSENT(inotify_add_watch);
    ABSENT(seccomp);
    must_answer("landlock_create_ruleset", ENOSYS, 444, 0);
    REFUSED(add_key);
    REFUSED(request_key);
    REFUSED(keyctl);
    REFUSED(bpf);
    REFUSED(perf_event_open);
    REFUSED(userfaultfd);
    REFUSED(kexec_load);
    REFUSED(init_module);
    REFUSED(finit_module);
    REFUSED(delete_module);
    REFUSED(reboot);
    REFUSED(swapon);
    REFUSED(swapoff);
    REFUSED(acct);
    REFUSED(quotactl);
    REFUSED(settimeofday);
    REFUSED(clock_settime);
    REFUSED(clock_adjtime);
    REFUSED(adjtimex);
    REFUSED(sethostname);
    REFUSED(setdomainname);
    REFUSED(fanotify_init);
    REFUSED(fanotify_mark);
    REFUSED(syslog);
    REFUSED(vhangup);
    REFUSED(lookup_dcookie);
    REFUSED(process_madvise);
    must_answer("memfd_secret", EPERM, 447, 0);
#ifdef __x86_64__
    REFUSED(iopl);
    REFUSED(ioperm);
    REFUSED(modify_ldt);
    REFUSED(uselib);
    REFUSED(_sysctl);
#endif
    must_answer("personality READ_IMPLIES_EXEC", EPERM, SYS_personality, 0x400000);
    must_answer("personality MMAP_PAGE_ZERO", EPERM, SYS_personality, 0x100000);
    must_answer("a newer call", ENOSYS, 600, 0);
    must_answer("a call far away", ENOSYS, 1000000, 0);
    if (!broken) puts("held");
}
