//! The command line of those who come from codejail.

use std::path::PathBuf;

use clap::Args;

use crate::compare::Service;

pub(super) const IMPORT_HELP: &str = "\
Examples:
  jailfleet-producer import-codejail code_jail.json
  jailfleet-producer import-codejail lms.json --output site.toml && jailfleet-worker check-config --config site.toml
  python3 -c 'import json, yaml; print(json.dumps(yaml.safe_load(open(\"lms.yml\"))[\"CODE_JAIL\"]))' |
    jailfleet-producer import-codejail -

The file is the dictionary CODE_JAIL as JSON, or a settings file that has it: python_bin, user, limits
(CPU, REALTIME, VMEM, FSIZE, NPROC, PROXY) and limit_overrides by context. What is left out has codejail's
defaults. Each line of the configuration comes with what it was; what codejail does not know either is
named and dropped.

Exit codes: 0 done, 1 failed, 2 wrong command line or settings, or the output is there already: nothing
was written.";

/// Which settings, and where the configuration goes.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The settings as JSON; `-` reads them from stdin.
    #[arg(value_name = "SETTINGS.json|-")]
    pub settings: PathBuf,
    /// A new file for the configuration; it is printed if left out.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub(super) const COMPARE_HELP: &str = "\
Examples:
  jailfleet-producer compare --codejail-url http://codejail:8550 jobs.jsonl
  jailfleet-producer compare --codejail-url http://codejail:8550 --json jobs.jsonl | jq -c 'select(.differences)'

One job a line, as for bulk, with globals; of files only python_lib.zip, and neither argv, env, stdin nor
limits, which a codejail service does not have. Each job goes to both at the same time. Compared are, as
the platform's dark launch does it, the globals (by Python's ==; NaN equals NaN) and emsg without what
differs from run to run (docs/from-codejail.md). The jobs' codes run twice: on both.

Exit codes: 0 all are equal, 1 some differ or something failed: the last line on stderr says which, 2 wrong
command line, configuration or input: nothing was sent, 3 none differ, but some could not be compared, 5
stopped by a signal.";

/// What to compare with what.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// The codejail service, as in the platform's CODE_JAIL_REST_SERVICE_HOST.
    #[arg(long, value_name = "URL", value_parser = Service::parse)]
    pub codejail_url: Service,
    /// File with one job a line.
    #[arg(value_name = "JOBS.jsonl")]
    pub jobs: PathBuf,
    /// How many jobs are under way at one time. More than the service has processes makes its clocks run
    /// out.
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// How many seconds either side has to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// How many that are not equal the report shows.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub show: u16,
    /// Pass over lines that cannot be compared instead of refusing the whole file.
    #[arg(long)]
    pub skip_bad: bool,
    /// Print one JSON object a job, as they come, and the summary as the last one.
    #[arg(long)]
    pub json: bool,
}
