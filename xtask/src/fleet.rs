//! A RabbitMQ node of our own, or several, workers that take from it, and the producer that sends to it.

use crate::answer::{self, Answers};
use crate::clock::Stopwatch;
use crate::embedded;
use crate::http;
use crate::programs::{Owned, capture, command};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::{Broker, Cluster, PASSWORD};
use nodes::Nodes;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

mod nodes;

/// How long a worker may take to drain: longer than the longest job that we send.
const DRAIN: Duration = Duration::from_secs(40);

/// What a worker ends with when its warden has gone.
const WARDEN_GONE: i32 = 4;

/// How long a worker may take from its start to its open admin port.
const START: Duration = Duration::from_secs(60);
/// How long it may be between two looks into its log.
const LOOK: Duration = Duration::from_millis(50);

/// A broker and its workers; all end when it is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    // The order matters: workers go before the broker that they talk to.
    workers: BTreeMap<usize, Owned>,
    started: usize,
    nodes: Nodes,
    folder: PathBuf,
    producer: PathBuf,
}

impl Fleet {
    /// Starts a broker and `count` workers, whose logs go to `folder`; `complete` adds to a worker's
    /// command line.
    pub(crate) fn start(
        workspace: &Workspace,
        folder: &Path,
        count: usize,
        complete: impl Fn(Command) -> Command,
    ) -> Result<Self> {
        println!("Starting a RabbitMQ node of our own (10 to 20 s) ...");
        let mut fleet = Self::before(workspace, folder, Nodes::One(Broker::own()?));
        for _ in 0..count {
            fleet.add_worker(complete(embedded::worker(workspace)))?;
        }
        Ok(fleet)
    }

    /// A fleet without workers before nodes that are up; its programs find them behind the port `entry`.
    pub(crate) fn before_cluster(
        workspace: &Workspace,
        folder: &Path,
        cluster: Cluster,
        entry: u16,
    ) -> Self {
        Self::before(workspace, folder, Nodes::Several { cluster, entry })
    }

    fn before(workspace: &Workspace, folder: &Path, nodes: Nodes) -> Self {
        Self {
            workers: BTreeMap::new(),
            started: 0,
            nodes,
            folder: folder.to_path_buf(),
            producer: workspace.release("jailfleet-producer"),
        }
    }

    /// The nodes of a cluster.
    pub(crate) fn cluster(&mut self) -> Result<&mut Cluster> {
        match &mut self.nodes {
            Nodes::Several { cluster, .. } => Ok(cluster),
            Nodes::One(_) => bail!("find a cluster: there is one node"),
        }
    }

    /// Starts one worker more, by a command of [`embedded::worker`]; returns its number, counted from 1.
    pub(crate) fn add_worker(&mut self, mut worker: Command) -> Result<usize> {
        let number = self.started + 1;
        let log = self.log(number);
        let file = File::create(&log).with_context(|| format!("make the log {}", log.display()))?;
        self.point_at_broker(&mut worker)?;
        let worker = worker.stdout(file.try_clone()?).stderr(file);
        let worker = Owned::start(&format!("worker {number}"), worker)?;
        self.workers.insert(number, worker);
        self.started = number;
        Ok(number)
    }

    /// The numbers of the workers that have not been ended.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.workers.keys().copied().collect()
    }

    /// A worker by its number; an error with its last words when it has ended by itself.
    pub(crate) fn living(&mut self, number: usize) -> Result<&mut Owned> {
        let words = self.last_words(number);
        let worker = self.workers.get_mut(&number).context("find the worker")?;
        match worker.wait_within(Duration::ZERO)? {
            None => Ok(worker),
            Some(status) => bail!("keep worker {number}: it ended with {status}\n{words}"),
        }
    }

    /// Kills the worker that has this pid.
    pub(crate) fn kill_worker_with(&mut self, pid: u32) -> Result<()> {
        let mut numbers = self.workers.iter();
        let number = numbers.find(|(_, worker)| worker.pid() == pid);
        let number = number.map(|(number, _)| *number);
        self.kill_worker(number.context("find the worker by its pid")?)
    }

    /// Kills a worker.
    pub(crate) fn kill_worker(&mut self, number: usize) -> Result<()> {
        self.living(number)?.kill()?;
        self.workers.remove(&number);
        Ok(())
    }

    /// Kills the warden of a worker, which must then end with the exit code for it.
    pub(crate) fn kill_warden(&mut self, number: usize) -> Result<()> {
        let log = std::fs::read_to_string(self.log(number)).context("read a worker's log")?;
        let warden = log
            .split_once("warden=")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        let warden = warden.context("find the warden's pid in the worker's log")?;
        let worker = self.living(number)?;
        worker.kill_child(warden)?;
        let status = worker.wait_within(DRAIN)?;
        let code = status.and_then(|status| status.code());
        ensure!(
            code == Some(WARDEN_GONE),
            "see worker {number} end with {WARDEN_GONE} after its warden: {status:?}\n{}",
            self.last_words(number)
        );
        self.workers.remove(&number);
        Ok(())
    }

    /// Stops the broker in peace and starts it again, on the same port and with the same data.
    pub(crate) fn restart_broker(&mut self) -> Result<()> {
        let broker = self.nodes.one()?;
        broker.halt()?;
        broker.resume()
    }

    /// How many messages are in each queue.
    pub(crate) fn depths(&self) -> Result<BTreeMap<String, u64>> {
        self.nodes.depths()
    }

    /// How many jobs are in the queue of the bulk lane, those included that a worker holds.
    pub(crate) fn jobs_queued(&self) -> Result<u64> {
        let depths = self.depths()?;
        let depth = depths.get("jailfleet.jobs.default.bulk").copied();
        depth.with_context(|| format!("find the bulk lane in {depths:?}"))
    }

    /// Has a program end with the broker when we are killed.
    pub(crate) fn mark(&self, program: &mut Command) -> Result<()> {
        self.nodes.mark(program)
    }

    /// Tells a program where our broker is.
    pub(crate) fn point_at_broker(&self, program: &mut Command) -> Result<()> {
        self.nodes.mark(program)?;
        program.env("JAILFLEET__AMQP__URI", self.nodes.uri());
        Ok(())
    }

    /// The URI of a new user of the broker, with the rights of a producer that `topology --rights` prints
    /// and nothing more.
    pub(crate) fn uri_of_a_producer(&mut self, workspace: &Workspace) -> Result<String> {
        let mut rights = embedded::worker(workspace);
        let rights = capture("topology", rights.args(["topology", "--rights"]))?;
        let words = rights
            .lines()
            .filter(|line| line.starts_with("rabbitmqctl set_permissions "))
            .map(|line| line.split('\'').skip(1).step_by(2).collect::<Vec<_>>())
            .find(|words| words.get(1) == Some(&"jailfleet-producer"));
        let words = words.context("find the rights of a producer")?;
        let [vhost, user, rights @ ..] = words.as_slice() else {
            bail!("read the rights of a producer: {words:?}");
        };
        let broker = self.nodes.one()?;
        broker.ctl(&["add_user", user, PASSWORD])?;
        let permit = ["set_permissions", "--vhost", vhost, user];
        broker.ctl(&[&permit, rights].concat())?;
        let login = format!("//{user}:{PASSWORD}@");
        Ok(broker.uri(vhost).replace("//guest:guest@", &login))
    }

    /// Deletes a queue that is meant to outlive its readers.
    pub(crate) fn delete_queue(&mut self, queue: &str) -> Result<()> {
        self.nodes.one()?.ctl(&["delete_queue", queue]).map(drop)
    }

    /// Sends the jobs of a file and returns their results.
    pub(crate) fn bulk(&mut self, jobs: &Path, results: &Path) -> Result<Answers> {
        let mut producer = self.start_bulk(jobs, results)?;
        self.finish_bulk(&mut producer, results)
    }

    /// The same of a file with lines that the producer itself refuses: passes them over, and
    /// returns what it said, too.
    pub(crate) fn bulk_with_bad_lines(
        &mut self,
        jobs: &Path,
        results: &Path,
    ) -> Result<(Answers, String)> {
        let log = self.folder.join("producer.log");
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut bulk = self.bulk_command(jobs, results)?;
        bulk.arg("--skip-bad").stderr(file);
        let mut bulk = Owned::start("jailfleet-producer bulk", &mut bulk)?;
        let answers = self.finish_bulk(&mut bulk, results);
        let words = std::fs::read_to_string(&log).context("read what the producer said")?;
        answers
            .map(|answers| (answers, words.clone()))
            .with_context(|| words)
    }

    /// Starts to send the jobs of a file.
    pub(crate) fn start_bulk(&self, jobs: &Path, results: &Path) -> Result<Owned> {
        Owned::start(
            "jailfleet-producer bulk",
            &mut self.bulk_command(jobs, results)?,
        )
    }

    /// The same, with the summary as one JSON object in `summary`.
    pub(crate) fn start_counted_bulk(
        &self,
        jobs: &Path,
        results: &Path,
        summary: &Path,
    ) -> Result<Owned> {
        let file = File::create(summary).with_context(|| format!("make {}", summary.display()))?;
        let mut bulk = self.bulk_command(jobs, results)?;
        Owned::start("jailfleet-producer bulk", bulk.arg("--json").stdout(file))
    }

    /// Runs one program in the interactive lane and returns what it printed.
    pub(crate) fn submit(&self, code: &Path) -> Result<String> {
        let mut submit = self.submit_command(code)?;
        capture("jailfleet-producer submit", &mut submit)
    }

    /// The command that runs one program in the interactive lane.
    pub(crate) fn submit_command(&self, code: &Path) -> Result<Command> {
        let mut submit = self.producer_command()?;
        submit.args(["submit", "--runtime", "native", "--code"]);
        submit.arg(code);
        Ok(submit)
    }

    fn bulk_command(&self, jobs: &Path, results: &Path) -> Result<Command> {
        let mut bulk = self.producer_command()?;
        bulk.arg("bulk").arg(jobs).arg("--results").arg(results);
        Ok(bulk)
    }

    /// The producer's program, which knows where the broker is.
    pub(crate) fn producer_command(&self) -> Result<Command> {
        let mut producer = command(&self.producer);
        self.point_at_broker(&mut producer)?;
        Ok(producer)
    }

    /// Waits for the end of [`Self::start_bulk`], and gives up as soon as all workers are gone.
    pub(crate) fn finish_bulk(&mut self, bulk: &mut Owned, results: &Path) -> Result<Answers> {
        loop {
            if let Some(status) = bulk.wait_within(Duration::from_secs(1))? {
                // Its exit code also says that jobs failed, which ours shall; the answers decide.
                return answer::read_all(results)
                    .with_context(|| format!("use a bulk that ended with {status}"));
            }
            self.somebody_works()?;
        }
    }

    /// Lets time pass in which the workers have nothing to do, and must all stay.
    pub(crate) fn let_pass(&mut self, span: Duration) -> Result<()> {
        let numbers = self.numbers();
        ensure!(!numbers.is_empty(), "find a worker");
        let watch = Stopwatch::start();
        for number in numbers {
            // The wait for the first one lets the time pass; the others are only looked at then.
            let worker = self.workers.get_mut(&number).context("find the worker")?;
            if let Some(status) = worker.wait_within(watch.left_of(span))? {
                bail!(
                    "keep worker {number}: it ended with {status}\n{}",
                    self.last_words(number)
                );
            }
        }
        Ok(())
    }

    fn somebody_works(&mut self) -> Result<()> {
        let mut ended = 0;
        for worker in self.workers.values_mut() {
            ended += usize::from(worker.wait_within(Duration::ZERO)?.is_some());
        }
        if ended < self.workers.len() {
            return Ok(());
        }
        bail!(
            "keep a worker running; the last words of the first one:\n{}",
            self.workers
                .keys()
                .next()
                .map_or_else(String::new, |number| self.last_words(*number))
        )
    }

    /// Asks worker `number` (from 1) to drain and checks that it did so cleanly.
    pub(crate) fn drain_worker(&mut self, number: usize) -> Result<()> {
        let worker = self.workers.get(&number);
        worker.context("find the worker to drain")?.signal_term()?;
        self.wait_for_drained(number)
    }

    /// Waits for a worker that was asked to drain. It is not asked again: it would take that as an order
    /// to kill what runs.
    fn wait_for_drained(&mut self, number: usize) -> Result<()> {
        let worker = self.workers.get_mut(&number);
        let worker = worker.context("find the worker that drains")?;
        let status = worker.wait_within(DRAIN)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "drain worker {number} within {DRAIN:?}: it ended with {status:?}\n{}",
            self.last_words(number)
        );
        self.workers.remove(&number);
        Ok(())
    }

    /// Stops the workers, each of which must drain cleanly.
    pub(crate) fn drain(&mut self) -> Result<()> {
        for worker in self.workers.values() {
            worker.signal_term()?;
        }
        for number in self.numbers() {
            self.wait_for_drained(number)?;
        }
        Ok(())
    }

    /// Stops the workers, each of which must drain cleanly, and then the broker, in which no queue
    /// of a producer may be left.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.drain()?;
        let queues = self.depths()?;
        let left: Vec<(&String, &u64)> = queues
            .iter()
            .filter(|(queue, _)| queue.starts_with("jailfleet.reply."))
            .collect();
        ensure!(left.is_empty(), "leave no reply queue behind: {left:?}");
        self.nodes.end()
    }

    /// The pids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers.values().map(Owned::pid).collect()
    }

    /// Where worker `number` (from 1) has its admin port, once it is open.
    pub(crate) fn wait_for_admin_port(&mut self, number: usize) -> Result<String> {
        let watch = Stopwatch::start();
        loop {
            if let Some(address) = self.admin_address(number)? {
                return Ok(address);
            }
            let worker = self.workers.get_mut(&number);
            // The wait paces the look into the log.
            let ended = worker.context("find the worker")?.wait_within(LOOK)?;
            let words = || self.last_words(number);
            if let Some(status) = ended {
                bail!("keep worker {number}: it ended with {status}\n{}", words());
            }
            ensure!(watch.elapsed() < START, "see an admin port\n{}", words());
        }
    }

    fn admin_address(&self, number: usize) -> Result<Option<String>> {
        let log = std::fs::read_to_string(self.log(number)).context("read a worker's log")?;
        let mut lines = log
            .lines()
            .filter(|line| line.contains("the admin port is open"));
        let address =
            lines.find_map(|line| line.split_once("address=")?.1.split_whitespace().next());
        Ok(address.map(str::to_owned))
    }

    /// What worker `number` (from 1) exports, in Prometheus' text format.
    pub(crate) fn metrics(&self, number: usize) -> Result<String> {
        let address = self.admin_address(number)?;
        let address = address.context("find the address of the admin port in the worker's log")?;
        http::get(&address, "/metrics")
    }

    /// Where worker `number` (from 1) writes its log.
    pub(crate) fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("worker-{number}.log"))
    }

    fn last_words(&self, number: usize) -> String {
        let text = std::fs::read_to_string(self.log(number)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines
            .into_iter()
            .rev()
            .map(|line| format!("    {line}\n"))
            .collect()
    }
}
