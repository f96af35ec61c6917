//! At the kernel's surface, where the warden has to look at what came of it.

use crate::fleet::Fleet;
use crate::job::python;

/// `call(number, ...)` answers "ok" or the name of the error.
const CALL: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return 'ok' if done >= 0 else errno.errorcode[ctypes.get_errno()]
";

#[test]
fn calls_that_the_policy_does_not_know_do_not_exist_and_are_told_by_their_number() {
    let mut fleet = Fleet::start(1);
    let attack = format!(
        "{CALL}
import threading
def ask():
    for number in list(range(470, 500)) * 20: assert call(number) == 'ENOSYS'
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('none exists')
"
    );
    let seen = fleet.run(&python(&attack));
    assert_eq!(seen.out(), "none exists\n", "{}", seen.err());
    let told: Vec<u32> = seen.evidence.unknown_calls.iter().collect();
    assert_eq!(told.len(), 8, "{told:?}");
    assert!(told.iter().all(|number| (470..500).contains(number)));
    // A run that knows no such calls has none told of it.
    let seen = fleet.run(&python("print('plain')"));
    assert_eq!(seen.evidence.unknown_calls.iter().count(), 0);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn whoever_is_killed_while_it_asks_leaves_its_slot_as_it_was() {
    let mut fleet = Fleet::start(1);
    let attack = format!(
        "{CALL}
import os
for _ in range(8):
    if os.fork() == 0:
        while True: call(480)
while True: call(481)
"
    );
    let attack = python(&attack).limits(|limits| {
        limits.wall_ms = jailfleet::units::Millis::new(500).expect("a limit");
    });
    let seen = fleet.run(&attack);
    assert_eq!(seen.evidence.acted, Some(jailfleet::evidence::Acted::Wall));
    fleet.is_unharmed();
    fleet.stop();
}
