//! At CPU, time and memory.

use super::survive;
use crate::fleet::Fleet;
use crate::job::python;
use jailfleet::evidence::End;
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Millis};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use std::time::Duration;

fn one_second(limits: &mut Limits) {
    limits.cpu_ms = Millis::new(1000).expect("above zero");
    limits.wall_ms = Millis::new(5000).expect("above zero");
}

#[test]
fn an_endless_loop_is_stopped_at_its_cpu_limit() {
    let seen = survive(&python("while True: pass").limits(one_second));
    // The kernel's own SIGXCPU or our kill, whichever comes first; both within the grace.
    let ended = matches!(
        seen.evidence.end,
        End::Signaled(libc::SIGXCPU | libc::SIGKILL)
    );
    assert!(ended, "{:?}", seen.evidence);
    // The kernel's limit counts in ticks, which are never quite fair.
    assert!(
        seen.evidence.cpu >= Duration::from_millis(800),
        "{:?}",
        seen.evidence.cpu
    );
    assert!(
        seen.evidence.cpu < Duration::from_millis(1300),
        "{:?}",
        seen.evidence.cpu
    );
}

fn little_memory(limits: &mut Limits) {
    limits.memory_bytes = ByteCount::new(64 << 20).expect("above zero");
}

/// Piece by piece: some hosts refuse a single piece that is larger than their memory.
const HOG: &str = "x = [bytearray(b'x' * (1 << 20)) for _ in range(256)]";

#[test]
fn a_memory_hog_is_killed_by_its_own_limit_and_its_neighbour_goes_on() {
    let mut fleet = Fleet::start(2);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let neighbour = fleet.order(
        1,
        &python("x = bytearray(30 << 20)\nimport time\ntime.sleep(1)\nprint(len(x))"),
    );
    let hog = fleet.run(&python(HOG).limits(little_memory));
    assert_eq!(hog.evidence.end, End::Signaled(9), "{}", hog.err());
    assert!(hog.evidence.oom_kills > 0, "{:?}", hog.evidence);
    let neighbour = fleet.finish(neighbour);
    assert_eq!(
        neighbour.evidence.end,
        End::Exited(0),
        "{:?} {}",
        neighbour.evidence,
        neighbour.err()
    );
    assert_eq!(neighbour.evidence.oom_kills, 0);
    // Before Linux 6.12, version 2 cannot say it of one run.
    if let Some(peak) = neighbour.evidence.peak_memory_bytes {
        assert!(peak > 30 << 20, "{peak}");
    }
    fleet.is_unharmed();
    fleet.stop();
}
