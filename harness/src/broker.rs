//! A RabbitMQ node for tests, and vhosts on it.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::place::Place;
use crate::process::{Owned, capture, poll_until};
use crate::release::{RELEASE, Release};
use crate::watcher::{Watcher, mark};

mod tls;
mod vhost;

pub use vhost::{PASSWORD, User, Vhost};

/// The URI, without a vhost, of a node that the test run shares.
const SHARED_URI: &str = "JAILFLEET_TEST_AMQP";
const SHARED_NODE: &str = "JAILFLEET_TEST_AMQP_NODE";
const SHARED_FOLDER: &str = "JAILFLEET_TEST_AMQP_FOLDER";
const SHARED_EPMD: &str = "JAILFLEET_TEST_AMQP_EPMD_PORT";

/// About ten seconds on two idle cores; a busy machine needs a few times that.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);

/// A RabbitMQ node: our own, ended on drop, or the one that the test run shares.
#[derive(Debug)]
pub struct Broker {
    // In this order: the node ends before its name server, and both before the folder goes. Then the
    // watcher, who is there for the case that we never come to this, finds nothing to do.
    node: Option<Owned>,
    _epmd: Option<Owned>,
    uri: String,
    tls_port: Option<u16>,
    place: Place,
    _watcher: Option<Watcher>,
}

impl Broker {
    /// The node that the test run shares, or one of our own where there is none.
    ///
    /// # Errors
    /// When RabbitMQ is missing and may not be installed, or does not start.
    pub fn start() -> Result<Self> {
        match std::env::var(SHARED_URI) {
            Ok(_) => Self::join(|name| std::env::var(name).ok()),
            Err(_) => Self::own(),
        }
    }

    /// The node that somebody else started, by the variables of its [`Broker::environment`]. It is
    /// not ours to stop.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn join(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let read = |name: &str| variable(name).with_context(|| format!("read {name}"));
        let release = Release::read(&read(RELEASE)?)?;
        let folder = PathBuf::from(read(SHARED_FOLDER)?);
        let epmd_port = read(SHARED_EPMD)?.parse().context("read the epmd's port")?;
        let place = Place::of_another(release, &folder, &read(SHARED_NODE)?, epmd_port);
        Ok(Self {
            node: None,
            _epmd: None,
            uri: read(SHARED_URI)?,
            tls_port: None,
            place,
            _watcher: None,
        })
    }

    /// A node of our own, for tests that stop and start it; of the release that the environment asks
    /// for.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn own() -> Result<Self> {
        Self::own_of(Release::asked()?)
    }

    /// The same of a release that the caller chooses.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn own_of(release: Release) -> Result<Self> {
        Self::own_with(release, |_| Ok(None))
    }

    /// A node of our own, whose folder `configure` has prepared; it answers with the port for TLS.
    fn own_with(
        release: Release,
        configure: impl FnOnce(&Place) -> Result<Option<u16>>,
    ) -> Result<Self> {
        release.provide()?;
        let place = Place::new(release)?;
        let watcher = Watcher::over(&place.folder)?;
        let tls_port = configure(&place)?;
        let uri = format!("amqp://guest:guest@127.0.0.1:{}", place.port);
        let log = log_file(&place.folder.join("epmd.log"))?;
        let mut epmd = place.epmd()?;
        let epmd = Owned::start("epmd", epmd.stdout(log.try_clone()?).stderr(log))?;
        let mut broker = Self {
            node: None,
            _epmd: Some(epmd),
            uri,
            tls_port,
            place,
            _watcher: Some(watcher),
        };
        broker.resume()?;
        Ok(broker)
    }

    /// Has a program that talks to this node end with it when we are killed.
    pub fn mark<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        mark(program, &self.place.folder)
    }

    /// The variables by which other processes share this node.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            (RELEASE, self.place.release.as_str().to_owned()),
            (SHARED_URI, self.uri.clone()),
            (SHARED_NODE, self.place.node.clone()),
            (SHARED_FOLDER, self.place.folder.display().to_string()),
            (SHARED_EPMD, self.place.epmd_port.to_string()),
        ]
    }

    /// The URI of a vhost; `/` is there from the start.
    #[must_use]
    pub fn uri(&self, vhost: &str) -> String {
        format!("{}/{}", self.uri, vhost.replace('/', "%2f"))
    }

    /// Stops the node in peace; its data stays.
    ///
    /// # Errors
    /// When the node is not ours.
    pub fn halt(&mut self) -> Result<()> {
        match self.node.take() {
            Some(mut node) => node.end(STOP),
            None => bail!("stop a broker that is somebody else's, or not running"),
        }
    }

    /// Starts the node, the first time or again, and waits until it takes connections.
    ///
    /// # Errors
    /// When it ends at once or does not come up in time.
    pub fn resume(&mut self) -> Result<()> {
        let path = self.place.folder.join("node.log");
        let log = log_file(&path)?;
        let mut server = self.place.program("rabbitmq-server")?;
        let server = server.stdout(log.try_clone()?).stderr(log);
        let mut node = Owned::start("rabbitmq-server", server)?;
        let port = self.place.port;
        poll_until("RabbitMQ take connections", START, || {
            if let Some(status) = node.ended()? {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                bail!("start RabbitMQ: it ended with {status}\n{log}");
            }
            // The port opens last of all.
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })?;
        self.node = Some(node);
        Ok(())
    }

    /// Runs `rabbitmqctl` against this node and returns its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut program = self.place.ctl(arguments)?;
        capture("rabbitmqctl", &mut program)
    }

    /// A new vhost for one test.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn vhost(&self) -> Result<Vhost<'_>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let place = NEXT.fetch_add(1, Ordering::Relaxed);
        if place == 0 && self.node.is_some() {
            // A node of our own is fresh: its default vhost is as good as a new one, and free.
            return Ok(Vhost {
                broker: self,
                name: "/".to_owned(),
            });
        }
        let name = format!("test-{}-{place}", std::process::id());
        self.ctl(&["add_vhost", &name])?;
        self.ctl(&[
            "set_permissions",
            "--vhost",
            &name,
            "guest",
            ".*",
            ".*",
            ".*",
        ])?;
        Ok(Vhost { broker: self, name })
    }

    /// How many messages are in `queue` of the default vhost, those included that a consumer holds.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails, or knows no such queue.
    pub fn depth(&self, queue: &str) -> Result<u64> {
        let depths = self.depths()?;
        let depth = depths.get(queue).copied();
        depth.with_context(|| format!("find the queue {queue} in {depths:?}"))
    }

    /// The same of every queue of the default vhost.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails.
    pub fn depths(&self) -> Result<BTreeMap<String, u64>> {
        read_depths(&self.ctl(&DEPTHS)?)
    }

    /// The names that clients gave their connections, of all vhosts; those without one are left out.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails.
    pub fn connections(&self) -> Result<Vec<String>> {
        // The name by itself can be asked for only by way of the management plugin.
        let list = [
            "list_connections",
            "--no-table-headers",
            "client_properties",
        ];
        Ok(self
            .ctl(&list)?
            .lines()
            .filter_map(connection_name)
            .collect())
    }

    /// The names of all queues of all vhosts.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails.
    pub fn queues(&self) -> Result<Vec<String>> {
        let vhosts = self.ctl(&["list_vhosts", "name", "--no-table-headers"])?;
        let mut queues = Vec::new();
        for vhost in vhosts
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let list = [
                "list_queues",
                "--vhost",
                vhost,
                "name",
                "--no-table-headers",
            ];
            let list = self.ctl(&list)?;
            let names = list.lines().map(str::trim).filter(|line| !line.is_empty());
            queues.extend(names.map(|name| format!("{vhost}: {name}")));
        }
        Ok(queues)
    }
}

/// Asks for what [`read_depths`] reads.
pub(crate) const DEPTHS: [&str; 4] = ["list_queues", "--no-table-headers", "name", "messages"];

/// How many messages are in each queue of a list.
pub(crate) fn read_depths(list: &str) -> Result<BTreeMap<String, u64>> {
    let lines = list.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, count)| {
            let count = count.trim().parse();
            let count = count.with_context(|| format!("read the depth of {name}"))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

/// The name among the properties of a client, written as Erlang does: the text after the key's own.
fn connection_name(properties: &str) -> Option<String> {
    let (_, rest) = properties.split_once("\"connection_name\"")?;
    rest.split('"').nth(1).map(ToOwned::to_owned)
}

fn log_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}
