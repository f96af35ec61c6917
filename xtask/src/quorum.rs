//! Three nodes that are one broker: the leader of the jobs queue is killed under load, and then most of the
//! nodes; nothing is lost, nobody sees a result twice, and everybody says soon what he waits for.

mod balancer;

use crate::answer::{self, Answers};
use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::noted::{self, Noted};
use crate::programs::Owned;
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use balancer::Balancer;
use jailfleet_harness::{Cluster, Release};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const NODES: usize = 3;
const WORKERS: usize = 2;
const LANE: &str = "jailfleet.jobs.default.bulk";
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

/// Sends two batches of `count` jobs, and deals each one of the two blows.
pub(crate) fn run(workspace: &Workspace, install: Install, count: usize) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
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
    let (entry, middle) = (ports.clone(), ports.get(1).copied());
    let entry = Balancer::before(entry)?;
    let producers = middle.context("find the second node")?;
    let mut fleet = Fleet::before_cluster(workspace, &folder, cluster, entry.port());
    for _ in 0..WORKERS {
        let number = fleet.add_worker(with_short_heartbeats(embedded::worker(workspace)))?;
        wait_until_ready(&mut fleet, number)?;
    }
    let trial = Trial {
        producers,
        folder,
        count,
    };
    trial.kill_the_leader(&mut fleet)?;
    trial.lose_the_quorum(&mut fleet)?;
    fleet.stop()?;
    drop(entry);
    Ok(())
}

/// What both halves have in common.
struct Trial {
    /// The port at which producers come.
    producers: u16,
    folder: PathBuf,
    count: usize,
}

/// A batch under way.
struct Batch {
    name: &'static str,
    bulk: Owned,
    noted: Noted,
    results: PathBuf,
    summary: PathBuf,
}

impl Trial {
    fn kill_the_leader(&self, fleet: &mut Fleet) -> Result<()> {
        let mut batch = self.start(fleet, "leader", self.count)?;
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
        self.finish(fleet, batch)
    }

    fn lose_the_quorum(&self, fleet: &mut Fleet) -> Result<()> {
        let mut batch = self.start(fleet, "quorum", self.count)?;
        batch.wait_for(self.count / 4, FAILOVER)?;
        for node in [0, 2] {
            fleet.cluster()?.kill(node)?;
        }
        println!(
            "Killed two of three nodes, after {} results",
            batch.noted.received()?
        );
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
        Ok(())
    }

    /// Starts each command of the producer, and sees that each says soon what it waits for.
    fn ask_everybody(&self, fleet: &Fleet) -> Result<Vec<Asked>> {
        let code = self.folder.join("late.sh");
        std::fs::write(&code, "#!/bin/sh\necho late\n").context("write a program")?;
        let late = self.folder.join("late.jsonl");
        write_jobs(&late, [job("late", 0)].iter())?;
        let producer = || self.at_the_producers_node(fleet.producer_command()?);
        let with = |arguments: &[&str]| {
            let mut command = producer()?;
            command.args(arguments);
            Ok::<Command, anyhow::Error>(command)
        };
        let mut bulk = producer()?;
        bulk.arg("bulk").arg(&late).arg("--results");
        bulk.arg(self.folder.join("late.results.jsonl"));
        let submit = self.at_the_producers_node(fleet.submit_command(&code)?)?;
        let all = [
            ("submit", submit, true),
            ("bulk", bulk, true),
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

    fn start(&self, fleet: &Fleet, name: &'static str, count: usize) -> Result<Batch> {
        let file = self.folder.join(format!("{name}.jsonl"));
        let results = self.folder.join(format!("{name}.results.jsonl"));
        let summary = self.folder.join(format!("{name}.summary.json"));
        let jobs: Vec<Value> = (0..count).map(|number| job(name, number)).collect();
        write_jobs(&file, jobs.iter())?;
        println!("Sending {count} jobs to {WORKERS} workers ...");
        let mut bulk = self.at_the_producers_node(fleet.producer_command()?)?;
        bulk.arg("bulk").arg(&file).arg("--results").arg(&results);
        let output = File::create(&summary).context("make a file for the summary")?;
        bulk.arg("--json").stdout(output);
        Ok(Batch {
            name,
            bulk: Owned::start("jailfleet-producer bulk", &mut bulk)?,
            noted: Noted::of(&results),
            results,
            summary,
        })
    }

    fn at_the_producers_node(&self, mut program: Command) -> Result<Command> {
        program.env(
            "JAILFLEET__AMQP__URI",
            jailfleet_harness::uri_at(self.producers),
        );
        Ok(program)
    }

    /// Waits for the end of a batch, and sees that each job has its one right result.
    fn finish(&self, fleet: &mut Fleet, mut batch: Batch) -> Result<()> {
        batch.wait_for(self.count, RECOVERY)?;
        let answers: Answers = fleet.finish_bulk(&mut batch.bulk, &batch.results)?;
        for number in 0..self.count {
            let id = id(batch.name, number);
            let result = answers.get(&id);
            let result = result.with_context(|| format!("find the result of {id}"))?;
            let right = answer::summary(result) == "exited 0"
                && answer::text(result, "stdout") == format!("{number}\n");
            ensure!(right, "get the right answer of {id}: {result}");
        }
        let [duplicates, conflicts] = noted::counts(&batch.summary, ["duplicates", "conflicts"])?;
        ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
        ensure!(
            answers.len() == self.count,
            "get {} results: {} came",
            self.count,
            answers.len()
        );
        println!(
            "{} jobs, {} right results; on the way the producer dropped {duplicates} equal duplicates",
            self.count,
            answers.len()
        );
        Ok(())
    }
}

impl Batch {
    /// Waits until the producer has so many results; each must come `within` that time of the one before.
    fn wait_for(&mut self, wanted: usize, within: Duration) -> Result<()> {
        let (mut last, mut moved) = (0, Stopwatch::start());
        loop {
            let received = self.noted.received()?;
            if received >= wanted {
                return Ok(());
            }
            if received > last {
                (last, moved) = (received, Stopwatch::start());
            }
            ensure!(
                moved.elapsed() < within,
                "see more than {received} results of {} within {within:?}",
                self.name
            );
            if let Some(status) = self.bulk.wait_within(LOOK)? {
                let received = self.noted.received()?;
                ensure!(
                    received >= wanted,
                    "get {wanted} results: the producer ended with {status} after {received}"
                );
            }
        }
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

fn id(batch: &str, number: usize) -> String {
    format!("{batch}.{number}")
}

fn job(batch: &str, number: usize) -> Value {
    json!({
        "v": 1,
        "id": id(batch, number),
        "runtime": "native",
        "code": format!("#!/bin/sh\nsleep 0.02; echo {number}\n"),
    })
}
