//! At the clean-up: as much as a run may leave, while a neighbour's clock runs.

use crate::fleet::Fleet;
use crate::job::{Seen, bash, python};
use jailfleet::evidence::{Acted, End};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};
use std::time::Duration;

/// The most that a job of the default configuration can ask for.
fn most(limits: &mut Limits) {
    limits.cpu_ms = Millis::new(60_000).expect("above zero");
    limits.wall_ms = Millis::new(60_000).expect("above zero");
    limits.memory_bytes = ByteCount::new(805_306_368).expect("above zero");
    limits.file_bytes = FileBytes::new(134_217_728);
    limits.disk_bytes = ByteCount::new(134_217_728).expect("above zero");
    limits.disk_files = Count::new(16_384).expect("above zero");
    limits.processes = Count::new(128).expect("above zero");
}

/// A tree of ten thousand levels, every inode and every byte of the scratch, ten thousand mappings, and
/// processes that each have all of them.
const LEAVE_MUCH: &str = "
import mmap, os, signal
home = os.getcwd()
os.chdir('tmp')
# Chains of a hundred, each put below the next one: in a deep folder Landlock makes each step slow.
for number in range(100):
    os.mkdir('next')
    at = os.open('next', os.O_RDONLY)
    for _ in range(99):
        os.mkdir('d', dir_fd=at)
        below = os.open('d', os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    if number > 0: os.rename('tree', 'd', dst_dir_fd=at)
    os.close(at)
    os.rename('next', 'tree')
os.chdir(home)
made = 0
try:
    while True: os.close(os.open(f'/dev/shm/{made}', os.O_CREAT)); made += 1
except OSError: pass
os.unlink('/dev/shm/0')
with open('/dev/shm/full', 'wb', buffering=0) as file:
    try:
        while True: file.write(b'x' * 65536)
    except OSError: pass
room = mmap.mmap(-1, 256 << 20)
for at in range(0, len(room), mmap.PAGESIZE): room[at] = 1
maps = []
try:
    while len(maps) < 10_000: maps.append(mmap.mmap(-1, mmap.PAGESIZE, prot=1 + len(maps) % 2))
except OSError: pass
for _ in range(8):
    if os.fork() == 0: signal.pause()
print(made, flush=True)
signal.pause()
";

/// Wall limits of the neighbours: some of them end while the other run dies, is swept and gets its
/// new scratch, however long that takes on this machine.
const NEIGHBOURS_MS: [u64; 5] = [150, 300, 600, 1200, 2400];
/// Far above what a busy machine needs, and far below a teardown in the warden's own loop.
const LATE: Duration = Duration::from_secs(1);

/// Runs this program, which prints a number and stays, and ends it while neighbours' clocks run. Whatever comes
/// of it, each of those is ended at its limit.
fn torn_down(mut fleet: Fleet, code: &str, limits: fn(&mut Limits)) -> Seen {
    let large = fleet.order(0, &python(code).limits(limits));
    fleet.wait_for_output(&large);
    let mut neighbours = Vec::new();
    for (slot, wall) in (1..).zip(NEIGHBOURS_MS) {
        let sleeper = bash("echo started; sleep 100").limits(move |limits| {
            limits.wall_ms = Millis::new(wall).expect("above zero");
        });
        let going = fleet.order(slot, &sleeper);
        fleet.wait_for_output(&going);
        neighbours.push((wall, going));
    }
    let large = fleet.cancel(large);
    for (wall, going) in neighbours {
        let seen = fleet.finish(going);
        let (acted, had) = (seen.evidence.acted, seen.evidence.wall);
        assert_eq!(acted, Some(Acted::Wall), "{had:?}");
        assert!(had < Duration::from_millis(wall) + LATE, "{wall}: {had:?}");
    }
    assert_eq!(
        (large.evidence.acted, large.evidence.end),
        (Some(Acted::Cancel), End::Signaled(9))
    );
    // Where the dying takes longer than the warden waits for an init, the slot is replaced: that
    // costs time, and neither the outcome nor a neighbour.
    let next = fleet.run(&bash("ls -A tmp /dev/shm"));
    assert_eq!(next.out(), "/dev/shm:\n\ntmp:\n");
    fleet.stop();
    large
}

#[test]
fn neighbours_wall_limits_stay_exact_while_all_that_a_run_may_leave_is_torn_down() {
    let large = torn_down(Fleet::start(1 + NEIGHBOURS_MS.len()), LEAVE_MUCH, most);
    let made: u64 = large.out().trim().parse().expect("a number");
    assert!(made > 6000, "the scratch was not full: {made} files");
}

/// A host whose keeper lets python jobs have as many files as they like, and the memory that these take.
const MANY_FILES: &str = "
[runtimes.python.ceiling]
memory_bytes = 4294967296
disk_files = 1100000
[warden]
sweep_timeout_ms = 60000
";

fn a_million_files(limits: &mut Limits) {
    most(limits);
    limits.memory_bytes = ByteCount::new(4 << 30).expect("above zero");
    limits.disk_files = Count::new(1_100_000).expect("above zero");
}

const MAKE_A_MILLION: &str = "
import os, signal
made = 0
for folder in range(1000):
    os.mkdir(f'/dev/shm/{folder}')
    at = os.open(f'/dev/shm/{folder}', os.O_RDONLY)
    for name in range(1000):
        os.mknod(str(name), dir_fd=at)
        made += 1
    os.close(at)
print(made, flush=True)
signal.pause()
";

#[test]
fn neighbours_wall_limits_stay_exact_while_a_million_inodes_are_torn_down() {
    let fleet = Fleet::configured(1 + NEIGHBOURS_MS.len(), MANY_FILES);
    let large = torn_down(fleet, MAKE_A_MILLION, a_million_files);
    assert_eq!(large.out(), "1000000\n", "{}", large.err());
}
