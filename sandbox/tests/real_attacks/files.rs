//! At files: those of the host, those of the jail, those of the run before.

use super::{printed, survive};
use crate::fleet::Fleet;
use crate::job::{bash, python};
use jailfleet::evidence::End;
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};

#[test]
fn the_hosts_files_and_folders_answer_permission_denied() {
    let out = printed(
        "
import os
for path in ('/', '/tmp', '/etc', '/proc', '/root', '/home', '/var', '/sys', '/run', '..'):
    try: print(path, os.listdir(path))
    except PermissionError: pass
for path in ('/etc/passwd', '/etc/shadow', '/etc/hosts', '/proc/1/cmdline', '/proc/1/environ', '/proc/kcore', '/proc/sysrq-trigger'):
    try: print(path, open(path, 'rb').read(10))
    except PermissionError: pass
    except FileNotFoundError:
        if not path.startswith('/proc/'): print(path, 'is missing')
for path in ('/x', '/tmp/x', '../x', '/etc/x', '/dev/x', '/proc/x', 'x', '/var/x', '/root/x'):
    try: open(path, 'w'); print('wrote', path)
    except PermissionError as error:
        if error.errno != 13: print(path, error)
    except FileNotFoundError as error:
        if path != '/proc/x': print(path, error)
for path in ('/usr/x', '/usr/bin/python3', '/bin/sh', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', 'jailed_code'):
    try: open(path, 'a'); print('opened', path)
    except OSError as error:
        # EROFS below the read-only binds; ENOENT for what this kernel was built without.
        if error.errno not in (13, 30) and not (error.errno == 2 and path.startswith('/proc/')):
            print(path, error)
print(sorted(os.listdir('.')), os.getcwd().startswith('/tmp/codejail-'))
",
    );
    assert_eq!(out, "['jailed_code', 'tmp'] True\n");
}

#[test]
fn no_way_leads_above_the_root() {
    let out = printed(
        "
import os
for way in ('/' + '../' * 40, '/proc/self/root/..', '/proc/self/cwd/../..', '/proc/1/root', '/proc/self/fd/0/..'):
    try: print(way, os.listdir(way))
    except OSError: pass
os.chdir('/')
for _ in range(40): os.chdir('..')
print(os.getcwd(), os.stat('.').st_ino == os.stat('/').st_ino)
for name in ('.old', 'old_root', 'oldroot', 'host', 'proc/1/root/etc'):
    try: os.stat('/' + name); print('there is', name)
    except OSError: pass
",
    );
    assert_eq!(out, "/ True\n");
}

#[test]
fn only_three_descriptors_are_open_and_no_other_can_be_guessed() {
    let out = printed(
        "
import os
found = []
for number in range(4096):
    try: os.fstat(number); found.append(number)
    except OSError: pass
print(found)
for number in found:
    print(os.readlink(f'/proc/self/fd/{number}').split(':')[0])
",
    );
    assert_eq!(out, "[0, 1, 2]\n/memfd\npipe\npipe\n");
}

#[test]
fn nothing_of_the_workers_environment_reaches_the_program() {
    // The variable is this test's and so the warden's; nextest runs each test in a process of its
    // own, and a broker's address is what a worker would have.
    let out = printed("import os\nprint(sorted(os.environ))\nprint(os.environ['PATH'])\n");
    for name in [
        "JAILFLEET",
        "AMQP",
        "CARGO",
        "NEXTEST",
        "USER",
        "LD_LIBRARY_PATH",
        "SUDO",
    ] {
        assert!(!out.contains(name), "{name} in {out}");
    }
    assert!(out.ends_with("/usr/local/bin:/usr/bin:/bin\n"), "{out}");
}

#[test]
fn a_flood_of_bytes_or_of_files_fills_the_scratch_and_nothing_else() {
    let attack = python(
        "
import os, errno
def fill(path):
    written = 0
    try:
        with open(path, 'wb', buffering=0) as file:
            while True: written += file.write(b'x' * 65536)
    except OSError as error: return errno.errorcode[error.errno], written
print('one', fill('tmp/one'))
name, written = fill('tmp/two'); print('two', name)
print('shm', fill('/dev/shm/three')[0])
for path in ('tmp/one', 'tmp/two', '/dev/shm/three'): os.unlink(path)
try:
    with open('tmp/sparse', 'wb') as file: file.seek(1 << 30); file.write(b'x')
except OSError as error: print('sparse', errno.errorcode[error.errno])
made = 0
try:
    while True: os.mkdir(f'tmp/{made}'); made += 1
except OSError as error: print('folders', errno.errorcode[error.errno], made <= 100)
",
    )
    .limits(|limits| {
        limits.file_bytes = FileBytes::new(1 << 20);
        limits.disk_bytes = ByteCount::new(3 << 19).expect("above zero");
        limits.disk_files = Count::new(100).expect("above zero");
    });
    let seen = survive(&attack);
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    let expected =
        "one ('EFBIG', 1048576)\ntwo ENOSPC\nshm ENOSPC\nsparse EFBIG\nfolders ENOSPC True\n";
    assert_eq!(seen.out(), expected);
}

/// Many small steps take long on an emulated processor.
fn patient(limits: &mut Limits) {
    limits.cpu_ms = Millis::new(30_000).expect("above zero");
    limits.wall_ms = Millis::new(60_000).expect("above zero");
}

#[test]
fn what_a_run_leaves_is_gone_before_the_next_one() {
    let mut fleet = Fleet::start(1);
    let left = fleet.run(&bash(
        "cd tmp; for i in 1 2 3; do echo secret > file-$i; done; mkdir -m 000 locked; ln -s /etc/passwd link
         i=0; while [ $i -lt 200 ]; do mkdir d && cd d || break; i=$((i+1)); done
         echo secret > /dev/shm/left; mkfifo $TMPDIR/fifo; echo \"$HOME\"",
    )
    .limits(patient));
    assert_eq!(left.evidence.end, End::Exited(0), "{}", left.err());
    let next = fleet.run(&python(
        "
import os
print([os.listdir(path) for path in ('tmp', '/dev/shm')])
print(os.environ['HOME'])
",
    ));
    let (lists, home) = next
        .out()
        .split_once('\n')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("two lines");
    assert_eq!(lists, "[[], []]");
    assert_ne!(home, left.out(), "the folder has a new name");
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn files_of_the_scratch_are_executed_only_where_the_runtime_says_so() {
    let out = printed(
        "
import os, subprocess
with open('tmp/program', 'w') as file: file.write('#!/bin/sh\\necho ran\\n')
os.chmod('tmp/program', 0o755)
try: print(subprocess.run(['tmp/program'], capture_output=True).stdout)
except PermissionError: print('refused')
",
    );
    assert_eq!(out, "refused\n");
}

#[test]
fn a_crash_leaves_no_core() {
    let seen = survive(&python("import os\nos.kill(os.getpid(), 11)\n"));
    assert_eq!(seen.evidence.end, End::Signaled(libc::SIGSEGV));
    let out = printed("import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))\n");
    // 1 and not 0: see `rlimits.rs`.
    assert_eq!(out, "(1, 1)\n");
}

#[test]
fn a_bind_behind_a_link_of_the_host_is_read_and_cannot_be_written() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let host = tempfile::tempdir().expect("a folder");
    let real = host.path().join("packages-7");
    std::fs::create_dir(&real).expect("a folder");
    // As open as can be: the mount has to keep the program from writing.
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&real, open).expect("a mode");
    std::fs::write(real.join("package.py"), "print('imported')\n").expect("a file");
    let link = host.path().join("packages");
    symlink(&real, &link).expect("a link");
    let mut fleet = Fleet::configured(
        1,
        &format!(
            "[runtimes.python]\nbinds = [{{ source = {:?}, target = \"/opt/packages\" }}]\n",
            link.display().to_string(),
        ),
    );
    let seen = fleet.run(&python(
        "
import sys
sys.path.insert(0, '/opt/packages')
import package
try: open('/opt/packages/package.py', 'a'); print('written')
except OSError as error: print(error.errno in (13, 30))
",
    ));
    assert_eq!(seen.out(), "imported\nTrue\n", "{}", seen.err());
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn no_mount_of_the_jail_is_wider_than_it_must_be() {
    let out = printed(
        "
for line in open('/proc/self/mountinfo'):
    fields, kind = line.split(' - ')
    place, options = fields.split()[4:6]
    options, kind = set(options.split(',')), kind.split()[0]
    wide = [] if 'nosuid' in options else ['set-user-id']
    device = place.startswith('/dev/')
    if 'nodev' not in options and not device: wide.append('devices')
    writable = place in ('/', '/tmp', '/proc') or device
    if 'ro' not in options and not writable: wide.append('writable')
    # Only what a runtime is made of is there to be executed.
    if 'noexec' not in options and writable: wide.append('executable')
    if wide: print(place, kind, *wide)
print('looked')
",
    );
    assert_eq!(out, "looked\n");
}
