//! The command line: what it takes and what it answers with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jailfleet_program::flag::setting;

const AFTER_HELP: &str = "\
Examples:
  jailfleet-worker --config /etc/jailfleet/worker.toml
      take jobs from the configured broker until SIGTERM
  jailfleet-worker local jobs.jsonl --results results.jsonl
      run a file of jobs without any broker
  JAILFLEET__WORKER__SLOTS=4 jailfleet-worker --set admin.listen=127.0.0.1:0
      any scalar setting by variable or by flag
  jailfleet-worker doctor
      see which walls this machine offers, and how to raise those that are missing

Exit codes:
  0  done, or stopped cleanly after SIGTERM
  1  something failed; the last line on stderr says what
  2  the command line or the configuration is wrong
  3  a wall of the required set is missing, or the memory does not suffice: nothing was consumed
  4  the warden went away: all jobs were handed back, start the worker again
  5  stopped, but running jobs had to be killed and handed back
  6  local: some lines got no result of their own run (engine_fault, or none at all)
  7  a canary got out of its jail: keep jobs away from this host until somebody knows why

Signals: SIGTERM or SIGINT drains within worker.drain_ms; a second one kills running jobs at once and
hands them back; a third leaves without waiting. SIGHUP makes sessions with the broker that are not up
connect at once, with the credentials that their files hold now.";

const LOCAL_HELP: &str = "\
Examples:
  jailfleet-worker local jobs.jsonl --results results.jsonl
  echo '{\"v\":1,\"id\":\"a\",\"runtime\":\"python\",\"code\":\"print(6*7)\"}' | jailfleet-worker local -
  jailfleet-worker local jobs.jsonl --walls laptop | jq .outcome

One job a line in, one result a line out, in any order, matched by job_id. A job without an id is
called line-<number>. Without --results the results go to stdout as they come; with it the file
appears, whole, at the end.";

const TOPOLOGY_HELP: &str = "\
Examples:
  jailfleet-worker topology
      exchanges, queues with their arguments, bindings
  jailfleet-worker topology --definitions > jailfleet.json && rabbitmqctl import_definitions jailfleet.json
      make all of it, so that workers need no right to configure anything (docs/broker.md)
  jailfleet-worker topology --rights
      the least that worker, producer and operator need on a broker where all of it exists
  jailfleet-worker topology --pool default --pool gpu --json | jq -r '.queues[].name'
  jailfleet-worker topology --logbook api --definitions > jailfleet.json
  jailfleet-worker topology --policies > policies.json && rabbitmqctl import_definitions policies.json
      bring queues that were made with other arguments near to the table, without deleting them";

/// Runs untrusted code in jails: takes jobs from a broker or a file, publishes results.
#[derive(Debug, Parser)]
#[command(name = "jailfleet-worker", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// Settings for every subcommand.
    #[command(flatten)]
    pub common: Common,
    /// What to do; without one: consume from AMQP.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where the settings come from.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file, on top of the embedded defaults and below the environment.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The walls that must hold before a job is taken (setting worker.walls).
    #[arg(long, value_name = "SET")]
    pub walls: Option<Walls>,
    /// Any setting, e.g. worker.slots=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

/// The named sets of walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Walls {
    /// What a well-kept host of a supported distribution has.
    Full,
    /// What a well-configured unprivileged container has.
    Container,
    /// Best effort, for trying things out; not for strangers' code.
    Laptop,
}

impl Walls {
    /// The set's name as the settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Container => "container",
            Self::Laptop => "laptop",
        }
    }
}

impl Cli {
    /// The settings given before the subcommand and after it, the later ones on top. (Arguments
    /// that clap calls global would lose the earlier ones.)
    #[must_use]
    pub fn common(&self) -> Common {
        let later = match &self.command {
            Some(
                Command::Local(LocalArgs { common, .. })
                | Command::Topology(TopologyArgs { common, .. })
                | Command::Doctor { common, .. }
                | Command::CheckConfig(common)
                | Command::PrintConfig(common),
            ) => common,
            Some(Command::Completion { .. }) | None => return self.common.clone(),
        };
        Common {
            config: later.config.clone().or_else(|| self.common.config.clone()),
            walls: later.walls.or(self.common.walls),
            set: [self.common.set.as_slice(), &later.set].concat(),
        }
    }
}

impl Common {
    /// The flags as dotted settings, lowest layer last.
    #[must_use]
    pub fn flags(&self) -> Vec<(String, String)> {
        let mut flags = self.set.clone();
        if let Some(walls) = self.walls {
            flags.push(("worker.walls".to_owned(), walls.as_str().to_owned()));
        }
        flags
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a file of jobs without a broker, through the same walls.
    #[command(after_help = LOCAL_HELP)]
    Local(LocalArgs),
    /// Say what this host offers, wall by wall, and how to fix what is missing.
    #[command(
        after_help = "Exit codes: 0 every wall of the chosen set holds, 3 one is missing.\n\n\
                            Example: jailfleet-worker doctor --walls container --json"
    )]
    Doctor {
        /// Settings.
        #[command(flatten)]
        common: Common,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Print what a worker needs on the broker, as a table or for import; asks no broker.
    #[command(after_help = TOPOLOGY_HELP)]
    Topology(TopologyArgs),
    /// Read the configuration and report every mistake in it.
    CheckConfig(Common),
    /// Print the configuration in force, secrets redacted.
    PrintConfig(Common),
    /// Print a completion script for a shell.
    #[command(after_help = "Example: jailfleet-worker completion bash \
                            > /etc/bash_completion.d/jailfleet-worker")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `topology`.
#[derive(Debug, Clone, Default, Args)]
pub struct TopologyArgs {
    /// Settings.
    #[command(flatten)]
    pub common: Common,
    /// A pool whose queues are wanted, worker.pool if left out; may be repeated.
    #[arg(long = "pool", value_name = "NAME")]
    pub pools: Vec<String>,
    /// A tenant whose vhost is wanted, all of them if left out; may be repeated.
    #[arg(long = "tenant", value_name = "NAME")]
    pub tenants: Vec<String>,
    /// The logbook of gateways with an interface of their own, their api.logbook; may be repeated.
    #[arg(long = "logbook", value_name = "NAME")]
    pub logbooks: Vec<String>,
    /// One JSON object instead of a table; with several vhosts, a list of them.
    #[arg(long, group = "form")]
    pub json: bool,
    /// A definitions file for `rabbitmqctl import_definitions`.
    #[arg(long, group = "form")]
    pub definitions: bool,
    /// A definitions file of policies, for queues that exist with other arguments.
    #[arg(long, group = "form")]
    pub policies: bool,
    /// The commands that give users of the broker no more rights than they need.
    #[arg(long, group = "form")]
    pub rights: bool,
}

/// Arguments of `local`.
#[derive(Debug, Clone, Args)]
pub struct LocalArgs {
    /// Settings.
    #[command(flatten)]
    pub common: Common,
    /// File with one job a line; `-` reads stdin.
    #[arg(value_name = "JOBS.jsonl")]
    pub jobs: PathBuf,
    /// Where the results go, one a line; stdout if left out.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
}

/// How the process ends; the numbers are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something failed.
    Failed,
    /// The command line or the configuration is wrong.
    BadConfig,
    /// The host does not offer what was asked for.
    Unfit,
    /// The warden went away.
    WardenGone,
    /// Running jobs were killed and handed back.
    HandedBack,
    /// Some lines of a local file got no result of their own run.
    Incomplete,
    /// A canary got out of its jail.
    Breached,
}

impl Exit {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::BadConfig,
        Self::Unfit,
        Self::WardenGone,
        Self::HandedBack,
        Self::Incomplete,
        Self::Breached,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadConfig => 2,
            Self::Unfit => 3,
            Self::WardenGone => 4,
            Self::HandedBack => 5,
            Self::Incomplete => 6,
            Self::Breached => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_given_before_and_after_the_subcommand_all_count() {
        let cli = Cli::try_parse_from([
            "jailfleet-worker",
            "--set",
            "worker.drain_ms=5",
            "local",
            "jobs.jsonl",
            "--walls",
            "laptop",
            "--set",
            "worker.slots=3",
        ])
        .expect("a valid command line");
        let flags = cli.common().flags();
        assert!(flags.contains(&("worker.walls".to_owned(), "laptop".to_owned())));
        assert!(flags.contains(&("worker.drain_ms".to_owned(), "5".to_owned())));
        assert!(flags.contains(&("worker.slots".to_owned(), "3".to_owned())));
    }

    #[test]
    fn a_setting_without_a_section_or_a_value_is_refused() {
        for text in ["slots=3", "worker.slots"] {
            assert!(
                Cli::try_parse_from(["jailfleet-worker", "--set", text]).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn every_exit_code_is_named_in_the_help() {
        for exit in Exit::ALL {
            assert!(
                AFTER_HELP.contains(&format!("\n  {}  ", exit.code())),
                "{exit:?}"
            );
        }
    }
}
