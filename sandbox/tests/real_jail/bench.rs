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
    if std::env::var_os("JAILFLEET_BENCH_FASTEST").is_some() {
        return spans[spans.len() / 20];
    }
    spans[spans.len() / 2]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bare spawn is what we are measured against"
)]
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
        assert_eq!(
            seen.evidence.end,
            jailfleet::evidence::End::Exited(0),
            "{}",
            seen.err()
        );
    }
    (median(to_end), median(to_idle))
}

/// CPU time of everything that we started and that has ended since `before`, for each of `runs`.
fn cpu_since(before: Duration, runs: u32) -> Duration {
    (children_cpu() - before) / runs
}

fn children_cpu() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a usage");
    let span = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).expect("positive"),
        )
    };
    span(usage.user_time()) + span(usage.system_time())
}

fn side_by_side(name: &str, program: &str, args: &[&str], job: &super::Job<'_>, runs: u32) {
    let before = children_cpu();
    let outside = bare(program, args, runs);
    let outside_cpu = cpu_since(before, runs);
    let mut fleet = Fleet::start(1);
    let before = children_cpu();
    let (end, idle) = jailed(&mut fleet, job, runs);
    fleet.wait_for_end();
    let cpu = cpu_since(before, runs);
    eprintln!(
        "{name}: bare {outside:?} (CPU {outside_cpu:?}); jailed to Ended {end:?}, to Idle {idle:?} \
         (CPU of warden, init and program {cpu:?})"
    );
    assert!(
        cpu < outside_cpu * 8,
        "a jail does not cost many times a spawn"
    );
}

#[test]
fn a_trivial_program_costs_little_more_in_a_jail_than_outside() {
    let mut native = job("native", "");
    native.main = std::fs::read("/bin/true").expect("there is one");
    side_by_side("true", "/bin/true", &[], &native, 500);
    let python = job("python", "print(6*7)");
    side_by_side(
        "python",
        "/usr/bin/python3",
        &["-E", "-B", "-c", "print(6*7)"],
        &python,
        100,
    );
}
