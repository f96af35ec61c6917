//! What a job costs, beside a bare spawn of the same program. Prints; asserts only what must hold
//! on any machine.

use super::{Fleet, job};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "the bare spawn is what we are measured against")]
fn bare(program: &str, args: &[&str], runs: u32) -> Duration {
    let spans = (0..runs).map(|_| {
        let start = now();
        let output = std::process::Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        assert!(output.status.success());
        start.elapsed()
    });
    median(spans.collect())
}

fn jailed(fleet: &mut Fleet, job: &super::Job<'_>, runs: u32) -> (Duration, Duration) {
    let mut to_end = Vec::new();
    let mut to_idle = Vec::new();
    for _ in 0..runs {
        let start = now();
        let going = fleet.order(0, job);
        let seen = fleet.finish(going);
        to_idle.push(start.elapsed());
        to_end.push(fleet.ended_at.duration_since(start));
        assert_eq!(seen.evidence.end, jailfleet::evidence::End::Exited(0), "{}", seen.err());
    }
    (median(to_end), median(to_idle))
}

#[test]
fn a_trivial_program_costs_little_more_in_a_jail_than_outside() {
    let mut fleet = Fleet::start(1);
    let mut native = job("native", "");
    let code = std::fs::read("/bin/true").expect("there is one");
    native.main = Some(&code);
    let outside = bare("/bin/true", &[], 500);
    let (end, idle) = jailed(&mut fleet, &native, 500);
    eprintln!("true: bare {outside:?}, jailed to Ended {end:?}, to Idle {idle:?}");
    let python = job("python", "print(6*7)");
    let outside = bare("/usr/bin/python3", &["-E", "-B", "-c", "print(6*7)"], 100);
    let (end, idle) = jailed(&mut fleet, &python, 100);
    eprintln!("python: bare {outside:?}, jailed to Ended {end:?}, to Idle {idle:?}");
    assert!(end < outside * 5, "a jail is not five times as slow as a spawn");
}
