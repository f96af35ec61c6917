//! What the programs of several traces begin with.

/// The C library, for what python has no name for.
pub(crate) const LIBC: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
";

/// How an object of System V is made and found, and how one is looked at by the place that it has in the
/// kernel's table (the kind's own `_STAT_ANY`), whoever owns it.
pub(crate) const SEGMENTS: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(256)
get = lambda key, flags: libc.shmget(key, 4096 if flags else 0, flags)
stat = lambda index: libc.shmctl(index, 15, room)
";
pub(crate) const SEMAPHORES: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(256)
get = lambda key, flags: libc.semget(key, 1 if flags else 0, flags)
stat = lambda index: libc.semctl(index, 0, 20, room)
";
pub(crate) const QUEUES: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(256)
get = lambda key, flags: libc.msgget(key, flags)
stat = lambda index: libc.msgctl(index, 13, room)
";

/// A secret that stands in a program's environment or in its arguments, and how a child of its own looks for
/// it in what `/proc` says of others. What the program itself was given is nothing that it would have to find.
pub(crate) const SECRET: &str = "
import os, sys
SECRET = b'the-secret-of-' + b'another-run'
def again(arguments, environment):
    if not os.path.exists('tmp/again'):
        open('tmp/again', 'w').close()
        code = open(sys.argv[0]).read()
        os.execve('/proc/self/exe', ['python', '-c', code, *arguments], environment)
def found_in(names):
    child = os.fork()
    if child: return os.waitpid(child, 0)[1] != 0
    for pid in range(1, 4096):
        if pid == os.getpid(): continue
        for name in names:
            try: seen = SECRET in open(f'/proc/{pid}/{name}', 'rb').read()
            except OSError: continue
            if seen: os._exit(1)
    os._exit(0)
";

/// The file and the lock are those of a program that both runs see, and that neither may write.
pub(crate) const SHARED_FILE: &str = "
import fcntl, os, struct
shared = open('/usr/bin/python3', 'rb')
again = open('/usr/bin/python3', 'rb')
lock = lambda kind: struct.pack('hhqqi4x', kind, os.SEEK_SET, 4711, 1, 0)
";
