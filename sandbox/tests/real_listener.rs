//! Somebody who listens to system calls outside, as the runtimes of containers do, is no reason for a
//! warden not to stand, and gets no say in what a jail may call.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

use fleet::Fleet;
use jailfleet::evidence::{End, UnknownCalls};
use jailfleet_harness::require;
use jailfleet_sandbox::sys::notify::seccomp_listen;
use job::python;

/// A call of a kernel to come, which no policy names.
const TO_COME: u32 = 480;

/// Has whoever holds the listener asked about [`TO_COME`]; every other call passes.
fn outer_filter() -> [libc::sock_filter; 4] {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, TO_COME),
        step(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[test]
fn a_listener_outside_keeps_no_warden_from_standing_and_lets_no_unknown_call_pass() {
    require!(Root);
    // Never answered: a call that waited there would wait until the run's wall limit.
    let outer = seccomp_listen(&outer_filter()).expect("nobody listened before");
    let mut fleet = Fleet::start(1);
    let program = format!(
        "import ctypes\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         print(libc.syscall({TO_COME}), ctypes.get_errno())\n"
    );
    let seen = fleet.run(&python(&program));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    assert_eq!(seen.out(), format!("-1 {}\n", libc::ENOSYS));
    assert_eq!(seen.evidence.unknown_calls, UnknownCalls::NONE);
    fleet.is_unharmed();
    fleet.stop();
    drop(outer);
}
