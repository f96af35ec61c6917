//! Two workers behind a proxy, and whoever starts them again.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use jailfleet_harness::chaos::ChaosProxy;
use jailfleet_harness::poll_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{until_exported, until_ready};
use super::halts::Halts;
use super::matrix::Step;
use super::step::{Armed, Halted, How, frame};
use super::worker::{LONG, Worker, command, executable, processes_with};

/// What a worker ends with when its warden has gone.
const WARDEN_GONE: i32 = 4;

/// The worker that calls us at its halting points, with a warden beside it.
fn halting() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = executable().parent().expect("target/<profile>/");
        let target = folder.parent().expect("target/");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let built = command(env!("CARGO"))
            .args(["build", "--quiet", "--bin", "jailfleet-worker-halting"])
            .args(["--features", "halting-points", "--manifest-path", manifest])
            .arg("--target-dir")
            .arg(target)
            .status();
        assert!(
            built.expect("cargo starts").success(),
            "the worker does not build"
        );
        folder.join("jailfleet-worker-halting")
    })
}

/// One worker that runs.
struct Hand {
    worker: Worker,
    admin: String,
}

pub(crate) struct Pair {
    // In this order: who dies while a frame is held tells the proxy by that.
    hands: Vec<Hand>,
    frozen: Option<i32>,
    halts: Halts,
    proxy: ChaosProxy,
    uri: String,
}

impl Pair {
    pub(crate) async fn start(uri: &str) -> Self {
        let proxy = ChaosProxy::before(uri).expect("a proxy");
        let uri = proxy.uri(uri).expect("a URI");
        let halts = Halts::listen().await;
        let mut pair = Self {
            hands: Vec::new(),
            frozen: None,
            halts,
            proxy,
            uri,
        };
        pair.supervise();
        pair
    }

    /// Starts what is missing of the two.
    pub(crate) fn supervise(&mut self) {
        while self.hands.len() < 2 {
            let settings = [
                "worker.lanes.interactive=0",
                "amqp.heartbeat_s=2",
                "amqp.backoff_min_ms=50",
                "amqp.backoff_max_ms=500",
                "admin.listen=127.0.0.1:0",
            ];
            let arguments: Vec<&str> = settings.iter().flat_map(|set| ["--set", set]).collect();
            let halts = self.halts.address.to_string();
            let variables = [
                ("JAILFLEET__AMQP__URI", self.uri.as_str()),
                ("JAILFLEET_TEST_HALTS", halts.as_str()),
            ];
            let worker = Worker::start_of(halting(), &arguments, &variables);
            let admin = worker.says_its_admin_port();
            self.hands.push(Hand { worker, admin });
        }
    }

    /// Waits until both take jobs.
    pub(crate) async fn until_ready(&self) {
        for hand in &self.hands {
            until_ready(&hand.admin).await;
        }
    }

    /// Waits until none of those that are not frozen has a job or a busy slot.
    pub(crate) async fn until_idle(&self) {
        let awake = |hand: &&Hand| self.frozen != Some(hand.worker.pid().as_raw());
        for hand in self.hands.iter().filter(awake) {
            let idle = "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n";
            until_exported(&hand.admin, idle).await;
            until_exported(&hand.admin, "jailfleet_worker_slots_busy 0\n").await;
        }
    }

    /// Prepares to meet the job of this id at a step.
    pub(crate) fn arm(&self, step: Step, id: &str) -> Armed {
        let rule = frame(step).map(|(spot, mischief)| self.proxy.at(spot, mischief));
        match (step, rule) {
            (Step::Published | Step::Confirmed, Some(rule)) => Armed::Held(rule),
            (Step::Swept, Some(rule)) => Armed::PassedAndIdle(rule),
            (_, Some(rule)) => Armed::Passed(rule),
            (Step::Started, None) => Armed::Process,
            (_, None) => {
                self.halts.want(step.as_str(), id);
                Armed::Point
            }
        }
    }

    /// Waits until the job is there; `mark` is an argument that only its program has.
    pub(crate) async fn reached(&mut self, armed: Armed, mark: &str) -> Halted {
        let halted = |worker, how| Halted { worker, how };
        match armed {
            Armed::Point => {
                let call = self.halts.called().await;
                halted(call.pid, How::Called(call))
            }
            Armed::Process => halted(self.runner_of(mark), How::Free),
            Armed::Held(rule) => {
                let worker = named(&tokio::task::block_in_place(|| rule.struck(LONG)));
                halted(worker, How::Held(rule))
            }
            Armed::Passed(rule) => {
                let worker = named(&tokio::task::block_in_place(|| rule.struck(LONG)));
                halted(worker, How::Free)
            }
            Armed::PassedAndIdle(rule) => {
                let worker = named(&tokio::task::block_in_place(|| rule.struck(LONG)));
                let admin = &self.hand(worker).admin;
                until_exported(admin, "jailfleet_worker_slots_busy 0\n").await;
                halted(worker, How::Free)
            }
        }
    }

    /// The worker below whose warden a process with that argument runs.
    fn runner_of(&self, mark: &str) -> i32 {
        let mut found = None;
        let looking = poll_until("see the program run", LONG, || {
            let programs = processes_with(mark);
            found = programs.iter().find_map(|program| self.owner_of(program));
            Ok(found.is_some())
        });
        looking.expect("in time");
        found.expect("it was found")
    }

    fn owner_of(&self, process: &Path) -> Option<i32> {
        let mut pid: i32 = process.file_name()?.to_str()?.parse().ok()?;
        while pid > 1 {
            let warden = Pid::from_raw(pid);
            let mut hands = self.hands.iter();
            if let Some(owner) = hands.find(|hand| hand.worker.warden() == warden) {
                return Some(owner.worker.pid().as_raw());
            }
            pid = parent_of(pid)?;
        }
        None
    }

    fn hand(&self, pid: i32) -> &Hand {
        let mut hands = self.hands.iter();
        let hand = hands.find(|hand| hand.worker.pid().as_raw() == pid);
        hand.unwrap_or_else(|| panic!("{pid} is none of the two"))
    }

    fn take(&mut self, pid: i32) -> Worker {
        let at = self
            .hands
            .iter()
            .position(|hand| hand.worker.pid().as_raw() == pid);
        let at = at.unwrap_or_else(|| panic!("{pid} is none of the two"));
        self.hands.remove(at).worker
    }

    pub(crate) fn kill(&mut self, pid: i32) {
        let worker = self.take(pid);
        worker.signal(Signal::SIGKILL);
        let ended = tokio::task::block_in_place(|| worker.ends());
        assert_eq!(ended.code(), None, "{ended}");
    }

    pub(crate) fn kill_other_than(&mut self, pid: i32) {
        let mut pids = self.hands.iter().map(|hand| hand.worker.pid().as_raw());
        let other = pids.find(|other| *other != pid).expect("there are two");
        self.kill(other);
    }

    pub(crate) fn kill_warden_of(&self, pid: i32) {
        let warden = self.hand(pid).worker.warden();
        kill(warden, Signal::SIGKILL).expect("it is alive");
    }

    /// Waits for the end of a worker that has lost its warden.
    pub(crate) fn ends_without_warden(&mut self, pid: i32) {
        let worker = self.take(pid);
        let ended = tokio::task::block_in_place(|| worker.ends());
        assert_eq!(ended.code(), Some(WARDEN_GONE), "{ended}");
    }

    pub(crate) fn signal(&self, pid: i32, signal: Signal) {
        self.hand(pid).worker.signal(signal);
    }

    /// Waits until the broker has closed the connection that a worker consumes by. On the other one a frame may
    /// be held, and behind it nobody sees an end.
    pub(crate) fn until_given_up(&self, pid: i32) {
        let consuming = format!("jailfleet consume {pid}");
        let closed = || self.proxy.until_closed(&consuming, LONG);
        tokio::task::block_in_place(closed).expect("the broker misses its heartbeats");
    }

    /// Leaves it frozen until [`Self::thaw`].
    pub(crate) fn thaw_later(&mut self, pid: i32) {
        self.frozen = Some(pid);
    }

    pub(crate) fn thaw(&mut self) {
        if let Some(pid) = self.frozen.take() {
            self.signal(pid, Signal::SIGCONT);
        }
    }

    pub(crate) fn cut(&self, pid: i32) {
        assert!(self.proxy.cut(&format!(" {pid}")) > 0, "it has connections");
    }

    /// Everything that passed.
    pub(crate) fn report(&self) -> String {
        self.proxy.report()
    }

    /// Both stop, with nothing to complain of.
    pub(crate) fn stop(self) {
        for hand in self.hands {
            hand.worker.signal(Signal::SIGTERM);
            let ended = tokio::task::block_in_place(|| hand.worker.ends());
            assert_eq!(ended.code(), Some(0), "{ended}");
        }
    }
}

/// The parent of a process that has not ended.
fn parent_of(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent?.trim().parse().ok()
}

/// The pid at the end of a connection's name.
fn named(connection: &anyhow::Result<String>) -> i32 {
    let name = connection.as_ref().expect("the frame comes");
    let pid = name.rsplit(' ').next().and_then(|pid| pid.parse().ok());
    pid.unwrap_or_else(|| panic!("no pid in {name}"))
}

/// Time for the broker to tell us of a message that it has for us.
pub(crate) const SOON: Duration = Duration::from_millis(200);
