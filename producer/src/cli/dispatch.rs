//! From the command line to the subcommand, and from its end to the exit code.

use std::error::Error;

use jailfleet::settings::ProducerSettings;
use jailfleet_program::{logging, output};
use tokio::runtime::Builder;

use super::{Cli, Command, Exit};

use crate::bulk::BulkError;
use crate::cancel::CancelError;
use crate::compare::CompareError;
use crate::import::ImportError;
use crate::kept::KeptError;
use crate::{bulk, cancel, compare, configure, dead, import, lost, progress, serve, submit};

/// Runs the program and returns how it ends.
pub(super) fn main() -> Exit {
    let mut cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::BadInput
            } else {
                Exit::Done
            };
            return if error.print().is_ok() {
                exit
            } else {
                Exit::Failed
            };
        }
    };
    match &cli.command {
        Command::Completion { shell } => return print(&completion(*shell)),
        // The producer's own settings have no part in it.
        Command::ImportCodejail(args) => return exit_of(import::run(args), ImportError::exit),
        Command::Submit(_)
        | Command::Bulk(_)
        | Command::Cancel(_)
        | Command::Dead(_)
        | Command::Lost(_)
        | Command::Compare(_)
        | Command::Serve(_)
        | Command::CheckConfig
        | Command::PrintConfig => {}
    }
    if let Command::Serve(args) = &cli.command {
        cli.common.set.extend(args.settings());
    }
    let is_submit = matches!(cli.command, Command::Submit(_));
    let settings = match configure::settings(&cli.common) {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error);
            return if is_submit {
                submit::NO_WORD
            } else {
                Exit::BadInput
            };
        }
    };
    with_settings(cli.command, &settings)
}

/// The script for a shell.
pub(super) fn completion(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = "jailfleet-producer";
    clap_complete::generate(shell, &mut Cli::command_line(), name, &mut script);
    script
}

fn with_settings(command: Command, settings: &ProducerSettings) -> Exit {
    match command {
        Command::CheckConfig => {
            progress::say("the configuration is good");
            Exit::Done
        }
        Command::PrintConfig => print(settings.to_toml_redacted().as_bytes()),
        Command::Submit(args) => {
            let answer = with_runtime(settings, async {
                submit::run(settings, &args)
                    .await
                    .map_err(|error| complain(&error))
            });
            answer.and_then(Result::ok).unwrap_or(submit::NO_WORD)
        }
        Command::Bulk(args) => {
            let answer = with_runtime(settings, bulk::run(settings, &args));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, BulkError::exit))
        }
        Command::Cancel(args) => {
            let answer = with_runtime(settings, cancel::run(settings, &args));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, CancelError::exit))
        }
        Command::Serve(_) => {
            let answer = with_threads(settings, serve::run(settings));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, |_| Exit::Failed))
        }
        Command::Dead(command) => {
            let answer = with_runtime(settings, dead::run(settings, &command));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, KeptError::exit))
        }
        Command::Lost(command) => {
            let answer = with_runtime(settings, lost::run(settings, &command));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, KeptError::exit))
        }
        Command::Compare(args) => {
            let answer = with_runtime(settings, compare::run(settings, &args));
            answer.map_or(Exit::Failed, |answer| exit_of(answer, CompareError::exit))
        }
        // Answered before the settings were read.
        Command::Completion { .. } | Command::ImportCodejail(_) => Exit::Done,
    }
}

/// The exit code of a subcommand; of an error, after it was said.
fn exit_of<E: Error>(answer: Result<Exit, E>, of_error: impl Fn(&E) -> Exit) -> Exit {
    answer.unwrap_or_else(|error| {
        complain(&error);
        of_error(&error)
    })
}

/// One thread is enough here: the door to the broker brings its own.
fn with_runtime<T>(settings: &ProducerSettings, work: impl Future<Output = T>) -> Option<T> {
    on(Builder::new_current_thread(), settings, work)
}

/// A thread for each core: one large request must not hold up the others.
fn with_threads<T>(settings: &ProducerSettings, work: impl Future<Output = T>) -> Option<T> {
    on(Builder::new_multi_thread(), settings, work)
}

fn on<T>(
    mut threads: Builder,
    settings: &ProducerSettings,
    work: impl Future<Output = T>,
) -> Option<T> {
    if let Err(error) = logging::start(&settings.log) {
        complain(&error);
        return None;
    }
    match threads.enable_all().build() {
        Ok(runtime) => Some(runtime.block_on(work)),
        Err(error) => {
            complain(&error);
            None
        }
    }
}

fn print(bytes: &[u8]) -> Exit {
    match output::print(bytes) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

/// Says what failed, and why, and why that.
fn complain(error: &dyn Error) {
    let words = progress::with_causes(error);
    progress::say(&format!("jailfleet-producer: failed to {words}"));
}
