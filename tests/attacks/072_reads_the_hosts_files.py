# items: 72
# about: Nothing of the host but its read-only programs and libraries can be read or listed.
# expect: exited 0
# stdout: held
# walls: root

import os

broken = []
for path in ("/", "/tmp", "/etc", "/proc", "/root", "/home", "/var", "/sys", "/run", "/srv", "/opt", "/mnt", "/media", "/boot", ".."):
    try:
        broken.append(f"{path} lists {os.listdir(path)[:3]}")
    except OSError:
        pass
for path in (
    "/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/hostname", "/etc/machine-id", "/etc/resolv.conf",
    "/root/.ssh/id_rsa", "/root/.bash_history", "/home/user/.ssh/id_rsa", "/etc/ssh/ssh_host_rsa_key",
    "/var/log/syslog", "/var/lib/dbus/machine-id", "/run/jailfleet", "/etc/jailfleet/worker.toml",
    "/proc/kcore", "/proc/kallsyms", "/proc/cmdline", "/proc/config.gz", "/proc/keys", "/proc/timer_list",
    "/proc/interrupts", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/iomem", "/proc/modules",
    "/sys/class/dmi/id/product_uuid", "/sys/kernel/notes", "/sys/fs/cgroup/cgroup.procs",
):
    try:
        with open(path, "rb") as file:
            broken.append(f"{path} says {file.read(16)}")
    except OSError:
        pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
