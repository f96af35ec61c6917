//! A RabbitMQ node for tests, and vhosts on it.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::packages::ensure_packages;
use crate::place::Place;
use crate::process::{Owned, capture, poll_until};

mod tls;

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
    // In this order: the node ends before its name server, and both before the folder goes.
    node: Option<Owned>,
    _epmd: Option<Owned>,
    uri: String,
    tls_port: Option<u16>,
    place: Place,
}

/// A vhost of one test, deleted on drop.
#[derive(Debug)]
pub struct Vhost<'a> {
    broker: &'a Broker,
    name: String,
}

/// A user of one test, deleted on drop.
#[derive(Debug)]
pub struct User<'a> {
    vhost: &'a Vhost<'a>,
    name: String,
}

/// The password that every user of tests has first.
pub const PASSWORD: &str = "a-password-of-tests";

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
        let folder = PathBuf::from(read(SHARED_FOLDER)?);
        let epmd_port = read(SHARED_EPMD)?.parse().context("read the epmd's port")?;
        let place = Place::of_another(&folder, &read(SHARED_NODE)?, epmd_port);
        Ok(Self {
            node: None,
            _epmd: None,
            uri: read(SHARED_URI)?,
            tls_port: None,
            place,
        })
    }

    /// A node of our own, for tests that stop and start it.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn own() -> Result<Self> {
        Self::own_with(|_| Ok(None))
    }

    /// A node of our own, whose folder `configure` has prepared; it answers with the port for TLS.
    fn own_with(configure: impl FnOnce(&Place) -> Result<Option<u16>>) -> Result<Self> {
        ensure_packages(&[(
            "rabbitmq-server",
            "the tests start a RabbitMQ node of their own",
        )])?;
        let place = Place::new()?;
        let tls_port = configure(&place)?;
        let uri = format!("amqp://guest:guest@127.0.0.1:{}", place.port);
        let log = log_file(&place.folder.join("epmd.log"))?;
        let mut epmd = place.epmd();
        let epmd = Owned::start("epmd", epmd.stdout(log.try_clone()?).stderr(log))?;
        let mut broker = Self {
            node: None,
            _epmd: Some(epmd),
            uri,
            tls_port,
            place,
        };
        broker.resume()?;
        Ok(broker)
    }

    /// The variables by which other processes share this node.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
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
        let mut server = self.place.program("rabbitmq-server");
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
        let mut program = self.place.program("rabbitmqctl");
        program
            .args(["--quiet", "--node", &self.place.node])
            .args(arguments);
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
        let list = ["list_queues", "--no-table-headers", "name", "messages"];
        let list = self.ctl(&list)?;
        let mut lines = list.lines().filter_map(|line| line.split_once('\t'));
        let found = lines.find(|(name, _)| *name == queue);
        let (_, count) = found.with_context(|| format!("find the queue {queue} in {list:?}"))?;
        count.trim().parse().context("read the depth of a queue")
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

impl Vhost<'_> {
    /// Where clients find it.
    #[must_use]
    pub fn uri(&self) -> String {
        self.broker.uri(&self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Vhost<'_> {
    /// A user of its own name in this vhost, without any right in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn user(&self, name: &str) -> Result<User<'_>> {
        let name = format!(
            "{name}-{}-{}",
            self.name.replace('/', "root"),
            std::process::id()
        );
        self.broker.ctl(&["add_user", &name, PASSWORD])?;
        Ok(User { vhost: self, name })
    }
}

impl User<'_> {
    /// Where the vhost is, with this user's name and password.
    #[must_use]
    pub fn uri(&self) -> String {
        let login = format!("//{}:{PASSWORD}@", self.name);
        self.vhost.uri().replace("//guest:guest@", &login)
    }

    /// The same without the password.
    #[must_use]
    pub fn uri_without_password(&self) -> String {
        self.uri().replace(&format!(":{PASSWORD}@"), "@")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it these rights in the vhost, and takes all others: three regular expressions.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn permit(&self, configure: &str, write: &str, read: &str) -> Result<()> {
        let (vhost, name) = (self.vhost.name(), self.name.as_str());
        let rights = [
            "set_permissions",
            "--vhost",
            vhost,
            name,
            configure,
            write,
            read,
        ];
        self.vhost.broker.ctl(&rights).map(drop)
    }

    /// Restricts the keys under which it may publish to a topic exchange.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn permit_topic(&self, exchange: &str, write: &str) -> Result<()> {
        let (vhost, name) = (self.vhost.name(), self.name.as_str());
        let rights = [
            "set_topic_permissions",
            "--vhost",
            vhost,
            name,
            exchange,
            write,
            "^$",
        ];
        self.vhost.broker.ctl(&rights).map(drop)
    }

    /// Gives it another password.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn change_password(&self, password: &str) -> Result<()> {
        let change = ["change_password", &self.name, password];
        self.vhost.broker.ctl(&change).map(drop)
    }

    /// Closes all its connections.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn disconnect(&self) -> Result<()> {
        let closing = [
            "close_all_user_connections",
            &self.name,
            "told to by a test",
        ];
        self.vhost.broker.ctl(&closing).map(drop)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // The users of a node of our own go with its folder.
        if self.vhost.broker.node.is_some() {
            return;
        }
        if let Err(error) = self.vhost.broker.ctl(&["delete_user", &self.name]) {
            eprintln!("the user {} was left behind: {error:#}", self.name);
        }
    }
}

impl Drop for Vhost<'_> {
    fn drop(&mut self) {
        // The vhosts of a node of our own go with its folder.
        if self.broker.node.is_some() {
            return;
        }
        if let Err(error) = self.broker.ctl(&["delete_vhost", &self.name]) {
            eprintln!("the vhost {} was left behind: {error:#}", self.name);
        }
    }
}

fn log_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}
