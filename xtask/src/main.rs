//! `cargo xtask`: every automation of this repository, behind one entry point.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what a task found out is its output")]

mod clock;
mod workspace;
mod programs;
mod proc_tree;
mod table;
mod steps;
mod needs;
mod doctor;
mod build;
mod schema;
mod schemathesis;
mod seccomp_profile;
mod example;
mod answer;
mod venv;
mod embedded;
mod http;
mod fleet;
mod demo;
mod humaneval;
mod many;
mod noted;
mod turmoil;
mod poison;
mod quorum;
mod scale;
mod prometheus;
mod footprint;
mod soak;
mod leftovers;
mod bench;
mod fuzz;
mod attacks;
mod unchecked;
mod vm;
mod containers;
mod fresh;
mod kubernetes;
mod python;
mod account;
mod proofs;
mod deny;
mod profiles;
mod releases;
mod tiers;
mod tools;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use steps::Steps;
use tiers::Extent;

/// Every automation of this repository.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "\
Examples:
  cargo xtask demo            the examples, without a broker; under a minute after the build
  cargo xtask demo --amqp     the same through RabbitMQ
  cargo xtask check           before a commit: under two minutes, four in a fresh clone
  cargo xtask vm test         the sandbox in a guest with AppArmor and cgroup v2
  cargo xtask test            what the README promises: half an hour in a fresh clone

Exit codes: 0 all went well, 1 something did not (the last lines say what), 2 wrong command line;
`vm run` ends with the code of its command."
)]
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
    /// Tests on the real kernel and a real broker, then every demo.
    Test {
        /// Everything: more turmoil, every fault at every step of a job, those tests of the broker that depend on its release on RabbitMQ 4.0, a broker of three nodes, a job that kills its workers among a thousand, workers that come and go, all guests and kernels, five minutes of a hostile worker, workers in containers, manifests for Kubernetes, the demo on a fresh Debian, a soak of 100,000 runs, 500 calls to codejail and to the Python client, that client with every Python that is here, bench, a minute of each fuzz target, and the licences as well.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        machine: Machine,
    },
    /// Format, lints, documents, dependency rules, schemas and pure tests.
    Check,
    /// What continuous integration runs: check, then test.
    Ci {
        #[command(flatten)]
        machine: Machine,
    },
    /// Ten thousand small jobs, two workers, one of which is told to stop in the middle.
    Many {
        /// How many jobs.
        #[arg(long, default_value_t = 10_000)]
        jobs: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// Mixed jobs on five workers while workers, wardens, the broker and the producer die at random.
    Turmoil {
        /// How many jobs.
        #[arg(long, default_value_t = 2_000)]
        jobs: usize,
        /// Decides what dies when; printed at the start of each run.
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        machine: Machine,
    },
    /// A thousand good jobs and some that kill their worker each time: about two minutes.
    Poison {
        /// How many good jobs.
        #[arg(long, default_value_t = 1_000)]
        jobs: usize,
        /// How many that kill.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
        killers: u8,
        #[command(flatten)]
        machine: Machine,
    },
    /// Three RabbitMQ nodes as one broker, of which a producer's, the leader, and then two are killed: six minutes.
    Quorum {
        /// How many jobs for each of the four.
        #[arg(long, default_value_t = 2_000)]
        jobs: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// One to eight workers come and go; interactive jobs behind 50,000 others: about five minutes.
    Scale {
        /// How many jobs while workers come and go.
        #[arg(long, default_value_t = 10_000)]
        jobs: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// The tests that depend on the broker's release, on RabbitMQ 4.0 out of Debian trixie: about four minutes.
    Broker {
        #[command(flatten)]
        machine: Machine,
    },
    /// At every step of a job's story something dies: the job must get its one result. Four minutes.
    Faults {
        #[command(flatten)]
        share: Share,
        #[command(flatten)]
        machine: Machine,
    },
    /// A real Prometheus scrapes a worker by deploy/prometheus.yml; alerts and metrics are checked.
    Prometheus {
        #[command(flatten)]
        machine: Machine,
    },
    /// Memory and idle CPU of worker and warden before 100,000 queued jobs.
    Footprint {
        /// How many jobs are queued.
        #[arg(long, default_value_t = footprint::QUEUED)]
        queued: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// A hundred thousand runs in one worker, which must hold no more at their end than at their beginning.
    Soak {
        /// How many runs.
        #[arg(long, default_value_t = 100_000)]
        runs: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// Jobs a second and latencies, beside a bare loop that starts the same programs.
    Bench {
        /// What: speed, or how far beyond a limit a run gets.
        #[arg(value_enum, default_value_t = Bench::Speed)]
        what: Bench,
        /// So many times the usual number of jobs, or of runs into each limit.
        #[arg(long, default_value_t = 1)]
        scale: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// Run every fuzz target for a while.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[command(flatten)]
        machine: Machine,
    },
    /// A virtual machine whose kernel enforces AppArmor and has cgroup v2.
    Vm {
        #[command(subcommand)]
        task: vm::VmTask,
    },
    /// The catalogue of attacks, for a machine that shall run it without a compiler.
    Attacks {
        #[command(subcommand)]
        what: Attacks,
    },
    /// Workers in containers, by the compose file, under a Docker of our own: about three minutes.
    Containers {
        #[command(flatten)]
        machine: Machine,
    },
    /// A command of the README on a fresh Debian that has Rust and a package manager and nothing else.
    Fresh {
        /// Which.
        #[arg(value_enum, default_value_t = fresh::Tried::Demo)]
        tried: fresh::Tried,
        #[command(flatten)]
        machine: Machine,
    },
    /// The Python client: types, lints, its package, and tests against a real worker and against codejail.
    Python {
        #[command(flatten)]
        trial: python::Trial,
        #[command(flatten)]
        machine: Machine,
    },
    /// The gateway's own interface: schemathesis asks whatever its OpenAPI document allows, and finds no 5xx.
    Schemathesis {
        /// How many questions for each operation.
        #[arg(long, default_value_t = tiers::FUZZER_EXAMPLES)]
        examples: usize,
        #[command(flatten)]
        machine: Machine,
    },
    /// The manifests of deploy/kubernetes against the schemas of the API.
    Kubernetes {
        #[command(flatten)]
        machine: Machine,
    },
    /// Copy the AppArmor profiles to where the system looks for them, and load them.
    InstallProfiles {
        /// Another root to install below, for who builds a package.
        #[arg(long, default_value = "/", value_name = "DIR")]
        root: PathBuf,
    },
    /// Everything on this machine that bears our marks: processes, mounts, cgroups, folders.
    Leftovers,
    /// Write the JSON Schemas of the messages to docs/schema.
    Schema,
    /// Write the system call filter of a container with a worker in it to deploy/seccomp-worker.json.
    SeccompProfile,
    /// Say what this machine lacks for developing.
    Doctor,
}

/// What is measured.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Bench {
    /// Jobs a second and latencies.
    Speed,
    /// How exactly limits hold.
    Limits,
}

/// What becomes of the catalogue.
#[derive(Debug, Subcommand)]
enum Attacks {
    /// Compile its C programs into a folder, with all sources beside them.
    Build {
        /// The folder; JAILFLEET_ATTACKS_BIN names it to the tests.
        folder: PathBuf,
        #[command(flatten)]
        machine: Machine,
    },
}

/// What may be done to the machine.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Machine {
    /// Say what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
}

impl Machine {
    pub(crate) fn install(self) -> needs::Install {
        if self.no_install {
            needs::Install::Refused
        } else {
            needs::Install::Allowed
        }
    }
}

/// How much of the matrix of faults is gone through.
#[derive(Debug, Clone, Copy, Args)]
struct Share {
    /// One cell a step and each fault at least once, as `test` does.
    #[arg(long)]
    short: bool,
}

impl Share {
    const fn extent(self) -> Extent {
        if self.short {
            Extent::Usual
        } else {
            Extent::All
        }
    }
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    let workspace = workspace::Workspace::find()?;
    let done = match task {
        Task::Demo {
            amqp,
            humaneval,
            machine,
        } => demos(&workspace, machine.install(), (amqp, humaneval)),
        Task::Test { all, machine } => {
            let extent = if all { Extent::All } else { Extent::Usual };
            let mut steps = Steps::default();
            tiers::test(&workspace, machine.install(), extent, &mut steps)?;
            steps.conclude()
        }
        Task::Check => {
            let mut steps = Steps::default();
            tiers::check(&workspace, &mut steps);
            steps.conclude()
        }
        Task::Ci { machine } => {
            let mut steps = Steps::default();
            tiers::check(&workspace, &mut steps);
            tiers::test(&workspace, machine.install(), Extent::Usual, &mut steps)?;
            steps.conclude()
        }
        Task::Many { jobs, machine } => many::run(&workspace, machine.install(), jobs),
        Task::Turmoil {
            jobs,
            seed,
            machine,
        } => turmoil::run(&workspace, machine.install(), jobs, seed),
        Task::Poison {
            jobs,
            killers,
            machine,
        } => poison::run(&workspace, machine.install(), jobs, killers.into()),
        Task::Quorum { jobs, machine } => quorum::run(&workspace, machine.install(), jobs),
        Task::Scale { jobs, machine } => scale::run(&workspace, machine.install(), jobs),
        Task::Broker { machine } => releases::run(&workspace, machine.install()),
        Task::Faults { share, machine } => tiers::faults(&workspace, machine, share.extent()),
        Task::Prometheus { machine } => prometheus::run(&workspace, machine.install()),
        Task::Footprint { queued, machine } => {
            footprint::run(&workspace, machine.install(), queued)
        }
        Task::Soak { runs, machine } => soak::run(&workspace, machine.install(), runs),
        Task::Bench {
            what,
            scale,
            machine,
        } => measure(&workspace, machine.install(), what, scale),
        Task::Attacks {
            what: Attacks::Build { folder, machine },
        } => attacks::build(&workspace, machine.install(), &folder),
        Task::Fuzz { seconds, machine } => fuzz::run_all(&workspace, machine.install(), seconds),
        // The one task whose exit code is somebody else's.
        Task::Vm { task } => return vm::perform(&workspace, task),
        Task::Containers { machine } => containers::run(&workspace, machine.install()),
        Task::Fresh { tried, machine } => fresh::run_there(&workspace, machine.install(), tried),
        Task::Python { trial, machine } => {
            python::check(&workspace, machine.install(), trial, &mut None)
        }
        Task::Schemathesis { examples, machine } => {
            schemathesis::run(&workspace, machine.install(), examples)
        }
        Task::Kubernetes { machine } => kubernetes::check(&workspace, machine.install()),
        Task::InstallProfiles { root } => profiles::install(&workspace, &root),
        Task::Leftovers => tiers::leftovers(&workspace),
        Task::Schema => schema::write(&workspace),
        Task::SeccompProfile => seccomp_profile::write(&workspace),
        Task::Doctor => doctor::run(&workspace),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Measures what was asked for.
fn measure(
    workspace: &workspace::Workspace,
    install: needs::Install,
    what: Bench,
    scale: usize,
) -> Result<()> {
    match what {
        Bench::Speed => bench::bench(workspace, install, scale),
        Bench::Limits => bench::limits::bench(workspace, install, scale),
    }
}

/// The embedded demo, or those over AMQP that were asked for.
fn demos(
    workspace: &workspace::Workspace,
    install: needs::Install,
    (amqp, humaneval): (bool, bool),
) -> Result<()> {
    if !amqp && !humaneval {
        return demo::run(workspace, install);
    }
    if amqp {
        demo::over_amqp(workspace, install)?;
    }
    if humaneval {
        humaneval::demo(workspace, install)?;
    }
    Ok(())
}
