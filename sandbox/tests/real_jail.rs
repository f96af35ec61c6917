//! Programs in real jails on this machine's kernel, through the warden as the worker uses it.
#![expect(
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly should fail there"
)]

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with the attacks")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with the attacks")]
mod job;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/witness.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod witness;
#[path = "real_jail/programs.rs"]
mod programs;
#[path = "real_jail/parity.rs"]
mod parity;
#[path = "real_jail/ends.rs"]
mod ends;
#[path = "real_jail/exact.rs"]
mod exact;
#[path = "real_jail/bench.rs"]
mod bench;

use fleet::Fleet;
use jailfleet::evidence::End;
use job::{Job, file, job};

#[test]
fn a_python_and_a_shell_program_say_hello() {
    let mut fleet = Fleet::start(1);
    for (runtime, code) in [("python", "print('hello')"), ("bash", "echo hello")] {
        let seen = fleet.run(&job(runtime, code));
        assert_eq!(seen.evidence.end, End::Exited(0), "{seen:?} {}", seen.err());
        assert_eq!(
            (seen.out(), seen.err()),
            ("hello\n".to_owned(), String::new())
        );
    }
}
