//! A warden as the worker drives it, for tests that run programs in real jails.
#![allow(clippy::indexing_slicing, reason = "in a test, a panic is an answer")]

use jailfleet::artifact::{ArtifactCaps, ArtifactPath};
use jailfleet::evidence::{Acted, End, Evidence};
use jailfleet::limits::Limits;
use jailfleet::runtime::Runtime;
use jailfleet::settings::{SourceText, WorkerSettings, env_pairs, worker_settings};
use jailfleet::wall::Wall;
use jailfleet_harness::TestUids;
use jailfleet_sandbox::artifacts;
use jailfleet_sandbox::client::{self, StartWarden, WardenProcess};
use jailfleet_sandbox::lease::Leases;
use jailfleet_sandbox::payload::{self, Payload};
use jailfleet_sandbox::protocol::{Build, Extras, JailPlan, Order, Report, Walls};
use jailfleet_sandbox::warden::digest_of_hex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::job::{Job, Seen, python};

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A warden with state, uids and cgroups of its own.
pub(crate) struct Fleet {
    pub(crate) warden: Option<WardenProcess>,
    pub(crate) settings: WorkerSettings,
    pub(crate) walls: Walls,
    next_run: u64,
    pub(crate) idle: Vec<bool>,
    /// Each slot as it stood when the warden last said that it is idle.
    pub(crate) builds: Vec<Build>,
    /// When the last run that was waited for had ended.
    pub(crate) ended_at: Instant,
    /// Runs that ended while another one was waited for.
    pub(crate) ended: BTreeMap<u64, Evidence>,
    /// Slots that were taken out of use so far.
    pub(crate) quarantined: usize,
    cgroup: String,
    mounts: usize,
    pub(crate) state: Rc<tempfile::TempDir>,
}

/// A run that was ordered and has not been waited for.
pub(crate) struct Going {
    pub(crate) run: u64,
    slot: u16,
    pub(crate) outputs: [OwnedFd; 2],
    wanted: Vec<ArtifactPath>,
    pub(crate) artifacts: Option<OwnedFd>,
}

impl Fleet {
    pub(crate) fn start(slots: usize) -> Self {
        Self::configured(slots, "")
    }

    /// With a config file of the operator's over the defaults.
    pub(crate) fn configured(slots: usize, config: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), slots, config)
    }

    /// In the state folder that another warden may have left, or shares.
    pub(crate) fn start_in(
        state: impl Into<Rc<tempfile::TempDir>>,
        slots: usize,
        config: &str,
    ) -> Self {
        let warden = Path::new(env!("CARGO_BIN_EXE_jailfleet-warden"));
        Self::behind(warden, state, slots, config)
    }

    /// Behind this very warden.
    pub(crate) fn behind(
        warden: &Path,
        state: impl Into<Rc<tempfile::TempDir>>,
        slots: usize,
        config: &str,
    ) -> Self {
        let state = state.into();
        let config_file = state.path().join("worker.toml");
        std::fs::write(&config_file, config).expect("a file");
        // Locks below a folder of our own keep nobody else off the default uids, and whoever leases
        // one of them kills what runs under it. So the uids are our own, too.
        let uids = TestUids::Jails;
        let cgroup = format!("jailfleet-test-{}", std::process::id());
        let flags = vec![
            ("worker.slots".to_owned(), slots.to_string()),
            (
                "warden.state_dir".to_owned(),
                state.path().display().to_string(),
            ),
            ("warden.uid_base".to_owned(), uids.base().to_string()),
            ("warden.uid_count".to_owned(), uids.count().to_string()),
            ("warden.cgroup_name".to_owned(), cgroup.clone()),
        ];
        let source = SourceText {
            name: "worker.toml",
            text: config,
        };
        let settings = worker_settings(Some(source), &env_pairs(std::env::vars_os()), &flags)
            .expect("the defaults, this config and these flags are good");
        let mounts = mounts();
        let plan = StartWarden {
            warden_path: warden.into(),
            config_file: Some(config_file),
            flags,
        };
        let warden = client::start(&plan).expect("the warden starts");
        let mut fleet = Self {
            warden: Some(warden),
            settings,
            walls: Walls::default(),
            next_run: 1,
            idle: vec![true; slots],
            builds: (0..u16::try_from(slots).expect("few"))
                .map(Build::first)
                .collect(),
            ended_at: jailfleet_sandbox::clock::now(),
            ended: BTreeMap::new(),
            quarantined: 0,
            cgroup,
            mounts,
            state,
        };
        let digest = digest_of_hex(&fleet.settings.digest()).expect("a digest");
        fleet.send(&Order::Hello { digest }, &[]);
        match fleet.report() {
            Some(Report::Ready { walls, .. }) => fleet.walls = walls,
            other => panic!("the warden is not ready: {other:?}"),
        }
        fleet
    }

    pub(crate) fn warden(&self) -> &WardenProcess {
        self.warden.as_ref().expect("it was not stopped")
    }

    pub(crate) fn send(&self, order: &Order, fds: &[std::os::fd::BorrowedFd<'_>]) {
        client::send(self.warden().socket(), order, fds).expect("the warden takes an order");
    }

    /// The next report; `None` when the warden has gone.
    pub(crate) fn report(&self) -> Option<Report> {
        let socket = self.warden().socket();
        wait(&[PollFd::new(socket, PollFlags::POLLIN)]);
        client::receive(socket).expect("a report")
    }

    /// The runtime of that name, with its index.
    pub(crate) fn runtime(&self, name: &str) -> (usize, &Runtime) {
        let mut runtimes = self.settings.runtimes.iter().enumerate();
        let found = runtimes.find(|(_, runtime)| runtime.name.as_str() == name);
        found.expect("a configured runtime")
    }

    /// The limits that a job is held to.
    pub(crate) fn limits_of(&self, job: &Job<'_>) -> Limits {
        let (_, runtime) = self.runtime(job.runtime);
        let mut limits = runtime.limits;
        (job.limits)(&mut limits);
        limits
    }

    pub(crate) fn order(&mut self, slot: u16, job: &Job<'_>) -> Going {
        let (at, _) = self.runtime(job.runtime);
        let limits = self.limits_of(job);
        let run = self.next_run;
        self.next_run += 1;
        let payload = Payload {
            main: Some(&job.main),
            files: &job.files,
            argv: &job.argv,
            env: &job.env,
        };
        let payload = payload::encode(&payload).expect("a small payload");
        let payload = client::sealed_memfd("payload", &payload).expect("a memfd");
        let stdin = client::sealed_memfd("stdin", job.stdin).expect("a memfd");
        let (stdout, stdout_end) = client::output_pipe().expect("a pipe");
        let (stderr, stderr_end) = client::output_pipe().expect("a pipe");
        let runtime = u16::try_from(at).expect("few runtimes");
        let plan = JailPlan {
            run,
            build: self.builds[usize::from(slot)],
            runtime,
            limits,
            extras: if job.artifacts.is_empty() {
                Extras::NONE
            } else {
                Extras::NONE.with_artifacts()
            },
        };
        let mut fds = vec![payload, stdin, stdout_end, stderr_end];
        let artifacts = (!job.artifacts.is_empty()).then(|| {
            let wanted = artifacts::wanted(&job.artifacts, &CAPS);
            fds.push(client::sealed_memfd("wanted", &wanted).expect("a memfd"));
            let (artifacts, out) = client::output_pipe().expect("a pipe");
            fds.push(out);
            artifacts
        });
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.send(&Order::Run(plan), &borrowed);
        self.idle[usize::from(slot)] = false;
        Going {
            run,
            slot,
            outputs: [stdout, stderr],
            wanted: job.artifacts.clone(),
            artifacts,
        }
    }

    /// Reads until the run has ended and its slot is idle again; above the output limit it does what
    /// the worker's readers do.
    pub(crate) fn finish(&mut self, going: Going) -> Seen {
        let mut artifacts = going.artifacts.map(File::from);
        let mut stream = Vec::new();
        let mut streams = going.outputs.map(|end| Some(File::from(end)));
        let mut outputs = [Vec::new(), Vec::new()];
        let mut evidence = self.ended.remove(&going.run);
        let mut told = false;
        while evidence.is_none() || !self.idle[usize::from(going.slot)] {
            let mut waits = vec![PollFd::new(self.warden().socket(), PollFlags::POLLIN)];
            // A stream at its end is always ready: polling it would spin, and steal the very CPU
            // that is measured. So is one that nobody reads any more.
            if evidence.is_none() {
                let open = streams.iter().flatten();
                waits.extend(open.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            }
            let open = artifacts.iter();
            waits.extend(open.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            wait(&waits);
            drain_all(&mut streams, &mut outputs);
            if artifacts
                .as_ref()
                .is_some_and(|open| drain(open, &mut stream))
            {
                artifacts = None;
            }
            if outputs.iter().map(Vec::len).sum::<usize>() > MOST_OUTPUT && !told {
                told = true;
                let (slot, run) = (going.slot, going.run);
                let why = Acted::Output;
                self.send(&Order::Kill { slot, run, why }, &[]);
            }
            if let Some(seen) = self.take_report(going.run) {
                evidence = Some(seen);
            }
        }
        drain_all(&mut streams, &mut outputs);
        if let Some(artifacts) = &artifacts {
            assert!(drain(artifacts, &mut stream), "the pipe is still open");
        }
        let [stdout, stderr] = outputs;
        let gathered = artifacts::read(&stream, &going.wanted, &CAPS);
        Seen {
            gathered,
            evidence: evidence.expect("the loop ends with it"),
            stdout,
            stderr,
        }
    }

    /// Books a report, if there is one; answers with the evidence of `awaited`.
    pub(crate) fn take_report(&mut self, awaited: u64) -> Option<Evidence> {
        match client::receive(self.warden().socket()) {
            Ok(Some(Report::Ended { run, evidence, .. })) if run == awaited => {
                self.ended_at = jailfleet_sandbox::clock::now();
                return Some(evidence);
            }
            Ok(Some(Report::Ended { run, evidence, .. })) => {
                self.ended.insert(run, evidence);
            }
            Ok(Some(Report::Idle { build })) => {
                self.idle[usize::from(build.slot)] = true;
                self.builds[usize::from(build.slot)] = build;
            }
            Ok(Some(Report::Quarantined { .. })) => self.quarantined += 1,
            Ok(Some(Report::Started { .. })) => {}
            Ok(other) => panic!("unexpected {other:?}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        None
    }

    /// Waits until a run has written something, without taking it.
    pub(crate) fn wait_for_output(&self, going: &Going) {
        let [stdout, _] = &going.outputs;
        wait(&[PollFd::new(stdout.as_fd(), PollFlags::POLLIN)]);
    }

    /// Ends a run as a cancelled job's is ended.
    pub(crate) fn cancel(&mut self, going: Going) -> Seen {
        let (slot, run) = (going.slot, going.run);
        let why = Acted::Cancel;
        self.send(&Order::Kill { slot, run, why }, &[]);
        self.finish(going)
    }

    pub(crate) fn run(&mut self, job: &Job<'_>) -> Seen {
        self.run_in(0, job)
    }

    pub(crate) fn run_in(&mut self, slot: u16, job: &Job<'_>) -> Seen {
        let going = self.order(slot, job);
        self.finish(going)
    }

    /// Whether a process of one of the uids that its slots may have is there, dead or alive.
    pub(crate) fn has_processes(&self) -> bool {
        let section = &self.settings.warden;
        let uids = section.uid_base..section.uid_base + section.uid_count;
        uids.map(rustix::process::Uid::from_raw)
            .any(|uid| rustix::process::getpriority_user(uid) != Err(rustix::io::Errno::SRCH))
    }

    /// The slot works as if nothing had been, and no slot had to be replaced.
    pub(crate) fn is_unharmed(&mut self) {
        let seen = self.run(&python("print('as before')"));
        assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
        assert_eq!(seen.out(), "as before\n");
        assert_eq!(self.quarantined, 0, "a slot had to be replaced");
        if self.walls.holds(Wall::Uid) {
            assert!(!self.has_processes(), "a process of a slot's uid is left");
        }
    }

    /// Ends the warden and looks for what it left on the host.
    pub(crate) fn stop(mut self) {
        self.send(&Order::Stop, &[]);
        let warden = self.warden.take().expect("it runs");
        let status = warden.wait().expect("its end");
        assert!(status.success(), "the warden ended with {status}");
        assert_eq!(mounts(), self.mounts, "mounts were left");
        assert_eq!(
            groups_named(Path::new("/sys/fs/cgroup"), &self.cgroup, 6),
            Vec::<PathBuf>::new()
        );
        let section = &self.settings.warden;
        if nix::unistd::geteuid().is_root() {
            let mut leases = Leases::open(section).expect("its leases");
            // A lease is only given for a uid that nothing runs under.
            let leases: Vec<_> = (0..section.uid_count)
                .map_while(|_| leases.take().ok())
                .collect();
            assert_eq!(
                leases.len(),
                usize::try_from(section.uid_count).expect("few"),
                "a uid is in use"
            );
        }
    }
}

/// What artifacts may be here: as the defaults are, but for fewer bytes, which the stream has to fit in.
pub(crate) const CAPS: ArtifactCaps = ArtifactCaps {
    entries: 256,
    file_bytes: 100_000,
    all_bytes: 300_000,
};

/// More than this is a flood.
const MOST_OUTPUT: usize = 1 << 20;

pub(crate) fn wait(waits: &[PollFd<'_>]) {
    let mut waits = waits.to_vec();
    let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
    let ready = poll(&mut waits, timeout).expect("a poll");
    assert_ne!(ready, 0, "nothing came for {PATIENCE:?}");
}

/// Takes what is there, and at most a little more than the output limit; a stream at its end is
/// dropped.
fn drain_all(streams: &mut [Option<File>; 2], outputs: &mut [Vec<u8>; 2]) {
    for (stream, output) in streams.iter_mut().zip(outputs) {
        if stream.as_ref().is_some_and(|open| drain(open, output)) {
            *stream = None;
        }
    }
}

/// Whether the stream came to its end.
fn drain(mut stream: &File, into: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 65_536];
    while into.len() <= MOST_OUTPUT {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(length) => into.extend_from_slice(&bytes[..length]),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return false;
            }
        }
    }
    false
}

/// Mounts of jails in this namespace. Others come and go on a machine that others use.
fn mounts() -> usize {
    let ours = |line: &&str| line.contains(" - tmpfs jail ") || line.contains(" - tmpfs scratch ");
    std::fs::read_to_string("/proc/self/mountinfo")
        .expect("our mounts")
        .lines()
        .filter(ours)
        .count()
}

fn groups_named(folder: &Path, name: &str, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let folders = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    folders
        .flat_map(|path| match path.file_name() {
            Some(found) if found == name => vec![path],
            _ if depth > 0 => groups_named(&path, name, depth - 1),
            _ => Vec::new(),
        })
        .collect()
}
