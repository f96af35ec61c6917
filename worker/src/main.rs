//! The worker's executable; everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use jailfleet_worker::cli::Cli;
use jailfleet_worker::command;

pub(crate) fn main() -> ExitCode {
    match command::carry_out(&Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("jailfleet-worker failed to {:#}", failure.error);
            failure.exit.into()
        }
    }
}
