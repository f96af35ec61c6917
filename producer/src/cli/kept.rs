//! The command line of what is kept for people: dead jobs and lost results.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const DEAD_HELP: &str = "\
Examples:
  jailfleet-producer dead list
  jailfleet-producer dead list --json | jq -r 'select(.answered == \"worker_lost\").id'
  jailfleet-producer dead show 019abc
  jailfleet-producer dead requeue 019abc 019abd
  jailfleet-producer dead drop --all

They look at the queue <prefix>.dead.parked. An id is the job's, or sha256:... of the body where the
message has none. Whoever looks takes nothing: all goes back in its order when the command ends; if it
is killed, all goes back too, perhaps in another order.
requeue sends a job again with a clean history, and forgets the parked one only when the broker has
confirmed the new one; a crash in between leaves both.

Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 some of what was named is not
there, or could not be sent and stays.";

pub(super) const LOST_HELP: &str = "\
Examples:
  jailfleet-producer lost list
  jailfleet-producer lost fetch --results lost.jsonl
  jailfleet-producer lost fetch --job 019abc --results one.jsonl

They look at the queue <prefix>.results.lost. fetch appends each result to the file, one a line, and the
broker forgets it only once it is on the disk. The same file again: what is in it already is not
written a second time.

Exit codes: 0 done, 1 failed, 2 wrong command line, configuration or results file, 3 the named job is
not there, or some results could not be read and stay.";

/// What to do with parked dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadCommand {
    /// List them in the order of their queue.
    List(ListArgs),
    /// Show one with its body.
    Show {
        /// Its id, as the list has it.
        #[arg(value_name = "ID")]
        id: String,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Send jobs again, as if they had never run.
    Requeue(Which),
    /// Forget them for good.
    Drop(Which),
}

/// What to do with lost results.
#[derive(Debug, Clone, Subcommand)]
pub enum LostCommand {
    /// List them in the order of their queue.
    List(ListArgs),
    /// Move them into a file.
    Fetch(FetchArgs),
}

/// How to list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
    /// List this many at most.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

/// Which of them.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Their ids, as the list has them.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All that are there now.
    #[arg(long)]
    pub all: bool,
}

/// What to fetch, and where to.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// The file that the results are appended to.
    #[arg(long, value_name = "FILE", default_value = "lost-results.jsonl")]
    pub results: PathBuf,
    /// Only results of this job.
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
}
