//! A warden as the worker drives it, for tests that run programs in real jails.
#![allow(clippy::indexing_slicing, reason = "in a test, a panic is an answer")]

use jailfleet::evidence::{Acted, End, Evidence};
use jailfleet::limits::Limits;
use jailfleet::runtime::Runtime;
use jailfleet::settings::{SourceText, WorkerSettings, env_pairs, worker_settings};
use jailfleet::wall::Wall;
use jailfleet_sandbox::client::{self, StartWarden, WardenProcess};
use jailfleet_sandbox::lease::Leases;
use jailfleet_sandbox::payload::{self, Payload};
use jailfleet_sandbox::protocol::{JailPlan, Order, Report, Walls};
use jailfleet_sandbox::warden::digest_of_hex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A warden with state, uids and cgroups of its own.
pub(crate) struct Fleet {
    warden: Option<WardenProcess>,
    pub(crate) settings: WorkerSettings,
    pub(crate) walls: Walls,
    next_run: u64,
    idle: Vec<bool>,
    /// Runs that ended while another one was waited for.
    ended: BTreeMap<u64, Evidence>,
    /// Slots that were taken out of use so far.
    pub(crate) quarantined: usize,
    cgroup: String,
    mounts: usize,
    _state: tempfile::TempDir,
}

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) evidence: Evidence,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Seen {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A program and what it is held to.
pub(crate) struct Attack<'a> {
    pub(crate) runtime: &'a str,
    pub(crate) code: Vec<u8>,
    pub(crate) limits: Box<dyn Fn(&mut Limits)>,
}

pub(crate) fn attack(runtime: &str, code: impl Into<Vec<u8>>) -> Attack<'_> {
    Attack {
        runtime,
        code: code.into(),
        limits: Box::new(|_| {}),
    }
}

pub(crate) fn python(code: &str) -> Attack<'_> {
    attack("python", code)
}

pub(crate) fn bash(code: &str) -> Attack<'_> {
    attack("bash", code)
}

impl Attack<'_> {
    pub(crate) fn limits(self, limits: impl Fn(&mut Limits) + 'static) -> Self {
        Self {
            limits: Box::new(limits),
            ..self
        }
    }
}

/// A run that was ordered and has not been waited for.
pub(crate) struct Going {
    run: u64,
    slot: u16,
    outputs: [OwnedFd; 2],
}

impl Fleet {
    pub(crate) fn start(slots: usize) -> Self {
        Self::configured(slots, "")
    }

    /// With a config file of the operator's over the defaults.
    pub(crate) fn configured(slots: usize, config: &str) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let config_file = state.path().join("worker.toml");
        std::fs::write(&config_file, config).expect("a file");
        // Tests of several checkouts may run at one time, each with locks of its own: they keep out
        // of each other's uids.
        let uid_base = 200_000 + (std::process::id() % 20_000) * 16;
        let cgroup = format!("jailfleet-test-{}", std::process::id());
        let flags = vec![
            ("worker.slots".to_owned(), slots.to_string()),
            (
                "warden.state_dir".to_owned(),
                state.path().display().to_string(),
            ),
            ("warden.uid_base".to_owned(), uid_base.to_string()),
            ("warden.uid_count".to_owned(), "16".to_owned()),
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
            warden_path: env!("CARGO_BIN_EXE_jailfleet-warden").into(),
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
            ended: BTreeMap::new(),
            quarantined: 0,
            cgroup,
            mounts,
            _state: state,
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

    fn send(&self, order: &Order, fds: &[std::os::fd::BorrowedFd<'_>]) {
        client::send(self.warden().socket(), order, fds).expect("the warden takes an order");
    }

    fn report(&self) -> Option<Report> {
        let socket = self.warden().socket();
        wait(&[PollFd::new(socket, PollFlags::POLLIN)]);
        client::receive(socket).expect("a report")
    }

    /// Says aloud that a test cannot be what it should be without a wall, and whether it can.
    pub(crate) fn holds(&self, wall: Wall) -> bool {
        let holds = self.walls.holds(wall);
        if !holds {
            assert!(
                std::env::var_os("JAILFLEET_NO_SKIPS").is_none(),
                "{wall} does not hold here"
            );
            eprintln!("SKIPPED: {wall} does not hold here");
        }
        holds
    }

    /// The runtime of that name, with its index.
    pub(crate) fn runtime(&self, name: &str) -> (usize, &Runtime) {
        let mut runtimes = self.settings.runtimes.iter().enumerate();
        let found = runtimes.find(|(_, runtime)| runtime.name.as_str() == name);
        found.expect("a configured runtime")
    }

    /// The limits that an attack is held to.
    pub(crate) fn limits_of(&self, attack: &Attack<'_>) -> Limits {
        let (_, runtime) = self.runtime(attack.runtime);
        let mut limits = runtime.limits;
        (attack.limits)(&mut limits);
        limits
    }

    pub(crate) fn order(&mut self, slot: u16, attack: &Attack<'_>) -> Going {
        let (at, _) = self.runtime(attack.runtime);
        let limits = self.limits_of(attack);
        let run = self.next_run;
        self.next_run += 1;
        let payload = Payload {
            main: Some(&attack.code),
            files: &[],
            argv: &[],
            env: &[],
        };
        let payload = payload::encode(&payload).expect("a small payload");
        let payload = client::sealed_memfd("payload", &payload).expect("a memfd");
        let stdin = client::sealed_memfd("stdin", b"").expect("a memfd");
        let (stdout, stdout_end) = client::output_pipe().expect("a pipe");
        let (stderr, stderr_end) = client::output_pipe().expect("a pipe");
        let runtime = u16::try_from(at).expect("few runtimes");
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

    /// Reads until the run has ended and its slot is idle again; above the output limit it does what
    /// the worker's readers do.
    pub(crate) fn finish(&mut self, going: Going) -> Seen {
        let [stdout, stderr] = going.outputs.map(File::from);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut evidence = self.ended.remove(&going.run);
        let mut told = false;
        while evidence.is_none() || !self.idle[usize::from(going.slot)] {
            let socket = PollFd::new(self.warden().socket(), PollFlags::POLLIN);
            if evidence.is_some() {
                wait(&[socket]);
            } else {
                let stream = |file| PollFd::new(file, PollFlags::POLLIN);
                wait(&[socket, stream(stdout.as_fd()), stream(stderr.as_fd())]);
            }
            drain(&stdout, &mut out);
            drain(&stderr, &mut err);
            if out.len() + err.len() > MOST_OUTPUT && !told {
                told = true;
                self.send(
                    &Order::Kill {
                        slot: going.slot,
                        run: going.run,
                        why: Acted::Output,
                    },
                    &[],
                );
            }
            match client::receive(self.warden().socket()) {
                Ok(Some(Report::Ended {
                    run,
                    evidence: seen,
                    ..
                })) if run == going.run => {
                    evidence = Some(seen);
                }
                Ok(Some(Report::Ended {
                    run,
                    evidence: seen,
                    ..
                })) => {
                    self.ended.insert(run, seen);
                }
                Ok(Some(Report::Idle { slot })) => self.idle[usize::from(slot)] = true,
                Ok(Some(Report::Quarantined { .. })) => self.quarantined += 1,
                Ok(Some(Report::Started { .. })) => {}
                Ok(other) => panic!("unexpected {other:?}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        drain(&stdout, &mut out);
        drain(&stderr, &mut err);
        Seen {
            evidence: evidence.expect("the loop ends with it"),
            stdout: out,
            stderr: err,
        }
    }

    /// Waits until a run has written something, without taking it.
    pub(crate) fn wait_for_output(&self, going: &Going) {
        let [stdout, _] = &going.outputs;
        wait(&[PollFd::new(stdout.as_fd(), PollFlags::POLLIN)]);
    }

    /// Ends a run as a cancelled job's is ended.
    pub(crate) fn cancel(&mut self, going: Going) -> Seen {
        let order = Order::Kill {
            slot: going.slot,
            run: going.run,
            why: Acted::Cancel,
        };
        self.send(&order, &[]);
        self.finish(going)
    }

    pub(crate) fn run(&mut self, attack: &Attack<'_>) -> Seen {
        let going = self.order(0, attack);
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

/// More than this is a flood.
const MOST_OUTPUT: usize = 1 << 20;

fn wait(waits: &[PollFd<'_>]) {
    let mut waits = waits.to_vec();
    let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
    let ready = poll(&mut waits, timeout).expect("a poll");
    assert_ne!(ready, 0, "nothing came for {PATIENCE:?}");
}

/// Takes what is there, and at most a little more than the output limit.
fn drain(mut stream: &File, into: &mut Vec<u8>) {
    let mut bytes = [0; 65_536];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) if into.len() <= MOST_OUTPUT => into.extend_from_slice(&bytes[..length]),
            Ok(_) => return,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

fn mounts() -> usize {
    std::fs::read_to_string("/proc/self/mountinfo")
        .expect("our mounts")
        .lines()
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
