//! Publishes jobs to jailfleet's workers and collects their results.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    jailfleet_producer::cli::main().into()
}
