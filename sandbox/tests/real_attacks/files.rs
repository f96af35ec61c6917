//! At files: those of the host, those of the jail, those of the run before.

use super::printed;
use crate::fleet::Fleet;
use crate::job::{bash, python};
use jailfleet::evidence::End;
use jailfleet::limits::Limits;
use jailfleet::units::Millis;

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
