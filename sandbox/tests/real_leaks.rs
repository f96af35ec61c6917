//! What one run leaves and another one looks for: the next run of the same slot, and a neighbour's at
//! the same time.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "support/plain.rs"]
mod plain;
#[path = "real_leaks/traces.rs"]
mod traces;

use fleet::Fleet;
use jailfleet::evidence::End;
use jailfleet::units::{ByteCount, Count, Millis};
use jailfleet::wall::Wall;
use jailfleet_harness::noted::tell;
use jailfleet_harness::require;
use job::{Seen, bash, python};
use traces::{ALL, NOTHING, Trace};

/// The output of a python program that must have come to its end.
fn printed(trace: &Trace, seen: &Seen) -> String {
    let end = seen.evidence.end;
    assert_eq!(end, End::Exited(0), "{}: {}", trace.name, seen.err());
    seen.out()
}

/// Compares what was found with what may be, and tells of a hole that somebody knows of.
fn compare(
    place: &str,
    trace: &Trace,
    found: &str,
    hole: Option<&str>,
    failures: &mut Vec<String>,
) {
    match hole {
        None if found == NOTHING => {}
        None => failures.push(format!("{}, {place}: {found}", trace.name)),
        Some(reason) if found == NOTHING => failures.push(format!(
            "{}, {place}: nothing is found any more, take the known hole away ({reason})",
            trace.name
        )),
        Some(reason) => tell(&format!("known hole: {}, {place}: {reason}", trace.name)),
    }
}

#[test]
fn what_a_run_left_is_found_by_itself_so_that_a_search_without_result_means_something() {
    let mut fleet = Fleet::start(1);
    for trace in ALL {
        let seen = fleet.run(&python(&trace.leave_and_look()));
        let out = printed(trace, &seen);
        let closed = trace.is_closed(&fleet.walls);
        let found = if closed { NOTHING } else { trace.itself };
        assert_eq!(out, format!("left\n{found}"), "{}", trace.name);
    }
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn what_a_run_left_is_not_there_for_the_next_run_of_its_slot() {
    let mut fleet = Fleet::start(1);
    let mut failures = Vec::new();
    for trace in ALL {
        let left = fleet.run(&python(&trace.leave()));
        assert_eq!(printed(trace, &left), "left\n", "{}", trace.name);
        let next = fleet.run(&python(&trace.look()));
        let found = printed(trace, &next);
        compare("next run", trace, &found, None, &mut failures);
    }
    fleet.is_unharmed();
    fleet.stop();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_a_run_has_is_not_there_for_a_neighbour_at_the_same_time() {
    let mut fleet = Fleet::start(2);
    let mut failures = Vec::new();
    for trace in ALL {
        let going = fleet.order(1, &python(&trace.leave_and_stay()));
        fleet.wait_for_output(&going);
        let beside = fleet.run(&python(&trace.look()));
        let stayed = fleet.cancel(going);
        assert_eq!(stayed.out(), "left\n", "{}: {}", trace.name, stayed.err());
        let found = printed(trace, &beside);
        let closed = trace.is_closed(&fleet.walls);
        let hole = trace.beside.filter(|_| !closed);
        compare("neighbour", trace, &found, hole, &mut failures);
    }
    fleet.is_unharmed();
    fleet.stop();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_plain_users_jails_leak_no_more_than_roots() {
    require!(Root);
    plain::as_a_plain_user(&[
        "what_a_run_left_is_found_by_itself_so_that_a_search_without_result_means_something",
        "what_a_run_left_is_not_there_for_the_next_run_of_its_slot",
        "what_a_run_has_is_not_there_for_a_neighbour_at_the_same_time",
    ]);
}

#[test]
fn a_fork_bomb_leaves_its_neighbour_all_of_its_own_processes() {
    let mut fleet = Fleet::start(2);
    require!(CgroupPids => fleet.walls.holds(Wall::CgroupPids));
    // It says that it has all that it can get before the neighbour begins.
    let bomb = "
import os, signal
while True:
    try:
        if os.fork() == 0: signal.pause()
    except OSError: break
print('full', flush=True)
signal.pause()
";
    let bomb = fleet.order(
        1,
        &python(bomb).limits(|limits| {
            limits.processes = Count::new(32).expect("above zero");
            limits.wall_ms = Millis::new(30_000).expect("above zero");
        }),
    );
    fleet.wait_for_output(&bomb);
    let count = "
import os, signal
made = 0
while True:
    try: child = os.fork()
    except OSError: break
    if child == 0: signal.pause()
    made += 1
print(made)
";
    let alone = |limits: &mut jailfleet::limits::Limits| {
        limits.processes = Count::new(20).expect("above zero");
    };
    let beside = fleet.run(&python(count).limits(alone));
    assert_eq!(beside.out(), "19\n", "{}", beside.err());
    let bomb = fleet.cancel(bomb);
    assert_eq!(bomb.out(), "full\n");
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn memory_that_a_run_left_is_not_charged_to_a_smaller_one_after_it() {
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let segments = "
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for _ in range(160):
    room = ctypes.c_void_p(libc.shmat(libc.shmget(0, 1 << 20, 0o1600), None, 0))
    ctypes.memset(room, 1, 1 << 20)
    libc.shmdt(room)
print('left')
";
    let queues = "
import ctypes
libc = ctypes.CDLL(None)
message = (ctypes.c_long * 1024)(1)
for _ in range(6000):
    queue = libc.msgget(0, 0o1600)
    for _ in range(2): libc.msgsnd(queue, message, 8000, 0o4000)
print('left')
";
    for leave in [segments, queues, segments, queues] {
        let left = fleet.run(&python(leave));
        assert_eq!(left.out(), "left\n", "{:?} {}", left.evidence, left.err());
        let small = fleet.run(&bash("echo well").limits(|limits| {
            limits.memory_bytes = ByteCount::new(16 << 20).expect("above zero");
        }));
        let (end, kills) = (small.evidence.end, small.evidence.oom_kills);
        assert_eq!((end, kills), (End::Exited(0), 0));
        assert_eq!(small.out(), "well\n");
    }
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn two_runs_share_no_random_numbers_hash_seeds_or_addresses() {
    let mut fleet = Fleet::start(1);
    let code = "
import ctypes, os, random
print(random.getrandbits(64))
print(hash('the same text'))
print(os.urandom(8).hex())
print(id(object()))
# The sixteen bytes that the kernel gives each program (AT_RANDOM is 25).
at = ctypes.CDLL(None).getauxval
at.restype = ctypes.c_ulong
print(ctypes.string_at(at(25), 16).hex())
";
    let first = fleet.run(&python(code));
    let second = fleet.run(&python(code));
    let (first, second) = (first.out(), second.out());
    assert_eq!(first.lines().count(), 5, "{first}");
    for (one, other) in first.lines().zip(second.lines()) {
        assert_ne!(one, other, "{first}{second}");
    }
    fleet.stop();
}

#[test]
fn the_space_of_deleted_files_is_there_for_the_next_run() {
    let mut fleet = Fleet::start(1);
    let fill = "
import os
file = open('tmp/gone', 'wb', buffering=0)
os.unlink('tmp/gone')
written = 0
try:
    while True: written += file.write(b'x' * 65536)
except OSError: pass
if os.fork() == 0:
    os.setsid()
    while True: os.sched_yield()
print(written, flush=True)
os._exit(0)
";
    let first = fleet.run(&python(fill));
    let second = fleet.run(&python(fill));
    assert_eq!(first.out(), second.out());
    let written: u64 = first.out().trim().parse().expect("a number");
    assert!(written >= 8 << 20, "{written}");
    let next = fleet.run(&bash("ls -A tmp /dev/shm"));
    assert_eq!(next.out(), "/dev/shm:\n\ntmp:\n");
    fleet.is_unharmed();
    fleet.stop();
}
