"""Tries all that a worker could do to its warden and its slots' inits, if it were somebody else's.

Takes on the worker's uid and gid, and no capability, but not the worker's own filter of system calls: so
it may try more than a worker that was taken over. Prints a JSON object: for each try, the name of the error, or "DONE".
"""

import ctypes
import errno
import json
import os
import resource
import signal
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
# System calls that the library has no function for, by their numbers on x86-64.
CALLS = {
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "tgkill": 234,
    "ioprio_set": 251,
    "migrate_pages": 256,
    "move_pages": 279,
    "pidfd_send_signal": 424,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "process_madvise": 440,
}
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
READ = ("mem", "environ", "maps", "smaps", "auxv", "syscall", "stack", "pagemap", "io", "personality")
WRITTEN = (
    "mem", "clear_refs", "comm", "coredump_filter", "oom_score_adj", "oom_adj", "sched", "autogroup",
    "timerslack_ns", "attr/current", "attr/exec", "projid_map", "gid_map", "uid_map", "setgroups",
)
LINKS = ("exe", "cwd", "root")
SPACES = ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup", "time")
GROUPS = ("cgroup.procs", "tasks", "cgroup.kill", "freezer.state", "memory.limit_in_bytes", "memory.max", "pids.max",
          "cpu.cfs_quota_us", "cpu.max", "notify_on_release")


def call(name, *arguments):
    longs = [ctypes.c_long(argument) for argument in arguments]
    answer = LIBC.syscall(CALLS[name], *longs)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def ptrace(request, pid):
    if LIBC.ptrace(ctypes.c_long(request), pid, None, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def iovec(call_name, pid):
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    there = (ctypes.c_size_t * 2)(0x400000, 8)
    call(call_name, pid, ctypes.addressof(local), 1, ctypes.addressof(there), 1, 0)


def write(path, text):
    with open(path, "wb", buffering=0) as file:
        file.write(text)


def by_descriptor(pid, name, *arguments):
    descriptor = call("pidfd_open", pid, 0)
    try:
        call(name, descriptor, *arguments)
    finally:
        os.close(descriptor)


def enter(pid, space):
    descriptor = os.open(f"/proc/{pid}/ns/{space}", os.O_RDONLY)
    if LIBC.setns(descriptor, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def groups_of(pid):
    """The folders of its groups that are ours, of either version: the others are the host's to lose."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for name in (controllers.removeprefix("name="), "unified", ""):
                folder = os.path.join("/sys/fs/cgroup", name, path.lstrip("/"))
                if "jailfleet" in path and os.path.isdir(folder):
                    yield folder


def tries(pid):
    limit = (64, 64)
    yield "kill 0", lambda: os.kill(pid, 0)
    for name in ("SIGKILL", "SIGSTOP", "SIGTERM", "SIGUSR1"):
        number = getattr(signal, name)
        yield f"kill {name}", lambda number=number: os.kill(pid, number)
    yield "tgkill", lambda: call("tgkill", pid, pid, signal.SIGKILL)
    yield "pidfd_send_signal", lambda: by_descriptor(pid, "pidfd_send_signal", signal.SIGKILL, 0, 0)
    yield "pidfd_getfd", lambda: by_descriptor(pid, "pidfd_getfd", 0, 0)
    yield "process_madvise", lambda: by_descriptor(pid, "process_madvise", 0, 0, 21, 0)
    yield "ptrace attach", lambda: ptrace(PTRACE_ATTACH, pid)
    yield "ptrace seize", lambda: ptrace(PTRACE_SEIZE, pid)
    for name in ("process_vm_readv", "process_vm_writev"):
        yield name, lambda name=name: iovec(name, pid)
    yield "kcmp", lambda: call("kcmp", pid, os.getpid(), 0, 0, 0)
    yield "migrate_pages", lambda: call("migrate_pages", pid, 0, 0, 0)
    yield "move_pages", lambda: call("move_pages", pid, 0, 0, 0, 0, 0)
    yield "prlimit", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    yield "prlimit that asks", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)
    yield "setpriority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)
    yield "sched_setscheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    yield "sched_setaffinity", lambda: os.sched_setaffinity(pid, {0})
    yield "ioprio_set", lambda: call("ioprio_set", 1, pid, 3 << 13)
    for name in READ:
        yield f"read {name}", lambda name=name: open(f"/proc/{pid}/{name}", "rb").read(1)
    for name in WRITTEN:
        yield f"write {name}", lambda name=name: write(f"/proc/{pid}/{name}", b"0")
    for name in LINKS:
        yield f"look at {name}", lambda name=name: os.readlink(f"/proc/{pid}/{name}")
        yield f"go to {name}", lambda name=name: os.open(f"/proc/{pid}/{name}", os.O_PATH)
    for name in ("fd", "map_files", "fdinfo"):
        yield f"list {name}", lambda name=name: os.listdir(f"/proc/{pid}/{name}")
    for space in SPACES:
        yield f"enter {space}", lambda space=space: enter(pid, space)
    for folder in sorted(set(groups_of(pid))):
        yield f"make a group in {folder}", lambda folder=folder: os.mkdir(folder + "/mine")
        for name in GROUPS:
            if os.path.exists(f"{folder}/{name}"):
                path = f"{folder}/{name}"
                yield f"write {path}", lambda path=path: write(path, str(os.getpid()).encode())


def main():
    uid, gid, state, *pids = sys.argv[1:]
    os.setgroups([])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    told = {}

    def attempt(name, action):
        try:
            action()
            told[name] = "DONE"
        except OSError as error:
            told[name] = errno.errorcode.get(error.errno, str(error.errno))

    for pid in pids:
        for name, action in tries(int(pid)):
            attempt(f"{pid}: {name}", action)
    # Who holds the lock of a lease keeps its uid from the warden; who takes the file away gives it to two.
    attempt("list the leases", lambda: os.listdir(state))
    attempt("write among the leases", lambda: write(f"{state}/mine", b""))
    attempt("take the leases away", lambda: os.rename(state, state + ".mine"))
    json.dump(told, sys.stdout)


main()
