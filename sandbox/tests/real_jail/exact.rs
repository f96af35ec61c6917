//! Ends of programs, one for each number that there is: none is confused with another one.

use super::{Fleet, job};
use jailfleet::evidence::{Acted, End};
use jailfleet::outcome::Outcome;
use jailfleet::units::{ByteCount, Millis};
use jailfleet::verdict::{Judged, judge};
use jailfleet::wall::Wall;
use jailfleet_harness::require;

#[test]
fn every_exit_code_comes_through_exactly() {
    let mut fleet = Fleet::start(1);
    for code in 0..=255 {
        let seen = fleet.run(&job("bash", format!("exit {code}")));
        assert_eq!(seen.evidence.end, End::Exited(code));
        assert_eq!((seen.evidence.acted, seen.evidence.oom_kills), (None, 0));
    }
}

/// What the kernel does by default of a signal that ends nobody.
fn end_by(signal: i32) -> End {
    match signal {
        // Ignored; those that stop from a terminal are, too, where no parent of the session waits.
        libc::SIGCHLD
        | libc::SIGCONT
        | libc::SIGURG
        | libc::SIGWINCH
        | libc::SIGTSTP
        | libc::SIGTTIN
        | libc::SIGTTOU => End::Exited(0),
        // It stops, until the wall limit ends it.
        libc::SIGSTOP => End::Signaled(libc::SIGKILL),
        _ => End::Signaled(signal),
    }
}

#[test]
fn every_signal_comes_through_exactly_as_to_a_program_that_is_not_pid_1() {
    let mut fleet = Fleet::start(1);
    for signal in 1..=64 {
        // An init would not die of its own signals, so that the number of the process matters.
        let code = format!(
            "import os, signal\n\
             if os.getpid() == 1: os._exit(99)\n\
             if {signal} not in (9, 19, 32, 33): signal.signal({signal}, signal.SIG_DFL)\n\
             os.kill(os.getpid(), {signal})\n\
             os._exit(0)\n"
        );
        let order = job("python", &code).limits(|limits| {
            limits.wall_ms = Millis::new(1500).expect("above zero");
        });
        let seen = fleet.run(&order);
        assert_eq!(seen.evidence.end, end_by(signal), "signal {signal}");
        let stopped = (signal == libc::SIGSTOP).then_some(Acted::Wall);
        assert_eq!(seen.evidence.acted, stopped, "signal {signal}");
    }
}

fn judged(fleet: &mut Fleet, runtime: &str, code: &str) -> Judged {
    let order = job(runtime, code).limits(|limits| {
        limits.memory_bytes = ByteCount::new(64 << 20).expect("above zero");
    });
    let seen = fleet.run(&order);
    let (_, configured) = fleet.runtime(runtime);
    judge(
        &seen.evidence,
        &fleet.limits_of(&order),
        &configured.program,
    )
}

#[test]
fn a_kill_for_memory_is_told_from_programs_that_end_alike() {
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let hog = "x = [bytearray(b'x' * (1 << 20)) for _ in range(256)]";
    // Before and after a real one: what was counted for another run must not count for this one.
    for _ in 0..2 {
        let shown = judged(&mut fleet, "bash", "exit 137");
        assert_eq!(
            (shown.outcome, shown.exit_code),
            (Outcome::Exited, Some(137))
        );
        let own = judged(&mut fleet, "bash", "kill -9 $$");
        assert_eq!((own.outcome, own.signal), (Outcome::Signaled, Some(9)));
        let child = judged(&mut fleet, "bash", "(kill -9 $BASHPID); exit 0");
        assert_eq!((child.outcome, child.exit_code), (Outcome::Exited, Some(0)));
        let killed = judged(&mut fleet, "python", hog);
        assert_eq!(
            (killed.outcome, killed.signal),
            (Outcome::MemoryLimit, Some(9))
        );
    }
}
