//! Three RabbitMQ nodes on loopback that are one broker, and of which any can be killed.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::{DEPTHS, read_depths};
use crate::place::Place;
use crate::process::{Owned, capture, poll_until};
use crate::release::Release;
use crate::watcher::{Watcher, mark};

/// Three nodes at once on two cores, which are busy with other things besides.
const START: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(30);

/// A cluster of our own; all of it ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // In this order: the nodes end before their name server, and all before the folder goes.
    processes: Vec<Option<Owned>>,
    _epmd: Owned,
    // Those beside the first one lie in its folder.
    places: Vec<Place>,
    _watcher: Watcher,
}

impl Cluster {
    /// Starts `count` nodes and joins them.
    ///
    /// # Errors
    /// When RabbitMQ is missing and may not be installed, or a node does not start or join.
    pub fn start(release: Release, count: usize) -> Result<Self> {
        release.provide()?;
        let first = Place::new(release)?;
        let watcher = Watcher::over(&first.folder)?;
        let log = append_to(&first.folder.join("epmd.log"))?;
        let mut epmd = first.epmd()?;
        let epmd = Owned::start("epmd", epmd.stdout(log.try_clone()?).stderr(log))?;
        let mut places = vec![first];
        let mut processes = vec![None];
        while places.len() < count {
            let first = places.first().context("find the first node")?;
            places.push(first.beside()?);
            processes.push(None);
        }
        let mut cluster = Self {
            processes,
            _epmd: epmd,
            places,
            _watcher: watcher,
        };
        // The first one makes the cookie that all share.
        cluster.resume(&[0])?;
        let others: Vec<usize> = (1..count).collect();
        cluster.resume(&others)?;
        let first = cluster.place(0)?.node.clone();
        for number in others {
            cluster.ctl_at(number, &["stop_app"])?;
            cluster.ctl_at(number, &["reset"])?;
            cluster.ctl_at(number, &["join_cluster", &first])?;
            cluster.ctl_at(number, &["start_app"])?;
        }
        Ok(cluster)
    }

    /// Where each node listens, in their order.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.places.iter().map(|place| place.port).collect()
    }

    /// The URI of the default vhost at one node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn uri(&self, number: usize) -> Result<String> {
        Ok(uri_at(self.place(number)?.port))
    }

    /// Has a program that talks to these nodes end with them when we are killed.
    ///
    /// # Errors
    /// When there is no node.
    pub fn mark<'a>(&self, program: &'a mut Command) -> Result<&'a mut Command> {
        Ok(mark(program, &self.place(0)?.folder))
    }

    /// Kills a node: what it had not written is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        match self.processes.get_mut(number).and_then(Option::take) {
            Some(mut node) => node.kill(),
            None => bail!("kill node {number}: it does not run"),
        }
    }

    /// Starts nodes, all at once, and waits until each takes connections.
    ///
    /// # Errors
    /// When one runs already, ends at once, or does not come up in time.
    pub fn resume(&mut self, numbers: &[usize]) -> Result<()> {
        for &number in numbers {
            let log = append_to(&self.log(number)?)?;
            let mut server = self.place(number)?.program("rabbitmq-server")?;
            // So its script makes way for the node itself, and a kill hits that.
            server.env("RUNNING_UNDER_SYSTEMD", "true");
            let node = Owned::start(
                "rabbitmq-server",
                server.stdout(log.try_clone()?).stderr(log),
            )?;
            let place = self.processes.get_mut(number);
            let place = place.with_context(|| format!("find node {number}"))?;
            if place.replace(node).is_some() {
                bail!("start node {number}: it runs");
            }
        }
        for &number in numbers {
            self.wait_for(number)?;
        }
        Ok(())
    }

    fn wait_for(&mut self, number: usize) -> Result<()> {
        let (port, log) = (self.place(number)?.port, self.log(number)?);
        let node = self.processes.get_mut(number).and_then(Option::as_mut);
        let node = node.with_context(|| format!("find node {number}"))?;
        poll_until("a node take connections", START, || {
            if let Some(status) = node.ended()? {
                let words = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("start node {number}: it ended with {status}\n{words}");
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
    }

    /// Runs `rabbitmqctl` against a node that runs, and returns its output.
    ///
    /// # Errors
    /// When none runs, or it fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let living = self.processes.iter().position(Option::is_some);
        self.ctl_at(living.context("find a node that runs")?, arguments)
    }

    /// The same against a certain node.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl_at(&self, number: usize, arguments: &[&str]) -> Result<String> {
        capture("rabbitmqctl", &mut self.place(number)?.ctl(arguments)?)
    }

    /// How many messages are in each queue of the default vhost.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails.
    pub fn depths(&self) -> Result<BTreeMap<String, u64>> {
        read_depths(&self.ctl(&DEPTHS)?)
    }

    /// The node that leads a quorum queue of the default vhost.
    ///
    /// # Errors
    /// When there is no such queue, or it has no leader.
    pub fn leader(&self, queue: &str) -> Result<usize> {
        self.named_in(queue, "leader")
    }

    /// The node on which a classic queue of the default vhost lives.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn home(&self, queue: &str) -> Result<usize> {
        self.named_in(queue, "pid")
    }

    fn named_in(&self, queue: &str, field: &str) -> Result<usize> {
        let list = self.ctl(&["list_queues", "--no-table-headers", "name", field])?;
        let mut lines = list.lines().filter_map(|line| line.split_once('\t'));
        let value = lines
            .find(|(name, _)| *name == queue)
            .map(|(_, value)| value);
        let value = value.with_context(|| format!("find the queue {queue} in {list}"))?;
        let named = |place: &Place| value.contains(&place.node);
        let number = self.places.iter().position(named);
        number.with_context(|| format!("find the node of {queue} in {value:?}"))
    }

    fn place(&self, number: usize) -> Result<&Place> {
        let place = self.places.get(number);
        place.with_context(|| format!("find node {number}"))
    }

    fn log(&self, number: usize) -> Result<std::path::PathBuf> {
        Ok(self.place(number)?.folder.join("node.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once: a node that loses the others while it stops waits for them.
        for node in self.processes.iter_mut().flatten() {
            if let Err(error) = node.ask_to_end() {
                eprintln!("a node of a cluster could not be asked to end: {error:#}");
            }
        }
        for node in self.processes.iter_mut().flatten() {
            if let Err(error) = node.end(STOP) {
                eprintln!("a node of a cluster was perhaps left behind: {error:#}");
            }
        }
    }
}

/// The URI of the default vhost behind a port of loopback.
#[must_use]
pub fn uri_at(port: u16) -> String {
    format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
}

fn append_to(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}
