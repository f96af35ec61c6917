//! The one place of the harness that starts programs, and that reads the clock to wait for them.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command to be filled in.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the harness that starts programs"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs `command` to its end and returns its standard output.
pub(crate) fn capture(what: &str, command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {what}"))?;
    ensure!(
        output.status.success(),
        "{what} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {what}"))
}

/// Looks again and again until `ready` says so; an error of `ready` ends it.
///
/// For what happens outside of this process and is told to nobody. `what` completes "failed to see".
///
/// # Errors
/// That of `ready`, and when it is not so `within` this time.
#[expect(
    clippy::disallowed_methods,
    reason = "a foreign program tells nobody when it is up: it has to be asked"
)]
pub fn poll_until(
    what: &str,
    within: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let until = Instant::now() + within;
    while !ready()? {
        if Instant::now() >= until {
            bail!("see {what} within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A child that is ended and waited for, whatever happens.
#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
    name: &'static str,
}

impl Owned {
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self {
            child: child.with_context(|| format!("start {name}"))?,
            name,
        })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("look at {}", self.name))
    }

    /// SIGTERM, and if that does not end it in time, SIGKILL.
    pub(crate) fn end(&mut self, within: Duration) -> Result<()> {
        self.ask_to_end()?;
        let name = self.name;
        let gone = poll_until(name, within, || Ok(self.ended()?.is_some()));
        if gone.is_err() {
            self.kill()?;
        }
        Ok(())
    }

    /// SIGTERM, without waiting.
    pub(crate) fn ask_to_end(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("read a child's pid")?;
        // Not reaped yet, as we just saw, so that the pid is still the child's.
        kill_process(pid, Signal::TERM).with_context(|| format!("stop {}", self.name))
    }

    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let name = self.name;
        self.child.kill().with_context(|| format!("kill {name}"))?;
        let ended = self.child.wait();
        ended.with_context(|| format!("wait for {name}")).map(drop)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Err(error) = self.end(Duration::from_secs(30)) {
            eprintln!("{} was perhaps left behind: {error:#}", self.name);
        }
    }
}
