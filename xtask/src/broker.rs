//! A RabbitMQ node of our own: free ports, own data folder, own epmd; nothing of it stays.

use crate::clock::Stopwatch;
use crate::programs::{Owned, capture, command, output};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where Debian and Ubuntu put the programs themselves; those on PATH are wrappers that change the
/// user by `su`, so that a signal would end the wrapper alone.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// RabbitMQ starts in about ten seconds on two idle cores; a busy machine needs a few times that.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(60);

/// A running node; ended on drop, with its data.
#[derive(Debug)]
pub(crate) struct Broker {
    // In this order: the node goes before the folder that it writes to.
    node: Owned,
    place: Place,
}

/// Everything that makes a node a node of its own.
#[derive(Debug)]
struct Place {
    folder: tempfile::TempDir,
    node_name: String,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
    /// The user to run as, where we are root.
    user: Option<(u32, u32)>,
}

impl Broker {
    /// Starts a node and waits until it takes connections. Its log goes to `logs`.
    pub(crate) fn start(logs: &Path) -> Result<Self> {
        println!("Starting a RabbitMQ node of our own (10 to 20 s) ...");
        let place = Place::new()?;
        let log = logs.join("rabbitmq.log");
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut server = place.program("rabbitmq-server");
        let node = Owned::start(
            "rabbitmq-server",
            server.stdout(file.try_clone()?).stderr(file),
        )?;
        let mut broker = Self { node, place };
        broker.wait_until_ready(&log)?;
        Ok(broker)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let watch = Stopwatch::start();
        // The wait for an early end paces the looks at the port.
        while watch.elapsed() < START {
            if let Some(status) = self.node.wait_within(Duration::from_millis(100))? {
                bail!(
                    "start RabbitMQ: it ended with {status}; see {}",
                    log.display()
                );
            }
            // The port opens last of all, when queues can be declared.
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.place.port)).is_ok() {
                return Ok(());
            }
        }
        bail!(
            "see RabbitMQ take connections within {START:?}; see {}",
            log.display()
        )
    }

    /// Where clients find it.
    pub(crate) fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.place.port)
    }

    /// The names of all queues.
    pub(crate) fn queues(&self) -> Result<Vec<String>> {
        let mut list = self.place.program("rabbitmqctl");
        let node = &self.place.node_name;
        list.args([
            "--quiet",
            "--node",
            node,
            "list_queues",
            "name",
            "--no-table-headers",
        ]);
        let text = capture("rabbitmqctl list_queues", &mut list)?;
        Ok(text
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect())
    }

    /// Ends the node in peace.
    pub(crate) fn stop(mut self) -> Result<()> {
        // The exit code of an Erlang node that a signal asked to stop is not 0.
        self.node.terminate(STOP).map(|_status| ())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Our own epmd, by our own port: it ends only once no node is registered, and then must.
        let mut epmd = command("epmd");
        epmd.args([
            "-port",
            &self.epmd_port.to_string(),
            "-relaxed_command_check",
            "-kill",
        ]);
        if let Err(error) = output("epmd -kill", &mut epmd) {
            eprintln!("xtask: could not end the epmd of our broker: {error:#}");
        }
    }
}

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("xtask-rabbitmq-")
            .tempdir()
            .context("make a folder for RabbitMQ")?;
        let user = if rustix::process::geteuid().is_root() {
            rabbitmq_user()
        } else {
            None
        };
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).context("give RabbitMQ its folder")?;
        }
        let [port, distribution_port, epmd_port] = free_ports()?;
        let node_name = format!("jailfleet-{port}@localhost");
        Ok(Self {
            folder,
            node_name,
            port,
            distribution_port,
            epmd_port,
            user,
        })
    }

    /// One of RabbitMQ's programs, which takes part in this node and in no other.
    fn program(&self, name: &str) -> Command {
        let mut program = command(PathBuf::from(PROGRAMS).join(name));
        let folder = self.folder.path();
        program
            .current_dir(folder)
            .env("HOME", folder)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", &self.node_name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("none"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                folder.join("enabled_plugins"),
            );
        if let Some((uid, gid)) = self.user {
            program.uid(uid).gid(gid);
        }
        program
    }
}

/// The user that the package made, seen from the folder that it owns.
fn rabbitmq_user() -> Option<(u32, u32)> {
    let meta = std::fs::metadata("/var/lib/rabbitmq").ok()?;
    (meta.uid() != 0).then(|| (meta.uid(), meta.gid()))
}

/// Ports that nobody has at this moment.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    // All three are held while they are asked for, so that they differ.
    let held = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener
            .local_addr()
            .context("read a port's number")?
            .port();
    }
    ensure!(!ports.contains(&0), "find free ports");
    Ok(ports)
}
