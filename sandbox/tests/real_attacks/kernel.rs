//! At the kernel's surface: system calls, namespaces, other architectures, the network.

use super::{printed, survive};
use crate::fleet::Fleet;
use crate::job::python;
use jailfleet::evidence::End;
use jailfleet_harness::require;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// `call(number, ...)` answers "ok" or the name of the error.
const CALL: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return 'ok' if done >= 0 else errno.errorcode[ctypes.get_errno()]
";

#[test]
fn calls_at_the_kernels_surface_are_refused() {
    // Numbers of x86_64; the other architectures have the unit tests.
    require!(X86);
    let out = printed(&format!(
        "{CALL}
calls = dict(ptrace=101, process_vm_readv=310, kcmp=312, pidfd_getfd=438, add_key=248, keyctl=250,
    bpf=321, perf_event_open=298, userfaultfd=323, unshare=272, setns=308, mount=165, umount2=166,
    pivot_root=155, chroot=161, move_mount=429, open_tree=428, fsopen=430, mount_setattr=442,
    open_by_handle_at=304, init_module=175, kexec_load=246, reboot=169, swapon=167, acct=163,
    settimeofday=164, clock_settime=227, sethostname=170, iopl=172, syslog=103, fanotify_init=300)
for name, number in calls.items():
    answer = call(number, 0, 0, 0, 0, 0)
    if answer != 'EPERM': print(name, answer)
for name, number in dict(clone3=435, io_uring_setup=425, splice=275, inotify_init1=294, seccomp=317,
        landlock=444, newer=9999, x32=0x40000000 + 39).items():
    answer = call(number, 0, 0, 0, 0, 0)
    if answer != 'ENOSYS': print(name, answer)
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    answer = call(56, flag | 17, 0, 0, 0, 0)
    if answer != 'EPERM': print('clone', hex(flag), answer)
print(call(16, 0, 0x5412, 0), call(135, 0x400000), call(135, 0xffffffff))
"
    ));
    assert_eq!(out, "EPERM EPERM ok\n");
}

#[test]
fn calls_that_the_policy_does_not_know_do_not_exist_and_are_told_by_their_number() {
    let mut fleet = Fleet::start(1);
    let attack = format!(
        "{CALL}
import threading
def ask():
    for number in list(range(470, 500)) * 20: assert call(number) == 'ENOSYS'
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('none exists')
"
    );
    let seen = fleet.run(&python(&attack));
    assert_eq!(seen.out(), "none exists\n", "{}", seen.err());
    let told: Vec<u32> = seen.evidence.unknown_calls.iter().collect();
    assert_eq!(told.len(), 8, "{told:?}");
    assert!(told.iter().all(|number| (470..500).contains(number)));
    // A run that knows no such calls has none told of it.
    let seen = fleet.run(&python("print('plain')"));
    assert_eq!(seen.evidence.unknown_calls.iter().count(), 0);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn whoever_is_killed_while_it_asks_leaves_its_slot_as_it_was() {
    let mut fleet = Fleet::start(1);
    let attack = format!(
        "{CALL}
import os
for _ in range(8):
    if os.fork() == 0:
        while True: call(480)
while True: call(481)
"
    );
    let attack = python(&attack).limits(|limits| {
        limits.wall_ms = jailfleet::units::Millis::new(500).expect("a limit");
    });
    let seen = fleet.run(&attack);
    assert_eq!(seen.evidence.acted, Some(jailfleet::evidence::Acted::Wall));
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_call_of_the_32_bit_architecture_ends_the_program() {
    require!(X86);
    let seen = survive(&python(
        "
import ctypes, mmap
room = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
room.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))  # mov eax, getpid; int 0x80; ret
at = ctypes.addressof(ctypes.c_char.from_buffer(room))
print('pid by another door:', ctypes.CFUNCTYPE(ctypes.c_long)(at)())
",
    ));
    assert_eq!(
        seen.evidence.end,
        End::Signaled(libc::SIGSYS),
        "{}",
        seen.out()
    );
    assert_eq!(seen.out(), "");
}

#[test]
fn nothing_of_privilege_is_left_to_the_program() {
    let out = printed(
        "
lines = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
for name in ('NoNewPrivs', 'Seccomp', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'Groups', 'SigBlk', 'SigIgn'):
    print(name, lines[name].strip())
uids = set(lines['Uid'].split()) | set(lines['Gid'].split())
print(len(uids), '0' in uids)
",
    );
    let none = "0000000000000000";
    // Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
    let expected = format!(
        "NoNewPrivs 1\nSeccomp 2\nCapInh {none}\nCapPrm {none}\nCapEff {none}\nCapBnd {none}\n\
         CapAmb {none}\nGroups \nSigBlk {none}\nSigIgn 0000000001001000\n1 False\n"
    );
    assert_eq!(out, expected);
}

#[test]
fn no_socket_leads_out_of_the_jail() {
    // Where the host listens on an abstract address, which no file permission guards.
    let name = format!("jailfleet-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a listener");
    let out = printed(&format!(
        "
import socket
for family in ('AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_PACKET', 'AF_VSOCK', 'AF_ALG'):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try: socket.socket(getattr(socket, family), kind); print(family, kind, 'made')
        except PermissionError as error:
            if error.errno != 13: print(family, kind, error)
try: socket.create_connection(('127.0.0.1', 1), 1); print('connected')
except PermissionError: pass
try: socket.getaddrinfo('example.com', 80); print('resolved')
except socket.gaierror as error: print(error.errno)
host = socket.socket(socket.AF_UNIX)
try: host.connect('\\0{name}'); print('reached the host')
except (ConnectionRefusedError, PermissionError): pass
own = socket.socket(socket.AF_UNIX)
own.bind('tmp/own'); own.listen()
friend = socket.socket(socket.AF_UNIX); friend.connect('tmp/own')
print('own sockets work')
"
    ));
    let (error, rest) = out.split_once('\n').expect("two lines");
    // EAI_AGAIN (-3) or EAI_NONAME (-2): what codejail's users see, never an address.
    assert!(["-3", "-2"].contains(&error), "{error}");
    assert_eq!(rest, "own sockets work\n");
}
