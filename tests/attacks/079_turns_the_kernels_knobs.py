# items: 79
# about: Nothing through which the kernel can be told to run a program, or to change, can be opened for writing.
# expect: exited 0
# stdout: held
# walls: root

import os

broken = []
for path in (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/poweroff_cmd", "/proc/sys/kernel/hostname", "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/memfd_noexec", "/proc/sys/fs/suid_dumpable",
    "/proc/sys/fs/mqueue/queues_max", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/kernel/shmmax", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/sem", "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/sys/kernel/mm/transparent_hugepage/enabled",
    "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/self/loginuid", "/proc/1/oom_score_adj",
    "/proc/self/attr/current", "/proc/self/attr/exec", "/proc/self/coredump_filter",
):
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        continue
    # A file of one's own in /proc may open; what counts is that nothing can be written to it.
    try:
        os.write(file, b"1")
        broken.append(path)
    except OSError:
        pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
