//! A sweep by pkill alone, without the kill that it begins with.

use jailfleet::settings::worker_settings;
use jailfleet_harness::{TestUids, require};
use jailfleet_sandbox::clock;
use jailfleet_sandbox::lease::Leases;
use jailfleet_sandbox::sweep::{self, By, Sweeper};
use jailfleet_sandbox::without::leave_out_the_kill;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

/// A process of another user that is deaf to every signal that it can be deaf to; it ends by itself once
/// its input closes.
fn deaf_process_of(uid: u32) -> Child {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test needs a process that is no jail's"
    )]
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' TERM HUP INT; echo ready; read line"]);
    command.uid(uid).gid(uid);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a shell");
    let mut ready = [0; 6];
    let stdout = child.stdout.as_mut().expect("its output is a pipe");
    stdout.read_exact(&mut ready).expect("it is deaf now");
    child
}

#[test]
fn pkill_alone_ends_what_a_slots_uid_still_has() {
    require!(Root);
    let state = tempfile::tempdir().expect("a folder");
    let mut section = worker_settings(None, &[], &[])
        .expect("the defaults are good")
        .warden;
    section.state_dir = state.path().display().to_string();
    section.uid_base = TestUids::Jails.base();
    section.uid_count = TestUids::Jails.count();
    let mut leases = Leases::open(&section).expect("a folder of our own");
    let lease = leases.take().expect("a uid");
    let mut left = deaf_process_of(lease.uid().get());
    // Nobody else sweeps in this process: each test has one of its own, or starts wardens.
    leave_out_the_kill();
    let sweeper = Sweeper::start(lease.uid(), clock::now()).expect("the sweep begins");
    assert_eq!(sweeper.wait().expect("the sweep"), By::KillAndPkill);
    // Its input is closed by waiting, so that without a kill it would end by itself, and in another way.
    assert_eq!(left.wait().expect("its end").signal(), Some(9));
    sweep::look(lease.uid()).expect("nothing is left");
}
