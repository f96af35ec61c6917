//! The one place of xtask that starts programs. What it starts, it ends: by handle, never by name.

use crate::clock::Stopwatch;
use crate::proc_tree;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A command to be filled in and handed to one of the functions below.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of xtask that starts programs"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// A process that xtask started and will not leave behind: killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
    // Survives the pid: a signal can never reach a stranger that got the same number.
    handle: OwnedFd,
    name: String,
}

impl Owned {
    /// Starts `command`; `name` is what messages call it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the kernel numbers processes from 1 and within 22 bits");
        let handle = pidfd_open(pid, PidfdFlags::empty())
            .with_context(|| format!("get a handle on {name}"))?;
        Ok(Self {
            child,
            handle,
            name: name.to_owned(),
        })
    }

    /// Its pid, to look it up in /proc.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, if it was asked for as a pipe.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits until it ends, at most `limit`. `None`: it still runs.
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let watch = Stopwatch::start();
        loop {
            match ready_within(&self.handle, watch.left_of(limit)) {
                Ok(false) => return Ok(None),
                Ok(true) => return self.child.wait().map(Some).context("reap a process"),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for a process"),
            }
        }
    }

    /// Asks it to end (SIGTERM) and waits. One that does not end within `limit` is an error, and
    /// is killed when this value is dropped.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal_term()?;
        match self.wait_within(limit)? {
            Some(status) => Ok(status),
            None => bail!("{} did not end within {limit:?} of SIGTERM", self.name),
        }
    }

    /// Sends SIGTERM and returns at once.
    pub(crate) fn signal_term(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child
            .wait()
            .with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Stops all its threads where they are, until [`Self::thaw`].
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            // Already gone: it will be reaped by the wait that follows.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {signal:?} to {}", self.name)),
        }
    }

    /// Kills the child of it that has this pid.
    pub(crate) fn kill_child(&self, pid: u32) -> Result<()> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.with_context(|| format!("take {pid} as a pid"))?;
        let handle = pidfd_open(number, PidfdFlags::empty())
            .with_context(|| format!("get a handle on the child {pid} of {}", self.name))?;
        // Asked after the handle was taken: whoever has the pid now is who will get the signal.
        let parent = proc_tree::parent_of(pid)?;
        ensure!(
            parent == self.pid(),
            "kill a child of {}: {pid} is {parent}'s",
            self.name
        );
        pidfd_send_signal(&handle, Signal::KILL)
            .with_context(|| format!("kill the child {pid} of {}", self.name))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // An error means that it is gone, which is what is wanted.
        if self.child.kill().is_ok()
            && let Err(error) = self.child.wait()
        {
            eprintln!("xtask: could not reap {}: {error}", self.name);
        }
    }
}

/// Whether `watched` can be read, or has ended, within `limit`.
fn ready_within(watched: impl AsFd, limit: Duration) -> rustix::io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut watched = [PollFd::new(&watched, PollFlags::IN)];
    poll(&mut watched, Some(&timeout)).map(|ready| ready > 0)
}

/// The next line that a program writes; `None` at its end. An error when nothing comes within
/// `limit`.
pub(crate) fn next_line(
    from: &mut BufReader<ChildStdout>,
    limit: Duration,
) -> Result<Option<String>> {
    let watch = Stopwatch::start();
    let mut line = Vec::new();
    loop {
        if from.buffer().is_empty() {
            match ready_within(from.get_ref(), watch.left_of(limit)) {
                Ok(true) => {}
                Ok(false) => bail!("read a line within {limit:?}"),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).context("wait for a line"),
            }
        }
        let buffer = from.fill_buf().context("read a line")?;
        let at = buffer.iter().position(|byte| *byte == b'\n');
        let taken = at.map_or(buffer.len(), |at| at + 1);
        line.extend(buffer.iter().take(taken));
        from.consume(taken);
        match (at, taken) {
            (None, 0) if line.is_empty() => return Ok(None),
            (None, 0) | (Some(_), _) => {
                return String::from_utf8(line).map(Some).context("read a line");
            }
            (None, _) => {}
        }
    }
}

/// Runs `command` with our own standard streams and waits for its end.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<()> {
    let status = status(name, command)?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// The same, and a failure of the program is the caller's to judge.
pub(crate) fn status(name: &str, command: &mut Command) -> Result<ExitStatus> {
    let mut owned = Owned::start(name, command)?;
    owned
        .child
        .wait()
        .with_context(|| format!("wait for {name}"))
}

/// Runs `command` and returns what it wrote on standard output; it must succeed.
pub(crate) fn capture(name: &str, command: &mut Command) -> Result<String> {
    let output = output(name, command)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}", output.status, words.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {name} wrote"))
}

/// Runs `command` and returns everything about its end.
pub(crate) fn output(name: &str, command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {name}"))
}

/// Runs `program` as a filter of `input` and returns what it made of it.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().expect("it was asked for above");
    // Fed by a thread of its own: a filter writes before it has read everything.
    let (fed, output) = std::thread::scope(|scope| {
        let feeder = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output();
        (feeder.join().expect("writing does not panic"), output)
    });
    let output = output.with_context(|| format!("read what {program} wrote"))?;
    if !output.status.success() {
        bail!("{program} ended with {}", output.status);
    }
    fed.with_context(|| format!("feed {program}"))?;
    Ok(output.stdout)
}

/// Runs `command`, hands each line that it writes on standard error to `on_line`, and prints it.
pub(crate) fn run_heard(
    name: &str,
    command: &mut Command,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut owned = Owned::start(name, command.stderr(Stdio::piped()))?;
    let stderr = owned
        .child
        .stderr
        .take()
        .expect("it was asked for in the line above");
    for line in BufReader::new(stderr).lines() {
        let line = line.with_context(|| format!("read what {name} says"))?;
        eprintln!("{line}");
        on_line(&line);
    }
    owned
        .child
        .wait()
        .with_context(|| format!("wait for {name}"))
}

/// Whether a program of that name can be found on PATH or in the folders of the administrator.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .any(|folder| is_executable(&folder.join(program)))
}

/// Whether `path` is a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    beside_cargo(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo, or a program that starts it.
pub(crate) fn beside_cargo(program: impl AsRef<OsStr>) -> Command {
    let mut cargo = command(program);
    // Set for us by the outer cargo; inner ones must not believe that they build xtask.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(&name);
        }
    }
    cargo
}
