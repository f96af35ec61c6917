//! The warden's executable: reads its config, takes the worker's socket, serves until it closes.

use jailfleet::settings::{SourceText, env_pairs, worker_settings};
use jailfleet_sandbox::warden::Warden;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// The exit status for a config or a command line that cannot be followed.
const EX_USAGE: u8 = 64;
/// The exit status for a host that refuses what the jails need, or a worker that went astray.
const EX_UNAVAILABLE: u8 = 69;

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") || std::io::stdin().is_terminal() {
        eprintln!("{HELP}");
        return ExitCode::from(EX_USAGE);
    }
    let settings = match read_settings(&arguments) {
        Ok(settings) => settings,
        Err(text) => {
            eprintln!("jailfleet-warden: {text}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let served = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| error.to_string())
        .and_then(|control| {
            jailfleet_sandbox::warden::harden().map_err(|error| error.to_string())?;
            let warden = Warden::prepare(&settings, control).map_err(in_full)?;
            warden.run().map_err(in_full)
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("jailfleet-warden: failed to {text}");
            ExitCode::from(EX_UNAVAILABLE)
        }
    }
}

const HELP: &str = "usage: jailfleet-warden [--config FILE] [--set KEY=VALUE]...\n\
The worker starts this program with a socket as its standard input; it is of no use by hand.";

fn read_settings(arguments: &[String]) -> Result<jailfleet::settings::WorkerSettings, String> {
    let mut file = None;
    let mut flags = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest
            .next()
            .ok_or_else(|| format!("{argument} needs a value\n{HELP}"))?;
        match argument.as_str() {
            "--config" => file = Some(value),
            "--set" => {
                let (key, value) = value
                    .split_once('=')
                    .ok_or_else(|| format!("--set {value} is not KEY=VALUE"))?;
                flags.push((key.to_owned(), value.to_owned()));
            }
            other => return Err(format!("{other} is no argument of the warden\n{HELP}")),
        }
    }
    let text = file.map(|name| std::fs::read_to_string(name).map(|text| (name, text)));
    let text = text
        .transpose()
        .map_err(|error| format!("the config file: {error}"))?;
    let source = text.as_ref().map(|(name, text)| SourceText {
        name: name.as_str(),
        text,
    });
    worker_settings(source, &env_pairs(std::env::vars_os()), &flags)
        .map_err(|mistakes| mistakes.to_string())
}

/// An error and all its causes on one line.
fn in_full(error: jailfleet_sandbox::warden::WardenError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
