//! The command line: what it takes and what it answers with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use jailfleet_program::flag::setting;

mod cancel;
mod dispatch;
mod kept;
mod migrate;
mod serve;

pub use cancel::CancelArgs;
pub use kept::{DeadCommand, FetchArgs, ListArgs, LostCommand, Which};
pub use migrate::{CompareArgs, ImportArgs};
pub use serve::ServeArgs;

const AFTER_HELP: &str = "\
Examples:
  echo 'print(6 * 7)' | jailfleet-producer submit --code -
      run one program and see what it prints
  jailfleet-producer bulk jobs.jsonl --results results.jsonl
      run a file of jobs; the same command again goes on where it was stopped
  jailfleet-producer cancel --batch exam-7
      stop what is queued or runs of a batch
  jailfleet-producer serve
      answer codejail's HTTP interface from the fleet
  JAILFLEET__AMQP__URI=amqp://user:password@broker:5672/%2f jailfleet-producer check-config
      any scalar setting by variable, or by --set section.key=value

Exit codes of every subcommand but submit:
  0  done; bulk: every job has a result, whatever its outcome
  1  something failed; the last line on stderr says what
  2  the command line, the configuration or the input is wrong: nothing was published
  3  bulk: some jobs have no result yet; the same command goes on with them
     compare: none differ, but some could not be compared (and 1 also says that some differ)
     dead, lost: some of what was named is not there, or could not be dealt with and stays
  4  bulk: every job has a result, but some say nothing about their program (engine_fault,
     worker_lost, an outcome that only a newer version knows), are in conflict with a second one,
     or could not be read
  5  bulk, compare: stopped by a signal; the same command goes on (bulk) or begins anew

submit answers with the program's own exit code: see submit --help.";

const SUBMIT_HELP: &str = "\
Examples:
  jailfleet-producer submit --code hello.py
  echo 'import sys; print(sys.argv[1:])' | jailfleet-producer submit --code - -- one two
  jailfleet-producer submit --runtime bash --code - --limit cpu_ms=500 --limit wall_ms=2000 < run.sh
  jailfleet-producer submit --code main.py --file lib/tools.py=tools.py --stdin input.txt --json

Exit codes:
  0..255   the program exited: its own code
  128+N    signal N ended the program
  124      a limit of the job ended it (cpu_limit, wall_limit, memory_limit, output_limit)
  125      no word about the program: no result in time, no broker, a wrong configuration,
           engine_fault, worker_lost, an outcome that only a newer version knows
  126      the job was not run: rejected, expired, cancelled
  2        the command line is wrong

A program may exit with these numbers too; the last line on stderr says when the number is not its
own. With --json the code is 0 whenever a result came, and 125 when none did: read the outcome there.";

const BULK_HELP: &str = "\
Examples:
  jailfleet-producer bulk jobs.jsonl --results results.jsonl
  jailfleet-producer bulk jobs.jsonl --results results.jsonl --json 2>/dev/null | jq .outcomes
  jailfleet-producer bulk jobs.jsonl --results results.jsonl --skip-bad

One job a line in, one result a line out, in any order, matched by job_id. A job without an id gets
one. Beside the results file stand
  <results>.journal  what was published and received; with it the same command goes on after a crash
  <results>.aside    results that conflict with a stored one or could not be read, if there are any

Exit codes: 0 every job has a result, 1 failed, 2 wrong input or configuration and nothing published,
3 some results are missing, 4 some results are trouble of ours or in conflict, 5 stopped by a signal.";

/// Publishes jobs to jailfleet's workers and collects their results.
#[derive(Debug, Parser)]
#[command(name = "jailfleet-producer", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// Settings for every subcommand.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line: settings may stand before and after each subcommand. (Arguments that clap
    /// calls global would lose the earlier ones.)
    #[must_use]
    pub fn command_line() -> clap::Command {
        with_settings(Self::command())
    }

    /// Reads the command line; settings of all places together, the later ones on top.
    ///
    /// # Errors
    /// What clap has to say about it, help included.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command_line().try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut inner = matches.subcommand();
        while let Some((_, matches)) = inner {
            let Common { config, set } = Common::from_arg_matches(matches)?;
            cli.common.config = config.or(cli.common.config);
            cli.common.set.extend(set);
            inner = matches.subcommand();
        }
        Ok(cli)
    }
}

/// The same command with the settings among the arguments of its subcommands, and of theirs.
fn with_settings(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        let about = command.get_about().cloned();
        // The description of the settings would take the place of the subcommand's own.
        let command = Common::augment_args(command).about(about.unwrap_or_default());
        with_settings(command)
    })
}

/// Where the settings come from.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file, on top of the embedded defaults and below the environment.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting, e.g. producer.window=64; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish one job, wait for its result, and print what the program printed.
    #[command(after_help = SUBMIT_HELP)]
    Submit(Box<SubmitArgs>),
    /// Publish a file of jobs and collect the results in another.
    #[command(after_help = BULK_HELP)]
    Bulk(BulkArgs),
    /// Cancel jobs by id, or a whole batch, queued or running.
    #[command(after_help = cancel::CANCEL_HELP)]
    Cancel(CancelArgs),
    /// Serve codejail's HTTP interface; the code runs on the workers.
    #[command(after_help = serve::SERVE_HELP)]
    Serve(ServeArgs),
    /// Look at dead jobs that a reaper has parked, send them again, or drop them.
    #[command(subcommand, after_help = kept::DEAD_HELP)]
    Dead(DeadCommand),
    /// Look at results whose reply queue was gone, and fetch them.
    #[command(subcommand, after_help = kept::LOST_HELP)]
    Lost(LostCommand),
    /// Turn the settings of a codejail into a worker's configuration.
    #[command(after_help = migrate::IMPORT_HELP)]
    ImportCodejail(ImportArgs),
    /// Run the same jobs on a codejail service and on the fleet, and tell in what they differ.
    #[command(after_help = migrate::COMPARE_HELP)]
    Compare(CompareArgs),
    /// Read the configuration and report every mistake in it.
    CheckConfig,
    /// Print the configuration in force, secrets redacted.
    PrintConfig,
    /// Print a completion script for a shell.
    #[command(after_help = "Example: jailfleet-producer completion bash \
                            > /etc/bash_completion.d/jailfleet-producer")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `submit`.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The runtime that runs the code.
    #[arg(long, default_value = "python", value_name = "NAME")]
    pub runtime: String,
    /// The program; `-` reads it from stdin.
    #[arg(long, value_name = "FILE|-")]
    pub code: Option<PathBuf>,
    /// The program's standard input; `-` passes our own on. Empty if left out.
    #[arg(long, value_name = "FILE|-")]
    pub stdin: Option<PathBuf>,
    /// A file to bring along, under NAME in the job's folder; may be repeated. Its execute bit
    /// comes along too.
    #[arg(long = "file", value_name = "PATH[=NAME]")]
    pub files: Vec<String>,
    /// An argument of the program; may be repeated. Or put them all after `--`.
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// A variable of the program's environment; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// A limit, e.g. cpu_ms=500; may be repeated.
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    pub limits: Vec<(String, u64)>,
    /// A file that the program leaves and that the result is to bring; with a slash at its end, all
    /// files of that folder. May be repeated.
    #[arg(long = "artifact", value_name = "PATH")]
    pub artifacts: Vec<String>,
    /// Where they are written: a folder that is not there yet, or is empty.
    #[arg(long, value_name = "FOLDER", requires = "artifacts")]
    pub artifacts_dir: Option<PathBuf>,
    /// A named set of limits of the worker's configuration.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// interactive or bulk; interactive if left out, since you wait.
    #[arg(long, value_name = "LANE")]
    pub lane: Option<String>,
    /// The pool of workers; the setting producer.pool if left out.
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// The job's id; made up if left out.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// A name for people, in logs and in the result.
    #[arg(long, value_name = "TEXT")]
    pub slug: Option<String>,
    /// How many seconds to wait for the result; the setting producer.idle_timeout_ms if left out.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub timeout: Option<u64>,
    /// Print the whole result as one JSON line instead of the program's output.
    #[arg(long)]
    pub json: bool,
    /// Arguments of the program.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub rest: Vec<String>,
}

/// Arguments of `bulk`.
#[derive(Debug, Clone, Args)]
pub struct BulkArgs {
    /// File with one job a line.
    #[arg(value_name = "JOBS.jsonl")]
    pub jobs: PathBuf,
    /// Where the results go, one a line, as they come.
    #[arg(long, value_name = "FILE")]
    pub results: PathBuf,
    /// Pass over lines that are no jobs instead of refusing the whole file.
    #[arg(long)]
    pub skip_bad: bool,
    /// The batch that all jobs belong to which name none.
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Print the summary as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let expected = "expected NAME=NUMBER, e.g. cpu_ms=500";
    let (name, value) = text.split_once('=').ok_or(expected)?;
    let number = value
        .parse()
        .map_err(|error| format!("{expected}: {error}"))?;
    Ok((name.to_owned(), number))
}

/// Runs the program with the process's own arguments, environment and streams, and returns how it
/// is to end.
#[must_use]
pub fn main() -> Exit {
    dispatch::main()
}

/// How the process ends; the numbers are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something failed.
    Failed,
    /// The command line, the configuration or the input is wrong.
    BadInput,
    /// Some jobs have no result yet, or some of what was named is not there.
    Incomplete,
    /// Some results are trouble of ours, or in conflict.
    Doubtful,
    /// A signal stopped a batch.
    Stopped,
    /// What `submit` answers with.
    Program(u8),
}

impl Exit {
    /// Those that are named in the help of the whole program.
    pub const NAMED: &'static [Self] = &[
        Self::Done,
        Self::Failed,
        Self::BadInput,
        Self::Incomplete,
        Self::Doubtful,
        Self::Stopped,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Incomplete => 3,
            Self::Doubtful => 4,
            Self::Stopped => 5,
            Self::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests;
