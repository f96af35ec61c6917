//! The node at which a producer is connected, and that leads its reply queue, is killed while results are
//! awaited.

use super::batch::{self, Batch};
use super::{FAILOVER, LANE, LOOK, LOST, RECOVERY, Trial, WORKERS};
use crate::clock::Stopwatch;
use crate::fleet::Fleet;
use crate::http;
use crate::programs::Owned;
use crate::python;
use anyhow::{Context, Result, ensure};
use jailfleet_harness::uri_at;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The node of producers.
const HOME: usize = 1;
/// How long a producer waits for a broker that does not come back: longer than a new leader takes.
const PATIENCE: &str = "producer.idle_timeout_ms=10000";
/// What `bulk` ends with when it gave up.
const GAVE_UP: i32 = 3;
/// What the gateway is asked: `y = x + 1` with an `x` of 16.
const CALL: &str =
    "payload=%7B%22code%22%3A%22y+%3D+x+%2B+1%22%2C%22globals_dict%22%3A%7B%22x%22%3A16%7D%7D";
/// How long a gateway may take to answer: until its own connection is made anew, and its caller's time.
const GATEWAY: Duration = Duration::from_secs(60);

impl Trial<'_> {
    /// The node comes back while the producer still waits.
    pub(super) fn lose_the_replies_for_a_while(&self, fleet: &mut Fleet) -> Result<()> {
        let mut gateway = Gateway::start(self, fleet)?;
        gateway.wait_for_an_answer()?;
        let ran = finished(fleet)?;
        let mut python = Script::start(self, fleet)?;
        python.wait_for_more()?;
        let mut batch = self.start(fleet, "while", &[])?;
        self.kill_its_home(fleet, &mut batch)?;
        let after = gateway.wait_for_an_answer()?;
        println!("The gateway, which was connected there too, answered {after:.1?} later");
        let after = python.wait_for_more()?;
        println!("A Python client, as well, had answers {after:.1?} after that");
        wait_until_all_ran(fleet)?;
        let heard = batch.noted.received()?;
        ensure!(heard < self.count, "leave results to be heard of: {heard}");
        println!("All jobs have run; the producer knows of {heard}. Resuming the node ...");
        fleet.cluster()?.resume(&[HOME])?;
        self.finish(fleet, batch)?;
        self.each_ran_once(fleet, ran)?;
        python.stop()?;
        gateway.stop()
    }

    /// The node does not come back: the producer gives up in words, and goes on by the same command at another node.
    pub(super) fn lose_the_producers_node_for_good(&self, fleet: &mut Fleet) -> Result<()> {
        let ran = finished(fleet)?;
        let mut batch = self.start(fleet, "gone", &["--set", PATIENCE])?;
        self.kill_its_home(fleet, &mut batch)?;
        let status = batch.bulk.wait_within(RECOVERY)?;
        let code = status.and_then(|status| status.code());
        let words = batch.words()?;
        ensure!(
            code == Some(GAVE_UP),
            "see the producer give up with {GAVE_UP}: {status:?}\n{words}"
        );
        let last = words.lines().rfind(|line| line.contains("gave up"));
        let last = last.with_context(|| format!("hear that it gave up:\n{words}"))?;
        for part in ["Connection refused", "any node", "same command goes on"] {
            ensure!(last.contains(part), "hear {part:?}: {last}");
        }
        println!("It ended with {GAVE_UP}: {last}");
        wait_until_all_ran(fleet)?;
        let mut producer = fleet.producer_command()?;
        producer.env("JAILFLEET__AMQP__URI", uri_at(self.elsewhere));
        let batch = Batch::start(&self.folder, "gone", producer)?;
        println!("The same command, at another node ...");
        let batch = self.finish(fleet, batch)?;
        let [published] = batch.counts(["published"])?;
        ensure!(published == 0, "publish nothing again: {published}");
        self.each_ran_once(fleet, ran)?;
        fleet.cluster()?.resume(&[HOME])
    }

    /// Kills the producer's node once all jobs are the broker's and some results are there.
    fn kill_its_home(&self, fleet: &mut Fleet, batch: &mut Batch) -> Result<()> {
        batch.wait_for_taken(self.count, FAILOVER)?;
        batch.wait_for(self.count / 8, FAILOVER)?;
        let queue = format!("jailfleet.reply.{}", batch.noted.reply()?);
        let cluster = fleet.cluster()?;
        let leads = cluster.leader(&queue)?;
        ensure!(leads == HOME, "see {queue} led by node {HOME}: by {leads}");
        ensure!(cluster.leader(LANE)? != HOME, "see {LANE} led elsewhere");
        let before = batch.noted.received()?;
        cluster.kill(HOME)?;
        println!("Killed node {HOME}, the leader of {queue}, after {before} results");
        Ok(())
    }

    fn each_ran_once(&self, fleet: &mut Fleet, before: usize) -> Result<()> {
        batch::none_in(fleet, LOST)?;
        let ran = finished(fleet)? - before;
        ensure!(ran == self.count, "run {} jobs once: {ran} ran", self.count);
        Ok(())
    }
}

/// Waits until no job is queued or held by a worker.
fn wait_until_all_ran(fleet: &mut Fleet) -> Result<()> {
    let (mut last, mut moved) = (u64::MAX, Stopwatch::start());
    loop {
        let left = fleet.jobs_queued()?;
        if left == 0 {
            return Ok(());
        }
        if left < last {
            (last, moved) = (left, Stopwatch::start());
        }
        ensure!(moved.elapsed() < FAILOVER, "see {left} jobs become fewer");
        fleet.let_pass(LOOK)?;
    }
}

/// How many jobs of the bulk lane came to an outcome on all workers.
fn finished(fleet: &Fleet) -> Result<usize> {
    let mut all = 0;
    for number in 1..=WORKERS {
        for line in fleet.metrics(number)?.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if series.starts_with("jailfleet_jobs_finished_total{") && series.contains("\"bulk\"") {
                let value: usize = value.parse().with_context(|| format!("read {line}"))?;
                all += value;
            }
        }
    }
    Ok(all)
}

/// `jailfleet-producer serve`.
struct Gateway {
    owned: Owned,
    log: PathBuf,
}

impl Gateway {
    fn start(trial: &Trial<'_>, fleet: &Fleet) -> Result<Self> {
        let log = trial.folder.join("gateway.log");
        let file = File::create(&log).context("make a log")?;
        let mut serve: Command = fleet.producer_command()?;
        serve.env("JAILFLEET__AMQP__URI", uri_at(trial.gateways));
        serve.arg("serve");
        for key in ["serve.listen", "serve.admin_listen"] {
            serve.arg("--set").arg(format!("{key}=127.0.0.1:0"));
        }
        let owned = Owned::start("jailfleet-producer serve", serve.stderr(file))?;
        Ok(Self { owned, log })
    }

    /// Asks until it answers rightly, and says how long that took.
    fn wait_for_an_answer(&mut self) -> Result<Duration> {
        let watch = Stopwatch::start();
        loop {
            let trouble = match self.ask() {
                Ok(()) => return Ok(watch.elapsed()),
                Err(error) => error,
            };
            let ended = self.owned.wait_within(LOOK)?;
            if ended.is_some() || watch.elapsed() >= GATEWAY {
                let words = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(trouble.context(format!("have the gateway answer:\n{words}")));
            }
        }
    }

    fn ask(&self) -> Result<()> {
        let words = std::fs::read_to_string(&self.log).context("read what the gateway said")?;
        let address = words
            .split_once("interface at http://")
            .and_then(|(_, rest)| rest.split(',').next());
        let address = address.context("find the gateway's address")?;
        let answer = http::post(address, "/api/v0/code-exec", CALL)?;
        ensure!(answer.contains("\"y\":17"), "get a y of 17: {answer}");
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        let status = self.owned.terminate(GATEWAY)?;
        ensure!(status.success(), "stop the gateway in peace: {status}");
        Ok(())
    }
}

/// A Python client that sends jobs all the time.
struct Script {
    owned: Owned,
    log: PathBuf,
}

impl Script {
    fn start(trial: &Trial<'_>, fleet: &Fleet) -> Result<Self> {
        let log = trial.folder.join("python.log");
        let file = File::create(&log).context("make a log")?;
        let mut script = python::script(trial.workspace, "through_a_cluster.py")?;
        fleet.mark(&mut script)?;
        script.env("JAILFLEET__AMQP__URI", uri_at(trial.gateways));
        script.stdout(file.try_clone().context("make a log")?);
        let owned = Owned::start("a Python client", script.stderr(file))?;
        Ok(Self { owned, log })
    }

    /// Waits until it has more answers than could have been on their way.
    fn wait_for_more(&mut self) -> Result<Duration> {
        const MORE: usize = 20;
        let watch = Stopwatch::start();
        let before = self.answers()?;
        while self.answers()? < before + MORE {
            let ended = self.owned.wait_within(LOOK)?;
            ensure!(
                ended.is_none() && watch.elapsed() < FAILOVER,
                "have a Python client get answers: {ended:?}\n{}",
                self.words()?
            );
        }
        Ok(watch.elapsed())
    }

    /// A line with a number for each; what else there is warns of connections.
    fn answers(&self) -> Result<usize> {
        let words = self.words()?;
        let numbers = words.lines().filter(|line| line.parse::<usize>().is_ok());
        Ok(numbers.count())
    }

    fn words(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("read what a Python client said")
    }

    fn stop(mut self) -> Result<()> {
        let status = self.owned.terminate(GATEWAY)?;
        let words = self.words()?;
        ensure!(status.success(), "stop a Python client: {status}\n{words}");
        Ok(())
    }
}
