//! The worker with halting points, for the tests in which something dies at every step of a job.

#![forbid(unsafe_code)]

#[path = "../../src/main.rs"]
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main()
}
