//! Everything by which one run might tell another one something, as pairs of python programs.

use jailfleet::wall::Wall;
use jailfleet_sandbox::protocol::Walls;

/// Something that a run leaves, and how another one looks for it.
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    /// What both begin with.
    both: &'static str,
    /// Leaves it. A refusal is an exception that this passes over.
    leave: &'static str,
    /// Prints what of it is there, or `nothing`.
    look: &'static str,
    /// What goes on in a run that stays, or nothing.
    stay: &'static str,
    /// What a look prints in the very run that left it.
    pub(crate) itself: &'static str,
    /// Where this wall holds there is nothing to be found, not even in the very run.
    pub(crate) closed_by: Option<Wall>,
    /// Why a neighbour is known to find it.
    pub(crate) beside: Option<&'static str>,
}

/// What a look prints that finds nothing.
pub(crate) const NOTHING: &str = "nothing\n";
const FOUND: &str = "found\n";

impl Trace {
    /// Whether these walls keep everybody from leaving it.
    pub(crate) fn is_closed(&self, walls: &Walls) -> bool {
        self.closed_by.is_some_and(|wall| walls.holds(wall))
    }

    pub(crate) fn leave(&self) -> String {
        let Self { both, leave, .. } = self;
        format!("{both}\n{leave}\nprint('left', flush=True)\n")
    }

    pub(crate) fn look(&self) -> String {
        format!("{}\n{}", self.both, self.only_look())
    }

    pub(crate) fn leave_and_look(&self) -> String {
        self.leave() + &self.only_look()
    }

    pub(crate) fn leave_and_stay(&self) -> String {
        let stay = self.stay;
        self.leave() + &format!("import signal\nwhile True:\n    {stay}\n")
    }

    fn only_look(&self) -> String {
        let look = self.look;
        format!("{look}\nprint('found' if found else 'nothing', flush=True)\n")
    }
}

const PLAIN: Trace = Trace {
    name: "",
    both: "",
    leave: "",
    look: "",
    stay: "signal.pause()",
    itself: FOUND,
    closed_by: None,
    beside: None,
};

const LIBC: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
";

/// The file and the lock are those of a program that both runs see, and that neither may write.
const SHARED_FILE: &str = "
import fcntl, os, struct
shared = open('/usr/bin/python3', 'rb')
again = open('/usr/bin/python3', 'rb')
lock = lambda kind: struct.pack('hhqqi4x', kind, os.SEEK_SET, 4711, 1, 0)
";

pub(crate) const ALL: &[Trace] = &[
    Trace {
        name: "files",
        both: "import os",
        leave: "
for folder in ('tmp', '/dev/shm', '/tmp', '.', '/var/tmp', '/run/lock', os.environ['HOME']):
    try: open(folder + '/left', 'w').write('secret')
    except OSError: pass",
        look: "
found = [folder for folder in ('tmp', '/dev/shm', '/tmp', '.', '/var/tmp', '/run/lock', os.environ['HOME'])
    if os.path.lexists(folder + '/left')]",
        ..PLAIN
    },
    Trace {
        name: "System V objects",
        both: LIBC,
        leave: "made = [libc.shmget(4711, 4096, 0o1666), libc.semget(4711, 1, 0o1666), libc.msgget(4711, 0o1666)]",
        look: "
found = [at for at in (libc.shmget(4711, 0, 0), libc.semget(4711, 0, 0), libc.msgget(4711, 0)) if at >= 0]
# By their numbers too: those that nobody made are as foreign.
room = ctypes.create_string_buffer(256)
IPC_STAT = 2
for number in range(64):
    if libc.shmctl(number, IPC_STAT, room) >= 0 or libc.msgctl(number, IPC_STAT, room) >= 0: found.append(number)",
        ..PLAIN
    },
    Trace {
        name: "POSIX message queues",
        both: LIBC,
        leave: "libc.mq_open(b'/left', 0o102, 0o666, None)",
        look: "found = libc.mq_open(b'/left', 0) >= 0",
        // None can be made at all.
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "keys",
        both: "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
add_key, keyctl = (248, 250) if os.uname().machine == 'x86_64' else (217, 219)",
        leave: "libc.syscall(add_key, b'user', b'left', b'secret', 6, -4)",
        look: "found = libc.syscall(keyctl, 10, -4, b'user', b'left', 0) >= 0",
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "abstract sockets",
        both: "import socket",
        leave: "listener = socket.socket(socket.AF_UNIX); listener.bind('\\0left'); listener.listen()",
        look: "
caller = socket.socket(socket.AF_UNIX)
try: caller.connect('\\0left'); found = True
except OSError: found = False
# Nor does the name itself tell: it can be bound where it is not taken.
if not found:
    try: socket.socket(socket.AF_UNIX).bind('\\0left')
    except OSError: found = True",
        ..PLAIN
    },
    Trace {
        name: "flock on a shared file",
        both: SHARED_FILE,
        leave: "
try: fcntl.flock(shared, fcntl.LOCK_EX)
except PermissionError: pass",
        look: "
try: fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB); found = False
except PermissionError: found = False
except BlockingIOError: found = True",
        closed_by: Some(Wall::Apparmor),
        beside: Some("locks belong to the inode, and the folders of the system are the same ones in every jail"),
        ..PLAIN
    },
    Trace {
        name: "flock on a device",
        both: "
import fcntl
shared, again = open('/dev/null', 'rb'), open('/dev/null', 'rb')",
        leave: "
try: fcntl.flock(shared, fcntl.LOCK_EX)
except PermissionError: pass",
        look: "
try: fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB); found = False
except PermissionError: found = False
except BlockingIOError: found = True",
        closed_by: Some(Wall::Apparmor),
        beside: Some(
            "locks belong to the inode, and the devices are the host's own ones in every jail",
        ),
        ..PLAIN
    },
    Trace {
        name: "a record lock on a shared file",
        both: SHARED_FILE,
        leave: "
try: fcntl.fcntl(shared, fcntl.F_OFD_SETLK, lock(fcntl.F_RDLCK))
except PermissionError: pass",
        look: "
answer = fcntl.fcntl(again, fcntl.F_OFD_GETLK, lock(fcntl.F_WRLCK))
found = struct.unpack('hhqqi4x', answer)[0] != fcntl.F_UNLCK",
        closed_by: Some(Wall::Apparmor),
        beside: Some("locks belong to the inode, and the folders of the system are the same ones in every jail"),
        ..PLAIN
    },
    Trace {
        name: "a lease on a shared file",
        both: SHARED_FILE,
        leave: "
try: fcntl.fcntl(shared, fcntl.F_SETLEASE, fcntl.F_RDLCK)
except OSError: pass",
        look: "found = fcntl.fcntl(shared, fcntl.F_GETLEASE) != fcntl.F_UNLCK",
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "an opened file, watched by inotify",
        both: "
import ctypes, os, select
libc = ctypes.CDLL(None, use_errno=True)
# One that no program opens by chance.
file = '/usr/lib/python3.11/antigravity.py'
if not os.path.exists(file): file = os.__file__.replace('os.py', 'antigravity.py')
watch = libc.inotify_init1(0)
IN_OPEN = 0x20
watched = libc.inotify_add_watch(watch, file.encode(), IN_OPEN)",
        leave: "os.close(os.open(file, os.O_RDONLY))",
        look: "found = watch >= 0 and bool(select.select([watch], [], [], 0.3)[0])",
        stay: "os.close(os.open(file, os.O_RDONLY))",
        // Watches belong to the inode, and the folders of the system are the same ones in every jail.
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "environment and arguments in /proc",
        both: "
import os, sys
SECRET = b'the-secret-of-' + b'another-run'",
        leave: "
if 'LEFT' not in os.environ:
    os.execve('/proc/self/exe', [SECRET, '-c', open(sys.argv[0]).read()], {'LEFT': SECRET})",
        look: "
found = 'LEFT' in os.environ
for pid in ['self', 'thread-self', *range(1, 4096)]:
    for name in ('environ', 'cmdline', 'comm', 'stat', 'maps', 'task/1/environ'):
        if pid in ('self', 'thread-self') and found: break
        try: found = found or SECRET in open(f'/proc/{pid}/{name}', 'rb').read()
        except OSError: pass",
        ..PLAIN
    },
    Trace {
        name: "processes",
        both: "import os, signal, time",
        leave: "
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    os.closerange(0, 64)
    while True: time.sleep(1000)",
        look: "
found = []
for pid in range(2, 32768):
    if pid == os.getpid(): continue
    try: os.kill(pid, 0); found.append(pid)
    except PermissionError: found.append(pid)
    except ProcessLookupError: pass",
        ..PLAIN
    },
    Trace {
        name: "bytes in memory and in the scratch",
        both: "
import mmap, os
mark = b'left' * 1024",
        leave: "
room = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE)
for at in range(0, len(room), 4096): room[at:at + 4096] = mark
with open('tmp/bytes', 'wb') as file: file.write(mark * 1024)
with open('/dev/shm/bytes', 'wb') as file: file.write(mark * 1024)
os.unlink('tmp/bytes'); os.unlink('/dev/shm/bytes'); room.close()",
        look: "
room = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE)
# In slices: looking through all of a map at once, some versions of python read beyond its end.
found = any(b'left' in room[at:at + 65536] for at in range(0, len(room), 65536))
for place in ('tmp/fresh', '/dev/shm/fresh'):
    with open(place, 'w+b') as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
        found = found or any(file.read())
        os.unlink(place)",
        // Not even the run itself finds what it gave back.
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "the host name",
        both: LIBC,
        leave: "libc.sethostname(b'left', 4); libc.setdomainname(b'left', 4)",
        look: "import os; found = 'left' in os.uname()",
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "the priority of a user's processes",
        both: "import os",
        leave: "
try: os.setpriority(os.PRIO_USER, 0, 17)
except OSError: pass",
        look: "found = 17 in (os.getpriority(os.PRIO_PROCESS, 0), os.getpriority(os.PRIO_PROCESS, 1))",
        itself: NOTHING,
        ..PLAIN
    },
    Trace {
        name: "how many processes there were",
        both: "import os",
        leave: "
for _ in range(600):
    if os.fork() == 0: os._exit(0)
    os.wait()",
        look: "
child = os.fork()
if child == 0: os._exit(0)
os.wait()
found = child > 500",
        ..PLAIN
    },
];
