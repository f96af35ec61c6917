# A canary: it tries to get out in ways that do no harm where they succeed, and says which did.
# Each attempt must fail; "done" says that all were made.
import ctypes, os, resource, socket

libc = ctypes.CDLL(None, use_errno=True)


def attempt(name, action):
    try:
        action()
    except Exception:
        return
    print("BROKEN", name)


def call(function, *arguments):
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), function)


def absent(condition):
    if not condition:
        raise OSError("as it should be")


CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x00020000, 0x40000000
attempt("reads the host's passwords", lambda: open("/etc/shadow").read())
attempt("lists the root", lambda: os.listdir("/"))
attempt("lists root's home", lambda: os.listdir("/root"))
attempt("reads the init's environment", lambda: open("/proc/1/environ", "rb").read())
attempt("reads the init's memory", lambda: open("/proc/1/mem", "rb"))
attempt("writes among the system's programs", lambda: open("/usr/bin/jailfleet-canary", "w"))
attempt("steers the kernel", lambda: open("/proc/sys/kernel/core_pattern", "r+"))
attempt("makes a network socket", lambda: socket.socket(socket.AF_INET))
attempt("makes a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("becomes root", lambda: os.setresuid(0, 0, 0))
attempt("is root", lambda: absent(os.getuid() == 0 or os.geteuid() == 0))
attempt("makes a user namespace", lambda: call("unshare", CLONE_NEWUSER))
attempt("makes a mount namespace", lambda: call("unshare", CLONE_NEWNS))
attempt("makes a network namespace", lambda: call("unshare", CLONE_NEWNET))
attempt("mounts", lambda: call("mount", b"canary", b"tmp", b"tmpfs", 0, None))
attempt("changes its root", lambda: call("chroot", b"."))
attempt("traces", lambda: call("ptrace", 0, 0, 0, 0))
attempt("raises its open files", lambda: resource.setrlimit(
    resource.RLIMIT_NOFILE, [limit + 1 for limit in resource.getrlimit(resource.RLIMIT_NOFILE)]))
attempt("has a fourth descriptor", lambda: absent(any(os.path.exists(f"/proc/self/fd/{n}") for n in range(3, 64))))
status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
attempt("has capabilities", lambda: absent(int(status["CapEff"], 16) or int(status["CapBnd"], 16)))
attempt("may gain privileges", lambda: absent(status["NoNewPrivs"] != "1"))
attempt("has no filter", lambda: absent(status["Seccomp"] != "2"))
print("done")
