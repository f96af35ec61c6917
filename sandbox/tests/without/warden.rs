//! The warden with one wall taken down, for the tests that ask what the others are worth. The name by
//! which it is called ends in the wall's: `jailfleet-warden-without-landlock`.

#[path = "../../src/bin/jailfleet-warden.rs"]
mod warden;

use jailfleet::wall::Wall;
use jailfleet_sandbox::without::take_down;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let wall = name.rsplit_once("-without-");
    let wall = wall.and_then(|(_, wall)| Wall::parse(wall));
    match wall.map(take_down) {
        Some(Ok(())) => warden::main(),
        Some(Err(_)) | None => {
            eprintln!("{name}: its name ends in no wall that can be taken down");
            ExitCode::FAILURE
        }
    }
}
