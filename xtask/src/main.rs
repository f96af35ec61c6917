//! `cargo xtask`: every automation of this repository, behind one entry point.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what a task found out is its output")]

mod clock;
mod workspace;
mod programs;
mod table;
mod needs;
mod build;
mod example;
mod answer;
mod embedded;
mod demo;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Every automation of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the examples and compare them with what they must end as.
    Demo {
        /// Through a RabbitMQ node of its own and two workers; results must equal the embedded ones.
        #[arg(long)]
        amqp: bool,
        /// HumanEval's 164 problems, each once right and once broken, through RabbitMQ.
        #[arg(long)]
        humaneval: bool,
        #[command(flatten)]
        machine: Machine,
    },
}

/// What may be done to the machine.
#[derive(Debug, Clone, Copy, Args)]
struct Machine {
    /// Say what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
}

impl Machine {
    fn install(self) -> needs::Install {
        if self.no_install {
            needs::Install::Refused
        } else {
            needs::Install::Allowed
        }
    }
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let workspace = workspace::Workspace::find()?;
    match task {
        Task::Demo {
            amqp,
            humaneval,
            machine,
        } => {
            if !amqp && !humaneval {
                demo::run(&workspace, machine.install())?;
            }
            Ok(())
        }
    }
}
