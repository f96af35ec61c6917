//! At CPU, time and memory.

use super::{printed, survive};
use crate::fleet::Fleet;
use crate::job::{bash, python};
use jailfleet::evidence::{Acted, End};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Millis};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use std::time::Duration;

fn one_second(limits: &mut Limits) {
    limits.cpu_ms = Millis::new(1000).expect("above zero");
    limits.wall_ms = Millis::new(5000).expect("above zero");
}

fn half_a_second_of_wall_time(limits: &mut Limits) {
    limits.wall_ms = Millis::new(500).expect("above zero");
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

#[test]
fn the_cpu_time_of_all_children_together_is_limited() {
    let mut fleet = Fleet::start(1);
    require!(CgroupCpu => fleet.walls.holds(Wall::CgroupCpu));
    let attack = bash("for i in 1 2 3 4; do (while :; do :; done) & done; wait").limits(one_second);
    let seen = fleet.run(&attack);
    assert_eq!(seen.evidence.acted, Some(Acted::Cpu), "{:?}", seen.evidence);
    assert_eq!(seen.evidence.end, End::Signaled(libc::SIGKILL));
    assert!(
        seen.evidence.cpu < Duration::from_millis(1400),
        "{:?}",
        seen.evidence.cpu
    );
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_program_that_ignores_every_signal_is_killed_at_its_wall_limit() {
    let attack = python(
        "
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
print('ready', flush=True)
while True: time.sleep(100)
",
    )
    .limits(half_a_second_of_wall_time);
    let seen = survive(&attack);
    assert_eq!(
        (seen.evidence.acted, seen.evidence.end),
        (Some(Acted::Wall), End::Signaled(9))
    );
    assert_eq!(seen.out(), "ready\n");
    assert!(
        seen.evidence.wall < Duration::from_millis(800),
        "{:?}",
        seen.evidence.wall
    );
}

#[test]
fn a_program_that_stops_itself_is_killed_at_its_wall_limit() {
    let seen = survive(&bash("kill -STOP $$").limits(half_a_second_of_wall_time));
    assert_eq!(
        (seen.evidence.acted, seen.evidence.end),
        (Some(Acted::Wall), End::Signaled(9))
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

#[test]
fn a_child_killed_for_memory_is_seen_though_its_parent_says_that_all_is_well() {
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let attack = python(
        "
import os
if os.fork() == 0: x = [bytearray(b'x' * (1 << 20)) for _ in range(256)]
os.wait()
print('OK')
",
    );
    let seen = fleet.run(&attack.limits(little_memory));
    assert_eq!(
        (seen.evidence.end, seen.out().as_str()),
        (End::Exited(0), "OK\n")
    );
    assert!(seen.evidence.oom_kills > 0, "{:?}", seen.evidence);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn shared_memory_and_the_scratch_count_as_the_programs_memory() {
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let attack = python(
        "
import mmap
room = mmap.mmap(-1, 1 << 28)  # shared and anonymous
for at in range(0, 1 << 28, 4096): room[at] = 1
",
    );
    let seen = fleet.run(&attack.limits(little_memory));
    assert_eq!(seen.evidence.end, End::Signaled(9), "{}", seen.err());
    assert!(seen.evidence.oom_kills > 0, "{:?}", seen.evidence);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn no_limit_can_be_raised_and_no_priority_taken() {
    let out = printed(
        "
import os, resource
names = [name for name in dir(resource) if name.startswith('RLIMIT_')]
for name in names:
    number = getattr(resource, name)
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY: continue
    try: resource.setrlimit(number, (soft, hard + 1))
    except (ValueError, PermissionError): pass
    if resource.getrlimit(number) != (soft, hard): print('raised', name)
# A core limit of 0 would let the host's core helper run; 1 does not.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print(resource.getrlimit(resource.RLIMIT_CORE))
for what in (lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), lambda: os.nice(-1),
        lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), lambda: os.nice(1),
        lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)),
        lambda: open('/proc/self/oom_score_adj', 'w').write('-1000')):
    try: what(); print('taken')
    except PermissionError: pass
print(resource.getrlimit(resource.RLIMIT_MEMLOCK), resource.getrlimit(resource.RLIMIT_MSGQUEUE))
",
    );
    assert_eq!(out, "(1, 1)\n(0, 0) (0, 0)\n");
}
