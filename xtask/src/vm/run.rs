//! `cargo xtask vm run`: one command in a guest, as if it ran here.

use crate::vm::Guest;
use crate::vm::machine::{self, Clock};
use anyhow::{Context, Result, bail, ensure};
use jailfleet_guest::{Access, End, Errand, Left, Plan, Share, User};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What to run and how.
#[derive(Debug)]
pub(crate) struct Order {
    /// By which clock.
    pub(crate) clock: Clock,
    /// A folder of the host, which the guest may write and in which the program starts.
    pub(crate) share: Option<PathBuf>,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
}

/// Runs it. Its output and its exit code become ours.
pub(crate) fn run(guest: &Guest, order: Order) -> Result<ExitCode> {
    let share = order.share.as_deref().map(shared).transpose()?;
    let cwd = share
        .as_ref()
        .map_or("/".into(), |share| share.path.clone());
    let plan = Plan {
        errands: vec![Errand {
            argv: order.argv,
            cwd,
            env: Vec::new(),
            user: User::Root,
            limit_ms: u64::try_from(order.limit.as_millis()).context("read the limit")?,
        }],
        shares: share.into_iter().collect(),
    };
    let mut ended = None;
    machine::perform(guest, order.clock, &plan, |_, done| {
        let words = "pass the output on";
        std::io::stdout().write_all(&done.stdout).context(words)?;
        std::io::stderr().write_all(&done.stderr).context(words)?;
        ended = Some((done.end, done.left));
        Ok(())
    })?;
    let (end, left) = ended.context("hear how the command ended")?;
    if left == Left::Processes {
        eprintln!("xtask: the command left processes behind, which the guest has killed");
    }
    match end {
        End::Exited(code) => Ok(u8::try_from(code).context("read the exit code")?.into()),
        End::Signaled(signal) => bail!("run the command: signal {signal} ended it"),
        End::TimedOut => bail!(
            "run the command within {:?} of the guest's time",
            order.limit
        ),
        End::NotStarted(words) => bail!("start the command: {words}"),
    }
}

/// A folder has the same path on both sides, so that what names it need not be translated.
fn shared(folder: &Path) -> Result<Share> {
    let path = folder
        .canonicalize()
        .with_context(|| format!("find {}", folder.display()))?;
    ensure!(
        path.parent().is_some(),
        "share a folder: the whole root would cover the guest's own"
    );
    Ok(Share {
        tag: "share".to_owned(),
        path,
        access: Access::Write,
    })
}
