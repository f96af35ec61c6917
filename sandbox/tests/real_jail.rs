//! Programs in real jails on this machine's kernel, through the warden as the worker uses it.
#![expect(
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly should fail there"
)]

#[path = "real_jail/programs.rs"]
mod programs;
#[path = "real_jail/parity.rs"]
mod parity;
#[path = "real_jail/ends.rs"]
mod ends;
#[path = "real_jail/exact.rs"]
mod exact;
#[path = "real_jail/bench.rs"]
mod bench;

use jailfleet::blob::Blob;
use jailfleet::evidence::{End, Evidence};
use jailfleet::job::{JobFile, JobFileKind, RelativePath};
use jailfleet::limits::Limits;
use jailfleet::settings::{WorkerSettings, env_pairs, worker_settings};
use jailfleet_sandbox::client::{self, StartWarden, WardenProcess};
use jailfleet_sandbox::payload::{self, Payload};
use jailfleet_sandbox::protocol::{JailPlan, Order, Report, Walls};
use jailfleet_sandbox::warden::digest_of_hex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A warden of one slot or more, with state and cgroups of its own.
struct Fleet {
    warden: Option<WardenProcess>,
    settings: WorkerSettings,
    walls: Walls,
    next_run: u64,
    state: tempfile::TempDir,
    idle: Vec<bool>,
    ended_at: std::time::Instant,
}

/// What one run came to.
#[derive(Debug)]
struct Seen {
    evidence: Evidence,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Seen {
    fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A job as the tests write it.
#[derive(Clone)]
struct Job<'a> {
    runtime: &'a str,
    main: Option<&'a [u8]>,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    files: Vec<JobFile>,
    stdin: &'a [u8],
    limits: Box<fn(&mut Limits)>,
}

fn job<'a>(runtime: &'a str, code: &'a str) -> Job<'a> {
    Job {
        runtime,
        main: Some(code.as_bytes()),
        argv: Vec::new(),
        env: Vec::new(),
        files: Vec::new(),
        stdin: b"",
        limits: Box::new(|_| {}),
    }
}

impl Job<'_> {
    fn limits(mut self, change: fn(&mut Limits)) -> Self {
        self.limits = Box::new(change);
        self
    }
}

fn file(path: &str, content: &str) -> JobFile {
    let path = RelativePath::parse(path).expect("a good path");
    JobFile {
        path,
        kind: JobFileKind::File {
            content: Blob::new(content),
            executable: false,
        },
    }
}

/// A run that was ordered and has not been waited for.
struct Going {
    run: u64,
    slot: u16,
    outputs: [OwnedFd; 2],
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Fleet {
    fn start(slots: usize) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), slots)
    }

    fn start_in(state: tempfile::TempDir, slots: usize) -> Self {
        // Locks below a folder of our own keep nobody else off the default uids, and whoever leases
        // one of them kills what runs under it. So the uids are our own, too.
        let uid_base = 1_000_000 + (std::process::id() % 20_000) * 16;
        let flags = vec![
            ("worker.slots".to_owned(), slots.to_string()),
            ("warden.uid_base".to_owned(), uid_base.to_string()),
            ("warden.uid_count".to_owned(), "16".to_owned()),
            (
                "warden.state_dir".to_owned(),
                state.path().display().to_string(),
            ),
            (
                "warden.cgroup_name".to_owned(),
                format!("jailfleet-test-{}", std::process::id()),
            ),
        ];
        let settings = worker_settings(None, &env_pairs(std::env::vars_os()), &flags)
            .expect("the defaults and these flags are good");
        let warden = client::start(&StartWarden {
            warden_path: env!("CARGO_BIN_EXE_jailfleet-warden").into(),
            config_file: None,
            flags,
        })
        .expect("the warden starts");
        let mut fleet = Self {
            warden: Some(warden),
            settings,
            walls: Walls::default(),
            next_run: 1,
            state,
            idle: vec![true; slots],
            ended_at: jailfleet_sandbox::clock::now(),
        };
        let digest = digest_of_hex(&fleet.settings.digest()).expect("a digest");
        fleet.send(&Order::Hello { digest }, &[]);
        match fleet.report() {
            Some(Report::Ready {
                slot_count,
                walls,
                config_digest,
            }) => {
                assert_eq!(usize::from(slot_count), slots);
                assert_eq!(config_digest, digest);
                fleet.walls = walls;
            }
            other => panic!("the warden is not ready: {other:?}"),
        }
        fleet
    }

    fn warden(&self) -> &WardenProcess {
        self.warden.as_ref().expect("it was not stopped")
    }

    fn send(&self, order: &Order, fds: &[std::os::fd::BorrowedFd<'_>]) {
        client::send(self.warden().socket(), order, fds).expect("the warden takes an order");
    }

    /// The next report; `None` when the warden has gone.
    fn report(&self) -> Option<Report> {
        let socket = self.warden().socket();
        wait(&[PollFd::new(socket, PollFlags::POLLIN)]);
        client::receive(socket).expect("a report")
    }

    fn runtime(&self, name: &str) -> u16 {
        let at = self
            .settings
            .runtimes
            .iter()
            .position(|runtime| runtime.name.as_str() == name);
        u16::try_from(at.expect("a configured runtime")).expect("few runtimes")
    }

    fn order(&mut self, slot: u16, job: &Job<'_>) -> Going {
        let runtime = self.runtime(job.runtime);
        let mut limits = self.settings.runtimes[usize::from(runtime)].limits;
        (job.limits)(&mut limits);
        let run = self.next_run;
        self.next_run += 1;
        let payload = Payload {
            main: job.main,
            files: &job.files,
            argv: &job.argv,
            env: &job.env,
        };
        let payload = payload::encode(&payload).expect("a small payload");
        let payload = client::sealed_memfd("payload", &payload).expect("a memfd");
        let stdin = client::sealed_memfd("stdin", job.stdin).expect("a memfd");
        let (stdout, stdout_end) = client::output_pipe().expect("a pipe");
        let (stderr, stderr_end) = client::output_pipe().expect("a pipe");
        let plan = JailPlan {
            run,
            slot,
            runtime,
            limits,
        };
        let fds = [&payload, &stdin, &stdout_end, &stderr_end].map(AsFd::as_fd);
        self.send(&Order::Run(plan), &fds);
        self.idle[usize::from(slot)] = false;
        Going {
            run,
            slot,
            outputs: [stdout, stderr],
        }
    }

    /// Reads the outputs until the run has ended and its slot is idle again.
    fn finish(&mut self, going: Going) -> Seen {
        let mut outputs = [Vec::new(), Vec::new()];
        let mut evidence = None;
        let mut streams = going.outputs.map(|end| Some(std::fs::File::from(end)));
        while evidence.is_none() || !self.idle[usize::from(going.slot)] {
            let mut waits = vec![PollFd::new(self.warden().socket(), PollFlags::POLLIN)];
            // A stream at its end is always ready: polling it would spin, and steal the very CPU
            // that is measured.
            let open = streams.iter().flatten();
            waits.extend(open.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            wait(&waits);
            drain_all(&mut streams, &mut outputs);
            match client::receive(self.warden().socket()) {
                Ok(Some(Report::Ended {
                    run,
                    evidence: seen,
                    ..
                })) if run == going.run => {
                    self.ended_at = jailfleet_sandbox::clock::now();
                    evidence = Some(seen);
                }
                Ok(Some(Report::Idle { slot })) => self.idle[usize::from(slot)] = true,
                Ok(Some(Report::Started { .. } | Report::Quarantined { .. })) => {}
                Ok(other) => panic!("unexpected {other:?}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        drain_all(&mut streams, &mut outputs);
        let [stdout, stderr] = outputs;
        Seen {
            evidence: evidence.expect("the loop ends with it"),
            stdout,
            stderr,
        }
    }

    fn run(&mut self, job: &Job<'_>) -> Seen {
        self.run_in(0, job)
    }

    fn run_in(&mut self, slot: u16, job: &Job<'_>) -> Seen {
        let going = self.order(slot, job);
        self.finish(going)
    }

    /// Closes the socket and waits until the warden has ended.
    fn wait_for_end(&mut self) {
        if let Some(warden) = self.warden.take() {
            let status = warden.wait().expect("the warden is our child");
            assert!(status.success(), "{status}");
        }
    }

    fn kill_warden(&mut self) {
        let warden = self.warden.take().expect("it was not stopped");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(warden.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is our child");
        warden.wait().expect("the warden is our child");
    }

    /// The inits are the warden's children.
    fn kill_inits(&self) {
        let path = format!("/proc/{0}/task/{0}/children", self.warden().pid());
        for pid in std::fs::read_to_string(path)
            .expect("a list")
            .split_whitespace()
        {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
        }
    }

    fn start_again(self) -> Self {
        Self::start_in(self.state, self.idle.len())
    }

    /// Processes whose uid is one of those that this fleet may lease.
    fn processes_of_slots(&self) -> Vec<String> {
        let base = self.settings.warden.uid_base;
        let range = base..base + self.settings.warden.uid_count;
        let proc = std::fs::read_dir("/proc").expect("there is a /proc");
        proc.flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter(|entry| {
                use std::os::unix::fs::MetadataExt;
                entry
                    .metadata()
                    .is_ok_and(|seen| range.contains(&seen.uid()))
            })
            .map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
            .collect()
    }

    /// Folders of this fleet's cgroups.
    fn cgroups(&self) -> Vec<std::path::PathBuf> {
        let name = self.settings.warden.cgroup_name.as_str();
        let mut found = Vec::new();
        let mut open = vec![(std::path::PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((folder, depth)) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry.file_name().to_string_lossy() == name {
                        found.push(entry.path());
                    } else if depth < 4 {
                        open.push((entry.path(), depth + 1));
                    }
                }
            }
        }
        found
    }

    fn wait_until_no_process_is_left(&self) {
        let deadline = jailfleet_sandbox::clock::now() + PATIENCE;
        while !self.processes_of_slots().is_empty() {
            assert!(
                jailfleet_sandbox::clock::now() < deadline,
                "{:?}",
                self.processes_of_slots()
            );
            std::thread::yield_now();
        }
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.processes_of_slots(), Vec::<String>::new());
        assert_eq!(self.cgroups(), Vec::<std::path::PathBuf>::new());
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a list");
        assert!(
            !mounts.contains("codejail") && !mounts.contains("scratch"),
            "{mounts}"
        );
    }

    fn wait_started(&mut self, run: u64) {
        loop {
            match self.report() {
                Some(Report::Started { run: started, .. }) if started == run => return,
                Some(Report::Idle { .. }) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

const CAP: usize = 16 << 20;

fn wait(waits: &[PollFd<'_>]) {
    let mut waits = waits.to_vec();
    let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
    let ready = poll(&mut waits, timeout).expect("a poll");
    assert_ne!(ready, 0, "nothing came for {PATIENCE:?}");
}

/// Reads what is there; a stream is dropped at its end or at the cap.
fn drain_all(streams: &mut [Option<std::fs::File>; 2], outputs: &mut [Vec<u8>; 2]) {
    for (stream, output) in streams.iter_mut().zip(outputs) {
        let Some(open) = stream else { continue };
        match open.read_to_end(output) {
            Ok(_) => *stream = None,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        if output.len() > CAP {
            *stream = None;
        }
    }
}

#[test]
fn a_python_and_a_shell_program_say_hello() {
    let mut fleet = Fleet::start(1);
    for (runtime, code) in [("python", "print('hello')"), ("bash", "echo hello")] {
        let seen = fleet.run(&job(runtime, code));
        assert_eq!(seen.evidence.end, End::Exited(0), "{seen:?} {}", seen.err());
        assert_eq!(
            (seen.out(), seen.err()),
            ("hello\n".to_owned(), String::new())
        );
    }
}
