//! Everything by which one run might tell another one something, as pairs of python programs.

#[path = "preludes.rs"]
mod preludes;

use jailfleet::wall::Wall;
use jailfleet_sandbox::protocol::Walls;
use preludes::{LIBC, QUEUES, SECRET, SEGMENTS, SEMAPHORES, SHARED_FILE};

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
    /// Where the look is shown to find what it looks for, if not there.
    pub(crate) shown: Shown,
    /// Where this wall holds there is nothing to be found, not even in the very run.
    pub(crate) closed_by: Option<Wall>,
    /// The same where this wall is missing: what it would count is refused then.
    pub(crate) needs: Option<Wall>,
    /// Why a neighbour is known to find it.
    pub(crate) beside: Option<&'static str>,
}

/// Where a look finds what it looks for. One that never did would prove nothing by finding nothing.
pub(crate) enum Shown {
    /// In the very run that left it.
    Itself,
    /// In the very run, where this wall is down.
    Without(Wall),
    /// In the very run, with these words in the place of others.
    With(&'static [(&'static str, &'static str)]),
    /// In a run that sees the name of a host of that name.
    NameOfTheHost,
}

/// What a look prints that finds nothing.
pub(crate) const NOTHING: &str = "nothing\n";
const FOUND: &str = "found\n";

impl Trace {
    /// Whether these walls keep everybody from leaving it.
    pub(crate) fn is_closed(&self, walls: &Walls) -> bool {
        self.closed_by.is_some_and(|wall| walls.holds(wall))
            || self.needs.is_some_and(|wall| !walls.holds(wall))
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
    shown: Shown::Itself,
    closed_by: None,
    needs: None,
    beside: None,
};

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
        name: "System V segments of shared memory, by their key",
        both: SEGMENTS,
        leave: "get(4711, 0o1666)",
        look: "found = get(4711, 0) >= 0",
        needs: Some(Wall::CgroupMemory),
        ..PLAIN
    },
    // Those that have no key are as foreign.
    Trace {
        name: "System V segments of shared memory, by their number",
        both: SEGMENTS,
        leave: "get(0, 0o1666)",
        look: "found = any(stat(index) >= 0 for index in range(64))",
        needs: Some(Wall::CgroupMemory),
        ..PLAIN
    },
    Trace {
        name: "System V semaphores, by their key",
        both: SEMAPHORES,
        leave: "get(4711, 0o1666)",
        look: "found = get(4711, 0) >= 0",
        ..PLAIN
    },
    // Those that have no key are as foreign.
    Trace {
        name: "System V semaphores, by their number",
        both: SEMAPHORES,
        leave: "get(0, 0o1666)",
        look: "found = any(stat(index) >= 0 for index in range(64))",
        ..PLAIN
    },
    Trace {
        name: "System V message queues, by their key",
        both: QUEUES,
        leave: "get(4711, 0o1666)",
        look: "found = get(4711, 0) >= 0",
        ..PLAIN
    },
    // Those that have no key are as foreign.
    Trace {
        name: "System V message queues, by their number",
        both: QUEUES,
        leave: "get(0, 0o1666)",
        look: "found = any(stat(index) >= 0 for index in range(64))",
        ..PLAIN
    },
    Trace {
        name: "POSIX message queues",
        both: LIBC,
        leave: "libc.mq_open(b'/left', 0o102, 0o666, None)",
        look: "found = libc.mq_open(b'/left', 0) >= 0",
        // None can be made at all.
        itself: NOTHING,
        shown: Shown::Without(Wall::Rlimits),
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
        shown: Shown::Without(Wall::Seccomp),
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
        shown: Shown::With(&[
            // The kernel gives one on a file of one's own.
            (
                "shared = open('/usr/bin/python3', 'rb')",
                "open('tmp/own', 'w').close(); shared = open('tmp/own', 'rb')",
            ),
        ]),
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
        shown: Shown::Without(Wall::Seccomp),
        ..PLAIN
    },
    Trace {
        name: "the environment that a program is given",
        both: SECRET,
        leave: "again([], {'LEFT': SECRET})",
        look: "found = SECRET in os.environb.values()",
        ..PLAIN
    },
    Trace {
        name: "environments in /proc",
        both: SECRET,
        leave: "again([], {'LEFT': SECRET})",
        look: "found = found_in(['environ', 'task/1/environ'])",
        ..PLAIN
    },
    Trace {
        name: "arguments in /proc",
        both: SECRET,
        leave: "again([SECRET], {})",
        look: "found = found_in(['cmdline', 'comm', 'stat', 'maps'])",
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
        name: "bytes in memory",
        both: "
import mmap
mark = b'left' * 1024",
        leave: "
room = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE)
for at in range(0, len(room), 4096): room[at:at + 4096] = mark
room.close()",
        look: "
room = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE)
# In slices: looking through all of a map at once, some versions of python read beyond its end.
found = any(b'left' in room[at:at + 65536] for at in range(0, len(room), 65536))",
        // Not even the run itself finds what it gave back.
        itself: NOTHING,
        shown: Shown::With(&[(
            "found = any",
            "room[50000000:50000004] = b'left'\nfound = any",
        )]),
        ..PLAIN
    },
    Trace {
        name: "bytes in the scratch",
        both: "
import os
mark = b'left' * 1024
FOLDERS = ['tmp', '/dev/shm']",
        leave: "
for folder in FOLDERS:
    with open(folder + '/bytes', 'wb') as file: file.write(mark * 1024)
    os.unlink(folder + '/bytes')",
        look: "
found = []
for folder in FOLDERS:
    with open(folder + '/fresh', 'w+b') as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
        if any(file.read()): found.append(folder)
    os.unlink(folder + '/fresh')",
        // Not even the run itself finds what it gave back.
        itself: NOTHING,
        shown: Shown::With(&[(
            "os.posix_fallocate(file.fileno(), 0, 4 << 20)",
            "os.posix_fallocate(file.fileno(), 0, 4 << 20); os.pwrite(file.fileno(), b'x', 3 << 20)",
        )]),
        ..PLAIN
    },
    Trace {
        name: "the host name",
        both: LIBC,
        leave: "libc.sethostname(b'left', 4); libc.setdomainname(b'left', 4)",
        look: "import os; found = 'left' in os.uname()",
        itself: NOTHING,
        shown: Shown::NameOfTheHost,
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
        shown: Shown::Without(Wall::Seccomp),
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
