//! What users of codejail expect of the tree: these answers are part of the interface.

use super::{Fleet, Job, file, job};
use jailfleet::evidence::End;

/// Runs `action` for each path and prints the number of the error that it got.
fn errnos(fleet: &mut Fleet, action: &str, paths: &[&str]) -> String {
    let code = format!(
        "import os\nfor path in {paths:?}:\n  try:\n    {action}\n    print(path, 'works')\n  \
         except OSError as e: print(path, e.errno)\n"
    );
    let seen = fleet.run(&job("python", &code));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    seen.out()
}

fn all_denied(paths: &[&str]) -> String {
    paths
        .iter()
        .map(|path| format!("{path} {}\n", libc::EACCES))
        .collect()
}

#[test]
fn folders_of_the_system_cannot_be_listed() {
    let mut fleet = Fleet::start(1);
    let paths = [
        "/", "/tmp", "/etc", "/proc", "..", "../", "/sys", "/home", "/var", "/root", "/run",
    ];
    assert_eq!(
        errnos(&mut fleet, "os.listdir(path)", &paths),
        all_denied(&paths)
    );
}

#[test]
fn files_of_the_system_cannot_be_read() {
    let mut fleet = Fleet::start(1);
    let paths = [
        "/etc/hosts",
        "/etc/passwd",
        "/proc/1/cmdline",
        "/etc/shadow",
    ];
    assert_eq!(
        errnos(&mut fleet, "open(path).read()", &paths),
        all_denied(&paths)
    );
}

#[test]
fn nothing_can_be_written_outside_tmp() {
    let mut fleet = Fleet::start(1);
    let paths = [
        "mydata.txt",
        "/tmp/x",
        "../x",
        "/x",
        "/etc/x",
        "jailed_code",
    ];
    let seen = errnos(&mut fleet, "open(path, 'w')", &paths);
    assert_eq!(seen, all_denied(&paths));
}

#[test]
fn folders_of_the_host_answer_writers_that_they_are_read_only() {
    let mut fleet = Fleet::start(1);
    let paths = ["/usr/x", "/usr/lib/x", "/usr/bin/env"];
    let read_only: String = paths
        .iter()
        .map(|path| format!("{path} {}\n", libc::EROFS))
        .collect();
    assert_eq!(errnos(&mut fleet, "open(path, 'w')", &paths), read_only);
}

#[test]
fn the_working_directory_lists_exactly_the_jobs_files_and_tmp() {
    let mut fleet = Fleet::start(1);
    let order = Job {
        files: vec![file("hello.txt", ""), file("pylib/a.py", "")],
        ..job(
            "python",
            "import os; print(sorted(os.listdir('.')), os.listdir('pylib'))",
        )
    };
    let seen = fleet.run(&order);
    assert_eq!(
        seen.out(),
        "['hello.txt', 'jailed_code', 'pylib', 'tmp'] ['a.py']\n"
    );
}

#[test]
fn files_in_tmp_can_be_written_read_and_deleted() {
    let mut fleet = Fleet::start(1);
    let code = "import os, tempfile\nf, p = tempfile.mkstemp()\nos.write(f, b'hey')\n\
                print(open(p).read(), p.startswith(os.getcwd() + '/tmp/'))\nos.remove(p)\n\
                os.makedirs('tmp/a/b')\nprint(os.listdir('tmp'))";
    let seen = fleet.run(&job("python", code));
    assert_eq!(seen.out(), "hey True\n['a']\n", "{}", seen.err());
}

#[test]
fn no_socket_to_a_network_can_be_made() {
    let mut fleet = Fleet::start(1);
    let code = "import socket\nfor family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n  \
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):\n    \
                try: socket.socket(family, kind); print('works')\n    \
                except PermissionError as e: print(e.errno)\n";
    let seen = fleet.run(&job("python", code));
    assert_eq!(seen.out(), "13\n".repeat(9), "{}", seen.err());
}
