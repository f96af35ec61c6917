//! The parts of the walls alone, on this machine's kernel.

use jailfleet::settings::{WorkerSettings, env_pairs, worker_settings};
use jailfleet::wall::{Wall, WallSet, missing};
use jailfleet_harness::{TestUids, require};
use jailfleet_sandbox::lease::Leases;
use jailfleet_sandbox::probe::{State, held_walls, probe};
use jailfleet_sandbox::sweep::{self, Sweeper};
use jailfleet_sandbox::sys::restrict::landlock_restrict_self;
use jailfleet_sandbox::{clock, landlock};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Uid, geteuid, seteuid};
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn settings(state: &Path) -> WorkerSettings {
    let flags = [
        ("warden.state_dir".to_owned(), state.display().to_string()),
        (
            "warden.cgroup_name".to_owned(),
            format!("jailfleet-test-{}", std::process::id()),
        ),
        (
            "warden.uid_base".to_owned(),
            TestUids::Parts.base().to_string(),
        ),
        (
            "warden.uid_count".to_owned(),
            TestUids::Parts.count().to_string(),
        ),
    ];
    worker_settings(None, &env_pairs(std::env::vars_os()), &flags).expect("good settings")
}

#[test]
fn every_wall_is_tried_and_each_that_is_missing_comes_with_a_remedy() {
    let state = tempfile::tempdir().expect("a folder");
    let reports = probe(&settings(state.path()));
    let walls: Vec<Wall> = reports.iter().map(|report| report.wall).collect();
    assert_eq!(walls, Wall::ALL);
    for report in &reports {
        eprintln!("{report:?}");
        let userns_of_root = report.wall == Wall::Userns && geteuid().is_root();
        let remedied = report.state == State::Held || report.fix.is_some() || userns_of_root;
        assert!(
            remedied,
            "{} has no remedy: {}",
            report.wall, report.evidence
        );
    }
    assert_eq!(
        missing(WallSet::Laptop.required(), &held_walls(&reports)),
        []
    );
}

#[test]
fn where_pkill_cannot_be_executed_the_wall_uid_is_missing_and_the_remedy_says_what_to_install() {
    require!(Root);
    // A mount namespace is a thread's own: this one goes in alone.
    let inside = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("we are root");
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).expect("it is ours alone");
        let bind = MsFlags::MS_BIND;
        let (null, pkill) = (Some("/dev/null"), "/usr/bin/pkill");
        mount(null, pkill, nothing, bind, nothing).expect("pkill is there");
        let state = tempfile::tempdir().expect("a folder");
        let reports = probe(&settings(state.path()));
        reports.into_iter().find(|report| report.wall == Wall::Uid)
    });
    let found = inside.join().expect("no panic inside");
    let report = found.expect("every wall has a report");
    assert_eq!(report.state, State::Missing, "{report:?}");
    assert!(
        report.evidence.contains("pkill cannot be executed"),
        "{report:?}"
    );
    let fix = report.fix.expect("a remedy");
    assert!(fix.contains("procps"), "{fix}");
}

#[test]
fn two_workers_of_a_host_never_lease_the_same_uid() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let section = settings(state.path()).warden;
    let mut one = Leases::open(&section).expect("the first worker's");
    let mut other = Leases::open(&section).expect("the second worker's");
    let held: Vec<_> = (0..2)
        .flat_map(|_| [one.take().expect("a uid"), other.take().expect("a uid")])
        .collect();
    let mut uids: Vec<u32> = held.iter().map(|lease| lease.uid().get()).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 4, "four leases of four uids");
    one.take().expect_err("a fifth lease of four uids");
    drop(held);
    other.take().expect("a uid that was returned");
}

/// A process of another user that ignores signals and lives until it is killed, or until the test
/// gives up: waiting for it closes its standard input.
fn sleeper_of(uid: u32) -> Child {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test needs a process that is no jail's"
    )]
    let mut command = Command::new("/bin/sh");
    let mut child = command
        .args([
            "-c",
            "trap '' TERM HUP INT; echo ready; while read line; do :; done",
        ])
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut ready = [0; 6];
    let stdout = child.stdout.as_mut().expect("its output is a pipe");
    stdout
        .read_exact(&mut ready)
        .expect("it says that it is ready");
    child
}

#[test]
fn a_uid_that_a_stranger_runs_under_is_not_leased() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let section = settings(state.path()).warden;
    let mut stranger = sleeper_of(section.uid_base);
    let lease = Leases::open(&section)
        .and_then(|mut leases| leases.take())
        .expect("another uid");
    assert_ne!(lease.uid().get(), section.uid_base);
    assert!(
        stranger.try_wait().expect("a look").is_none(),
        "the stranger was left alone"
    );
    stranger.kill().expect("a kill");
    stranger.wait().expect("its end");
}

#[test]
fn a_sweep_kills_what_ignores_every_signal_and_only_then_the_slot_is_proved_clean() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let section = settings(state.path()).warden;
    let lease = Leases::open(&section)
        .and_then(|mut leases| leases.take())
        .expect("a uid");
    sweep::look(lease.uid()).expect("nothing runs under a fresh lease");
    let mut left = sleeper_of(lease.uid().get());
    sweep::look(lease.uid()).expect_err("a process is there");
    let sweeper = Sweeper::start(lease.uid(), clock::now()).expect("the sweep begins");
    sweeper.wait().expect("the sweep");
    let status = left.wait().expect("its end");
    assert_eq!(status.signal(), Some(9));
    sweep::look(lease.uid()).expect("nothing is left");
}

#[test]
fn a_sweep_that_may_not_take_its_uid_says_so_instead_of_looking_done() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let section = settings(state.path()).warden;
    let lease = Leases::open(&section)
        .and_then(|mut leases| leases.take())
        .expect("a uid");
    // Whoever is not root cannot become another.
    let root = geteuid();
    seteuid(Uid::from_raw(65_534)).expect("root becomes anybody");
    let sweeper = Sweeper::start(lease.uid(), clock::now()).expect("the sweep begins");
    let failed = sweeper.wait().expect_err("it swept nothing");
    seteuid(root).expect("and root again");
    assert_eq!(failed.raw_os_error(), Some(libc::EPERM), "{failed}");
}

#[test]
fn what_a_killed_warden_left_is_ended_by_whoever_leases_its_uid_next() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let section = settings(state.path()).warden;
    let uid = {
        let lease = Leases::open(&section)
            .and_then(|mut leases| leases.take())
            .expect("a uid");
        lease.uid().get()
    };
    let mut left = sleeper_of(uid);
    let _next = Leases::open(&section)
        .and_then(|mut leases| leases.take())
        .expect("a uid");
    assert_eq!(left.wait().expect("its end").signal(), Some(9));
}

#[test]
fn a_folder_of_locks_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().expect("a folder");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(state.path(), open).expect("a mode");
    let refused = Leases::open(&settings(state.path()).warden).expect_err("everybody may write");
    assert!(
        refused.to_string().contains("warden.state_dir"),
        "{refused}"
    );
}

#[test]
fn landlock_alone_refuses_files_ports_and_sockets_of_the_host() {
    let abi = landlock::abi();
    let ruleset = landlock::empty_ruleset().expect("all that this version promises");
    require!(Landlock => ruleset.is_some());
    let ruleset = ruleset.expect("it is there, as was just required");
    let name = format!("jailfleet-landlock-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("a listener");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = tcp.local_addr().expect("its address");
    // A domain is a thread's own: this one goes in alone, and the rest of the test stays outside.
    let inside = std::thread::spawn(move || {
        set_no_new_privs().expect("always allowed");
        landlock_restrict_self(ruleset.as_fd()).expect("no_new_privs is set");
        let errno = |error: io::Error| error.raw_os_error();
        [
            File::open("/etc/hostname").err().and_then(errno),
            TcpStream::connect(port).err().and_then(errno),
            UnixStream::connect_addr(&address).err().and_then(errno),
        ]
    });
    let [file, port, socket] = inside.join().expect("no panic inside");
    assert_eq!(file, Some(libc::EACCES));
    assert_eq!(
        port,
        (abi >= 4).then_some(libc::EACCES),
        "ports came with version 4"
    );
    assert_eq!(
        socket,
        (abi >= 6).then_some(libc::EPERM),
        "scopes came with version 6"
    );
}
