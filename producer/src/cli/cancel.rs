//! The command line of `cancel`.

use clap::Args;

pub(super) const CANCEL_HELP: &str = "\
Examples:
  jailfleet-producer cancel --job 019abc 019abd
  jailfleet-producer cancel --batch exam-7
  jailfleet-producer cancel --batch exam-7 --pool gpu --json

A queued job is answered with the outcome cancelled when a worker takes it, a running one is killed and
answered with it. Jobs that ended before keep their results. The command returns once the broker keeps the
cancel; workers hear it at once, and those that start within seven days hear it first of all.

It hits jobs published before it, by the clocks of the two producers; a later job of the same name runs. A
bulk that is still publishing goes on with the rest of its file: stop it first, then cancel its batch, then
start it again to collect the answers, if you want them.

Exit codes: 0 the broker keeps it, whether any job was hit or not, 1 failed, 2 wrong command line or
configuration: nothing was sent.";

/// What to cancel.
#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// The ids of the jobs.
    #[arg(long = "job", value_name = "ID", num_args = 1.., required_unless_present = "batch",
          conflicts_with = "batch")]
    pub jobs: Vec<String>,
    /// Every job of this batch.
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Only jobs of this pool; of all pools if left out.
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// Print what was sent as one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::super::Cli;

    #[test]
    fn a_cancel_names_jobs_or_a_batch_and_not_both() {
        let read = |arguments: &[&str]| {
            let line = ["jailfleet-producer", "cancel"].iter().chain(arguments);
            Cli::read(line).is_ok()
        };
        for good in [
            &["--job", "a", "b", "c"][..],
            &["--job", "a", "--job", "b", "--json"],
            &["--batch", "exam", "--pool", "gpu"],
        ] {
            assert!(read(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &["--pool", "gpu"],
            &["--job"],
            &["a"],
            &["--job", "a", "--batch", "exam"],
        ] {
            assert!(!read(bad), "{bad:?}");
        }
    }
}
