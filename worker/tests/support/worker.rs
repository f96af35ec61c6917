//! A real worker with its real warden, started by a test and ended with it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// More than any step takes on a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A user who owns nothing on any host.
const PLAIN: u32 = 54_321;

/// Set where no cargo is, and the programs were built before: in a guest.
const BUILT: &str = "JAILFLEET_TESTS_BUILT";

/// The worker's executable, with a warden of the same build beside it.
pub(crate) fn executable() -> &'static Path {
    static ONCE: OnceLock<()> = OnceLock::new();
    let worker = Path::new(env!("CARGO_BIN_EXE_jailfleet-worker"));
    ONCE.get_or_init(|| {
        if std::env::var_os(BUILT).is_some() {
            return;
        }
        // Cargo builds the executables of this package for its tests, but not those of others.
        let folder = worker
            .parent()
            .and_then(Path::parent)
            .expect("target/<profile>/");
        let built = command(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--bin",
                "jailfleet-warden",
                "--manifest-path",
            ])
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../sandbox/Cargo.toml"
            ))
            .arg("--target-dir")
            .arg(folder)
            .status();
        assert!(
            built.expect("cargo starts").success(),
            "the warden does not build"
        );
    });
    worker
}

#[expect(
    clippy::disallowed_methods,
    reason = "these tests start real programs, the worker above all"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// The producer's executable, connected to that vhost; built as the warden is.
pub(crate) fn producer(uri: &str) -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    let folder = executable().parent().expect("target/<profile>");
    BUILT.get_or_init(|| {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../producer/Cargo.toml");
        let target = folder.parent().expect("target/<profile>");
        let built = command(env!("CARGO"))
            .args(["build", "--quiet", "--bin", "jailfleet-producer"])
            .args(["--manifest-path", manifest, "--target-dir"])
            .arg(target)
            .status();
        let built = built.expect("cargo starts").success();
        assert!(built, "the producer does not build");
    });
    let mut producer = command(folder.join("jailfleet-producer"));
    producer
        .env("JAILFLEET__AMQP__URI", uri)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    producer
}

fn worker_command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    command_of(executable(), arguments, variables)
}

fn command_of(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = command(program);
    if !arguments.contains(&"--walls") {
        command.args(["--walls", "laptop"]);
    }
    command.args(["--set", "log.format=json"]);
    command.args(["--set", "log.level=debug", "--set", "worker.slots=2"]);
    command.args(arguments).envs(variables.iter().copied());
    command
}

/// Runs `local` over these lines to its end, and answers with its exit code and results.
pub(crate) fn local(lines: &[String], arguments: &[&str]) -> (i32, Vec<Value>) {
    local_by(None, lines, arguments)
}

/// Runs `local` over these lines; whoever reads the results goes after the first, as `head` does. Its exit
/// code, and what it said.
pub(crate) fn local_until_nobody_reads(lines: &[String]) -> (i32, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    for line in lines {
        writeln!(file, "{line}").expect("writable");
    }
    let path = file.path().to_str().expect("a plain path");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = worker_command(&["--set", "log.level=warn", "local", path], &[]);
    let started = command.stdout(writer).stderr(Stdio::piped()).spawn();
    // Our own copy of the end to write goes with it.
    drop(command);
    let mut first = String::new();
    let mut reader = std::io::BufReader::new(reader);
    std::io::BufRead::read_line(&mut reader, &mut first).expect("a result");
    drop(reader);
    let output = started.expect("the worker starts").wait_with_output();
    let output = output.expect("its end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("no signal"), said)
}

/// What `local` without any job ends with under these arguments, and says.
pub(crate) fn local_says(arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["local", "/dev/null"], arguments].concat();
    let output = worker_command(&arguments, &[]).output();
    let output = output.expect("the worker starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// What `doctor` ends with, and says, when nobody reads what it found.
pub(crate) fn doctor_that_nobody_reads() -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let doctor = worker_command(&["doctor"], &[]).stdout(writer).output();
    let doctor = doctor.expect("the worker starts");
    let said = String::from_utf8_lossy(&doctor.stderr).into_owned();
    (doctor.status.code(), said)
}

/// The same as a user without any privilege, which only root can.
pub(crate) fn local_of_a_plain_user(lines: &[String]) -> (i32, Vec<Value>) {
    local_by(Some(PLAIN), lines, &[])
}

/// What `doctor --json` ends with under these arguments, and says.
pub(crate) fn doctor(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = worker_command(&[arguments, &["doctor", "--json"]].concat(), &[]).output();
    let output = output.expect("the worker starts");
    let report = serde_json::from_slice(&output.stdout).expect("an object");
    (output.status.code(), report)
}

/// What a worker of such a user that asks for the set `full` ends with, and says.
pub(crate) fn full_of_a_plain_user(uri: &str) -> (Option<i32>, String) {
    let variables = [("JAILFLEET__AMQP__URI", uri)];
    let port = ["--walls", "full", "--set", "admin.listen=127.0.0.1:0"];
    let mut worker = worker_command(&port, &variables);
    let output = worker.uid(PLAIN).gid(PLAIN).output();
    let output = output.expect("the worker starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// What `doctor --json` says to such a user.
pub(crate) fn doctor_of_a_plain_user() -> Value {
    let mut doctor = worker_command(&["doctor", "--json"], &[]);
    let output = doctor.uid(PLAIN).gid(PLAIN).output();
    let output = output.expect("the worker starts");
    serde_json::from_slice(&output.stdout).expect("an object")
}

fn local_by(user: Option<u32>, lines: &[String], arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    for line in lines {
        writeln!(file, "{line}").expect("writable");
    }
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), readable).expect("it is ours");
    let path = file.path().to_str().expect("a plain path");
    let arguments = [&["local", path], arguments].concat();
    let mut command = worker_command(&arguments, &[]);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the worker starts");
    let results = stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("each line is a JSON object"))
        .collect();
    eprintln!("{}", String::from_utf8_lossy(&stderr));
    (status.code().expect("it exits"), results)
}

/// A worker process with its log.
pub(crate) struct Worker {
    child: Child,
    warden: Pid,
    lines: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a worker.
    pub(crate) fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_of(executable(), arguments, variables)
    }

    /// Starts a worker of another build, which lies beside a warden as well.
    pub(crate) fn start_of(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = command_of(program, arguments, variables);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the worker starts");
        let stderr = child.stderr.take().expect("it is a pipe");
        let (sender, lines) = sync_channel(100_000);
        let reader = std::thread::spawn(move || {
            for value in log_lines(stderr) {
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut worker = Self {
            child,
            warden: Pid::from_raw(0),
            lines,
            reader: Some(reader),
        };
        let line = worker.says("the worker runs");
        let pid = line.get("warden").and_then(Value::as_i64);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        worker.warden = Pid::from_raw(pid.unwrap_or_else(|| panic!("no warden in {line}")));
        worker
    }

    /// Starts a worker with an admin port, and answers with the address of that too.
    pub(crate) fn start_with_admin(
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> (Self, String) {
        let port = ["--set", "admin.listen=127.0.0.1:0"];
        let worker = Self::start(&[&port, arguments].concat(), variables);
        let admin = worker.says_its_admin_port();
        (worker, admin)
    }

    /// Waits for the address of its admin port.
    pub(crate) fn says_its_admin_port(&self) -> String {
        let line = self.says("the admin port is open");
        let admin = line.get("address").and_then(Value::as_str);
        admin.expect("its address").to_owned()
    }

    /// The same of one on that vhost whose two slots are both for the bulk lane.
    pub(crate) fn start_for_bulk(uri: &str) -> (Self, String) {
        let lanes = ["--set", "worker.lanes.interactive=0"];
        Self::start_with_admin(&lanes, &[("JAILFLEET__AMQP__URI", uri)])
    }

    /// Waits for a log line whose message holds `text`.
    pub(crate) fn says(&self, text: &str) -> Value {
        loop {
            match self.lines.recv_timeout(LONG) {
                Ok(line) if said(&line).contains(text) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("the worker never said {text:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without saying {text:?}"),
            }
        }
    }

    /// The pid of its warden.
    pub(crate) fn warden(&self) -> Pid {
        self.warden
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it is alive");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// Tells it to stop, and waits until it has with nothing to complain of.
    pub(crate) fn stops(self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ends().code(), Some(0));
    }

    /// Waits for its end.
    pub(crate) fn ends(mut self) -> ExitStatus {
        // Its stderr closes when it and its warden have ended; that can be waited for.
        while let Ok(line) = self.lines.recv_timeout(LONG) {
            eprintln!("{line}");
        }
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            eprintln!("the worker could not be killed: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("the worker could not be waited for: {error}");
        }
        // What it said last explains a test that failed.
        for line in self.lines.try_iter() {
            eprintln!("{line}");
        }
    }
}

fn said(line: &Value) -> &str {
    let message = line.get("message").and_then(Value::as_str);
    message.unwrap_or_default()
}

fn log_lines(stderr: ChildStderr) -> impl Iterator<Item = Value> {
    BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .map(|line| {
            serde_json::from_str(&line).unwrap_or_else(|_| serde_json::json!({ "message": line }))
        })
}

/// The pids of every process that has `argument` among its arguments.
pub(crate) fn processes_with(argument: &str) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there");
    processes
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            std::fs::read(path.join("cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0)
                    .any(|part| part == argument.as_bytes())
            })
        })
        .collect()
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: &str) -> u64 {
    let resident = status_of(Path::new("/proc").join(pid), "VmRSS");
    let kib = resident.trim_end_matches(" kB");
    kib.parse().expect("a number")
}

/// What the kernel says of a process or thread under this name.
pub(crate) fn status_of(folder: impl AsRef<Path>, name: &str) -> String {
    let status = std::fs::read_to_string(folder.as_ref().join("status")).expect("it is alive");
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(found, _)| *found == name);
    let (_, value) = values
        .next()
        .unwrap_or_else(|| panic!("{name} is not told"));
    value.trim().to_owned()
}

/// A file with the content, for a worker's `--config` or jobs.
pub(crate) fn file_of(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    File::write_all(file.as_file_mut(), content.as_bytes()).expect("writable");
    file
}
