//! Three nodes that are one broker: the node of a producer and of its reply queue is killed, for a while and for
//! good, then the leader of the jobs queue under load, and then most of the nodes; nothing is lost, nobody sees a result twice, and
//! everybody says soon what he waits for.

mod balancer;
mod batch;
mod replies;
mod workers;

use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::Owned;
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use balancer::Balancer;
use batch::{Batch, job};
use jailfleet_harness::{Cluster, Release};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use workers::Listened;

const NODES: usize = 3;
const WORKERS: usize = 2;
const LANE: &str = "jailfleet.jobs.default.bulk";
/// Where results go that find no queue of their own.
const LOST: &str = "jailfleet.results.lost";
/// How long a new leader may take, and until sessions have found it.
const FAILOVER: Duration = Duration::from_secs(60);
/// How long nodes that come back may take until results come again.
const RECOVERY: Duration = Duration::from_secs(120);
/// How long a program may take until it says that the broker does not answer: a second, and its start on a
/// machine that is busy.
const WORD: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(50);
/// What each of them says then.
const SLOW: &str = "the broker takes longer than a second to answer";

/// Sends four batches of `count` jobs, and deals each one of the blows.
pub(crate) fn run(workspace: &Workspace, install: Install, count: usize) -> Result<()> {
    let needs = [Need::Pkill, Need::Rabbit, Need::Python, Need::Venv];
    needs::provide(&needs, install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("quorum")?;
    let release = Release::asked()?;
    println!(
        "Starting {NODES} RabbitMQ nodes ({}) as one broker (a minute) ...",
        release.as_str()
    );
    let cluster = Cluster::start(release, NODES)?;
    let ports = cluster.ports();
    // Workers come to the first node that lives, producers to the second: the leader of what workers make
    // and the home of a producer's reply queue are different nodes.
    let [first, producers, last] = *ports.as_slice() else {
        bail!("find {NODES} nodes: there are {}", ports.len());
    };
    let entry = Balancer::before(ports)?;
    let gateways = Balancer::before(vec![producers, first, last])?;
    let mut fleet = Fleet::before_cluster(workspace, &folder, cluster, entry.port());
    for _ in 0..WORKERS {
        let number = fleet.add_worker(with_short_heartbeats(embedded::worker(workspace)))?;
        wait_until_ready(&mut fleet, number)?;
    }
    let trial = Trial {
        workspace,
        producers,
        elsewhere: first,
        gateways: gateways.port(),
        folder,
        count,
    };
    // These two first: while the first node leads the jobs and has the workers, the death of the second one
    // makes no job run twice, which is counted.
    trial.lose_the_replies_for_a_while(&mut fleet)?;
    trial.lose_the_producers_node_for_good(&mut fleet)?;
    trial.kill_the_leader(&mut fleet)?;
    trial.lose_the_quorum(&mut fleet)?;
    fleet.stop()?;
    drop((entry, gateways));
    Ok(())
}

/// What all parts have in common.
struct Trial<'a> {
    workspace: &'a Workspace,
    /// The port at which producers come, that of node 1.
    producers: u16,
    /// That of another node.
    elsewhere: u16,
    /// The port before all nodes at which the gateway comes; it gets node 1 while that lives.
    gateways: u16,
    folder: PathBuf,
    count: usize,
}

impl Trial<'_> {
    fn kill_the_leader(&self, fleet: &mut Fleet) -> Result<()> {
        let mut batch = self.start(fleet, "leader", &[])?;
        batch.wait_for(self.count / 4, FAILOVER)?;
        let leader = fleet.cluster()?.leader(LANE)?;
        ensure!(leader != 1, "see the leader away from the producer's node");
        let before = batch.noted.received()?;
        fleet.cluster()?.kill(leader)?;
        println!("Killed node {leader}, the leader of {LANE}, after {before} results");
        let watch = Stopwatch::start();
        // More than could have been on their way.
        batch.wait_for(before + self.count / 4, FAILOVER)?;
        let next = fleet.cluster()?.leader(LANE)?;
        ensure!(next != leader, "see another leader than node {leader}");
        println!(
            "Node {next} leads; a quarter more was done {:?} later",
            watch.elapsed()
        );
        fleet.cluster()?.resume(&[leader])?;
        self.finish(fleet, batch)?;
        Ok(())
    }

    fn lose_the_quorum(&self, fleet: &mut Fleet) -> Result<()> {
        let mut batch = self.start(fleet, "quorum", &[])?;
        batch.wait_for(self.count / 4, FAILOVER)?;
        let workers = Listened::to_all(fleet)?;
        for node in [0, 2] {
            fleet.cluster()?.kill(node)?;
        }
        let lost = Stopwatch::start();
        println!(
            "Killed two of three nodes, after {} results",
            batch.noted.received()?
        );
        workers::hear(&workers, fleet, lost)?;
        let told = self.ask_everybody(fleet)?;
        println!("Resuming the two nodes ...");
        fleet.cluster()?.resume(&[0, 2])?;
        self.finish(fleet, batch)?;
        // Whoever had not given up has his answer now.
        for mut program in told {
            let status = program.owned.wait_within(RECOVERY)?;
            let status = status.with_context(|| format!("see {} end", program.name))?;
            println!(
                "{} ended with {status} once the nodes were back",
                program.name
            );
            ensure!(
                !program.must_succeed || status.success(),
                "have {} succeed at last:\n{}",
                program.name,
                program.words()?
            );
        }
        // It could not make its reply queue without a majority, and may have given up.
        let mut again = Owned::start("bulk", &mut self.late_bulk(fleet)?)?;
        let status = again.wait_within(RECOVERY)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "have the same bulk succeed at last: {status:?}"
        );
        Ok(())
    }

    /// Starts each command of the producer, and sees that each says soon what it waits for.
    fn ask_everybody(&self, fleet: &Fleet) -> Result<Vec<Asked>> {
        let code = self.folder.join("late.sh");
        std::fs::write(&code, "#!/bin/sh\necho late\n").context("write a program")?;
        write_jobs(&Batch::jobs(&self.folder, "late"), [job("late", 0)].iter())?;
        let producer = || self.at_the_producers_node(fleet.producer_command()?);
        let with = |arguments: &[&str]| {
            let mut command = producer()?;
            command.args(arguments);
            Ok::<Command, anyhow::Error>(command)
        };
        let submit = self.at_the_producers_node(fleet.submit_command(&code)?)?;
        let all = [
            ("submit", submit, true),
            ("bulk", self.late_bulk(fleet)?, false),
            ("cancel", with(&["cancel", "--batch", "nobody"])?, false),
            ("dead list", with(&["dead", "list"])?, false),
            ("lost list", with(&["lost", "list"])?, false),
        ];
        let mut asked = Vec::new();
        let mut table = Table::new(&["program", "after", "says"]);
        for (name, command, must_succeed) in all {
            let mut program = Asked::start(&self.folder, name, command, must_succeed)?;
            let (after, line) = program.first_word()?;
            table.row([name.to_owned(), format!("{after:.1?}"), line]);
            asked.push(program);
        }
        print!("{}", table.render());
        Ok(asked)
    }

    fn late_bulk(&self, fleet: &Fleet) -> Result<Command> {
        let mut bulk = self.at_the_producers_node(fleet.producer_command()?)?;
        bulk.arg("bulk").arg(Batch::jobs(&self.folder, "late"));
        bulk.arg("--results")
            .arg(self.folder.join("late.results.jsonl"));
        Ok(bulk)
    }

    /// Starts a batch at the producer's node, with more settings.
    fn start(&self, fleet: &Fleet, name: &'static str, more: &[&str]) -> Result<Batch> {
        let jobs: Vec<Value> = (0..self.count).map(|number| job(name, number)).collect();
        write_jobs(&Batch::jobs(&self.folder, name), jobs.iter())?;
        println!("Sending {} jobs to {WORKERS} workers ...", self.count);
        let mut producer = self.at_the_producers_node(fleet.producer_command()?)?;
        producer.args(more);
        Batch::start(&self.folder, name, producer)
    }

    fn at_the_producers_node(&self, mut program: Command) -> Result<Command> {
        program.env(
            "JAILFLEET__AMQP__URI",
            jailfleet_harness::uri_at(self.producers),
        );
        Ok(program)
    }

    /// Waits for the end of a batch, and sees that each job has its one right result.
    fn finish(&self, fleet: &mut Fleet, mut batch: Batch) -> Result<Batch> {
        batch.wait_for(self.count, RECOVERY)?;
        let [came, duplicates] = batch.end(fleet, self.count)?;
        println!(
            "{} jobs, {came} right results; on the way the producer dropped {duplicates} equal duplicates",
            self.count
        );
        batch::none_in(fleet, LOST)?;
        Ok(batch)
    }
}

/// A program that was started without a quorum.
struct Asked {
    name: &'static str,
    owned: Owned,
    log: PathBuf,
    must_succeed: bool,
}

impl Asked {
    fn start(
        folder: &Path,
        name: &'static str,
        mut command: Command,
        must_succeed: bool,
    ) -> Result<Self> {
        let log = folder.join(format!("{}.log", name.replace(' ', "-")));
        let file = File::create(&log).context("make a log")?;
        command
            .stdout(file.try_clone().context("make a log")?)
            .stderr(file);
        Ok(Self {
            name,
            owned: Owned::start(name, &mut command)?,
            log,
            must_succeed,
        })
    }

    /// How soon it says that the broker does not answer, or ends with a word, and the line.
    fn first_word(&mut self) -> Result<(Duration, String)> {
        let watch = Stopwatch::start();
        loop {
            let ended = self.owned.wait_within(LOOK)?;
            let words = self.words()?;
            let mut lines = words.lines();
            if let Some(line) = lines.find(|line| line.contains(SLOW)) {
                return Ok((watch.elapsed(), line.trim().to_owned()));
            }
            if let Some(status) = ended {
                let last = words.lines().last().unwrap_or_default();
                // 2 is for a wrong command line, and an end without a word of the broker tells nobody anything.
                let tells = status.success() || last.contains("broker") || last.contains("queue");
                ensure!(
                    tells && status.code() != Some(2),
                    "hear {} say what is wrong: it ended with {status}: {words:?}",
                    self.name
                );
                return Ok((watch.elapsed(), format!("ended with {status}: {last}")));
            }
            if watch.elapsed() >= WORD {
                bail!(
                    "hear {} within {WORD:?} that nothing answers: {words:?}",
                    self.name
                );
            }
        }
    }

    fn words(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("read what a program said")
    }
}

/// Short ones, so that a node that dies without a word is missed soon.
fn with_short_heartbeats(mut worker: Command) -> Command {
    worker.args(["--set", "amqp.heartbeat_s=2"]);
    worker
}

/// Waits until a worker takes jobs: by then it has made the queues.
fn wait_until_ready(fleet: &mut Fleet, number: usize) -> Result<()> {
    let address = fleet.wait_for_admin_port(number)?;
    let watch = Stopwatch::start();
    while crate::http::get(&address, "/readyz").is_err() {
        ensure!(
            watch.elapsed() < FAILOVER,
            "see worker {number} ready within {FAILOVER:?}"
        );
        // The wait paces the question.
        if let Some(status) = fleet.living(number)?.wait_within(LOOK)? {
            bail!("keep worker {number}: it ended with {status}");
        }
    }
    Ok(())
}
