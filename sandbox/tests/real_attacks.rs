//! Attacks that take more than a program in a jail to judge: the host's side, a neighbour, a clock.
//! Each must fail, leave the slot as it was, and leave nothing on the host. What a program can judge by
//! itself is in the catalogue (`tests/attacks`).

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "real_attacks/kernel.rs"]
mod kernel;
#[path = "real_attacks/network.rs"]
mod network;
#[path = "real_attacks/files.rs"]
mod files;
#[path = "real_attacks/resources.rs"]
mod resources;
#[path = "real_attacks/processes.rs"]
mod processes;
#[path = "real_attacks/teardown.rs"]
mod teardown;

use fleet::Fleet;
use jailfleet::evidence::End;
use job::{Job, Seen};

/// Runs an attack that ends by itself, and sees that it did no harm.
fn survive(attack: &Job<'_>) -> Seen {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(attack);
    fleet.is_unharmed();
    fleet.stop();
    seen
}

/// What a python program printed that came to its end.
fn printed(code: &str) -> String {
    let seen = survive(&job::python(code));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    seen.out()
}
