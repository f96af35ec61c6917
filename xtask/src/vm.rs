//! `cargo xtask vm`: a guest whose kernel enforces AppArmor and has cgroup v2, for tests on a host that
//! may have neither.
//!
//! The guest is emulated, not virtualised: it needs nothing of the host's processor and proves what is
//! enforced, at a tenth of the speed and less. It is built once from Debian's packages, outside the
//! checkout, and boots in seconds.

mod recipe;
pub(crate) mod apt;
mod bzimage;
mod modules;
mod kernel;
mod root;
pub(crate) mod cache;
mod cpio;
mod boot_image;
mod machine;
mod run;
mod selection;
mod test_programs;
pub(crate) mod verdict;
mod trial;
pub(crate) mod tier;

use crate::Machine;
use crate::needs::{Install, provide_packages};
use crate::workspace::Workspace;
use anyhow::{Context, Result, anyhow, ensure};
use cache::{Cache, Clean, Piece};
use clap::{Subcommand, ValueEnum};
use jailfleet_guest::User;
use machine::Clock;
use recipe::{HOST_PACKAGES, Kernel};
use regex::Regex;
use selection::Wanted;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tier::Learned;

/// What can be done with guests.
#[derive(Debug, Subcommand)]
pub(crate) enum VmTask {
    /// Build a guest, if it is not in the cache.
    Build {
        /// Which kernel it has.
        #[arg(long, value_enum, default_value_t = Kernel::V6_1)]
        kernel: Kernel,
        #[command(flatten)]
        machine: Machine,
    },
    /// Run a command in a guest, as root; its output and exit code come back.
    Run {
        /// Which kernel it has.
        #[arg(long, value_enum, default_value_t = Kernel::V6_1)]
        kernel: Kernel,
        /// One nanosecond an instruction instead of the host's clock.
        #[arg(long)]
        virtual_time: bool,
        /// A folder that the guest may write, at its own path; the command starts in it.
        #[arg(long, value_name = "DIR")]
        share: Option<PathBuf>,
        /// Seconds of the guest's clock that the command may take.
        #[arg(long, default_value_t = 120)]
        limit: u64,
        #[command(flatten)]
        machine: Machine,
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        argv: Vec<String>,
    },
    /// Run the sandbox's tests in a guest: about two minutes' worth of them.
    Test {
        /// Which kernel it has.
        #[arg(long, value_enum, default_value_t = Kernel::V6_1)]
        kernel: Kernel,
        /// Under every kernel, one after the other.
        #[arg(long, conflicts_with = "kernel")]
        all_kernels: bool,
        /// Those tests whose `program::test` fits, instead of the usual ones.
        #[arg(long, value_name = "REGEX")]
        filter: Option<Regex>,
        /// All tests that can run in a guest.
        #[arg(long, conflicts_with = "filter")]
        everything: bool,
        /// All tests as this user, instead of some as the one and some as the other.
        #[arg(long, value_enum)]
        user: Option<TestUser>,
        #[command(flatten)]
        machine: Machine,
    },
    /// Say what is in the cache, and how large it is.
    Status,
    /// Empty the cache.
    Clean {
        /// Only what another version of the recipe built, or a build that was stopped.
        #[arg(long)]
        old: bool,
    },
}

/// Who runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestUser {
    /// Slots with uids of their own.
    Root,
    /// Slots in user namespaces.
    Plain,
}

/// A guest that can be booted.
#[derive(Debug)]
pub(crate) struct Guest {
    kernel: PathBuf,
    root: PathBuf,
    first_process: PathBuf,
}

/// In the chain of an error: there is no guest, and what would be tried in it was not tried at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoGuest;

impl fmt::Display for NoGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("get a guest up")
    }
}

impl Guest {
    /// Builds what is missing of it.
    ///
    /// # Errors
    /// [`NoGuest`] where this machine cannot have one; anything else is a mistake of ours.
    pub(crate) fn get(workspace: &Workspace, kernel: Kernel, install: Install) -> Result<Self> {
        // Kernel, packages and tests are of one architecture, and only this one was tried.
        if cfg!(not(target_arch = "x86_64")) {
            return Err(anyhow!("run programs of this host: guests are x86_64").context(NoGuest));
        }
        let first_process = boot_image::build_first_process(workspace)?;
        provide_packages(&HOST_PACKAGES, install).context(NoGuest)?;
        let cache = Cache::find()?;
        let of_kernel = Piece::Kernel(kernel);
        Ok(Self {
            kernel: cache
                .get_or_make(of_kernel, |folder| kernel::make(kernel, folder))
                .context(NoGuest)?,
            root: cache
                .get_or_make(Piece::Root, root::make)
                .context(NoGuest)?,
            first_process,
        })
    }
}

/// Performs one of the tasks.
pub(crate) fn perform(workspace: &Workspace, task: VmTask) -> Result<ExitCode> {
    match task {
        VmTask::Build { kernel, machine } => {
            Guest::get(workspace, kernel, machine.install())?;
            println!("A guest with Linux {kernel} can be booted: cargo xtask vm run -- COMMAND");
        }
        VmTask::Run {
            kernel,
            virtual_time,
            share,
            limit,
            machine,
            argv,
        } => {
            let guest = Guest::get(workspace, kernel, machine.install())?;
            let order = run::Order {
                clock: if virtual_time {
                    Clock::Virtual
                } else {
                    Clock::Host
                },
                share,
                limit: Duration::from_secs(limit),
                argv,
            };
            return run::run(&guest, order);
        }
        VmTask::Test {
            kernel,
            all_kernels,
            filter,
            everything,
            user,
            machine,
        } => {
            let order = trial::Order {
                kernels: if all_kernels {
                    Kernel::ALL.into()
                } else {
                    vec![kernel]
                },
                wanted: match (filter, everything) {
                    (Some(pattern), _) => Wanted::Fitting(pattern),
                    (None, true) => Wanted::Everything,
                    (None, false) => Wanted::Usual,
                },
                user: user.map(|user| match user {
                    TestUser::Root => User::Root,
                    TestUser::Plain => User::Plain,
                }),
                install: machine.install(),
            };
            let mut learned = Learned::default();
            trial::run(workspace, &order, &mut learned)?;
            println!();
            for skip in &learned.skips {
                println!("SKIPPED {skip}");
            }
            for note in learned.notes.lines() {
                println!("{note}");
            }
            println!("{}", learned.tally);
            ensure!(learned.tally.failed == 0, "see all tests pass");
        }
        VmTask::Status => Cache::find()?.status()?,
        VmTask::Clean { old } => {
            let what = if old { Clean::Old } else { Clean::Everything };
            Cache::find()?.clean(what)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
