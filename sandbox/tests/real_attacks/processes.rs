//! At a neighbour that runs at the same time.

use crate::fleet::Fleet;
use crate::job::python;
use jailfleet::evidence::End;
use jailfleet::wall::Wall;
use jailfleet_harness::require;

#[test]
fn two_jails_that_run_at_one_time_see_nothing_of_each_other() {
    let mut fleet = Fleet::start(2);
    let uids = |seen: &crate::job::Seen| seen.out().lines().next().unwrap_or_default().to_owned();
    let code = "
import os, ctypes, time
print(os.getuid(), flush=True)
libc = ctypes.CDLL(None, use_errno=True)
libc.shmget(99, 4096, 0o1666)
with open('/dev/shm/mine', 'x') as file: file.write('mine')
time.sleep(0.5)
print([pid for pid in range(1, 400) if os.path.exists(f'/proc/{pid}')])
";
    let first = fleet.order(0, &python(code));
    let second = fleet.order(1, &python(code));
    let first = fleet.finish(first);
    let second = fleet.finish(second);
    for seen in [&first, &second] {
        assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
        // The init and the program itself; the program has no other number than 2 in a new slot.
        assert!(seen.out().ends_with("[1, 2]\n"), "{}", seen.out());
    }
    let own_uids = fleet.walls.holds(Wall::Uid);
    fleet.stop();
    require!(SlotUids => own_uids);
    assert_ne!(uids(&first), uids(&second));
}
