//! Attacks that take more than a program in a jail to judge: the host's side, a neighbour, a clock.
//! Each must fail, leave the slot as it was, and leave nothing on the host. What a program can judge by
//! itself is in the catalogue (`tests/attacks`).

#[path = "support/fleet.rs"]
mod fleet;
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

use fleet::{Attack, Fleet, Seen};
use jailfleet::evidence::End;

/// Runs an attack that ends by itself, and sees that it did no harm.
fn survive(attack: &Attack<'_>) -> Seen {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(attack);
    fleet.is_unharmed();
    fleet.stop();
    seen
}

/// What a python program printed that came to its end.
fn printed(code: &str) -> String {
    let seen = survive(&fleet::python(code));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    seen.out()
}
