//! What makes a RabbitMQ node a node of its own: folder, ports, names, user.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::release::Release;
use crate::watcher::mark;

/// A node's place on this machine.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) release: Release,
    pub(crate) folder: PathBuf,
    pub(crate) node: String,
    pub(crate) port: u16,
    pub(crate) epmd_port: u16,
    distribution_port: u16,
    /// Where its cookie lies, and what its processes are marked by: the folder of the first node.
    home: PathBuf,
    /// Removed with the place; absent when the node is somebody else's.
    _own: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn new(release: Release) -> Result<Self> {
        let own = tempfile::Builder::new()
            .prefix("jailfleet-rabbitmq-")
            .tempdir();
        let own = own.context("make a folder for RabbitMQ")?;
        give(release, own.path())?;
        // Held together while they are asked for, so that they differ.
        let held = [listen()?, listen()?, listen()?];
        let [port, distribution_port, epmd_port] = held.each_ref().map(port_of);
        let port = port?;
        Ok(Self {
            release,
            folder: own.path().to_owned(),
            node: format!("jailfleet-{port}@localhost"),
            port,
            epmd_port: epmd_port?,
            distribution_port: distribution_port?,
            home: own.path().to_owned(),
            _own: Some(own),
        })
    }

    /// The place of one more node of the same cluster: it has the same cookie and name server.
    pub(crate) fn beside(&self) -> Result<Self> {
        let held = [listen()?, listen()?];
        let [port, distribution_port] = held.each_ref().map(port_of);
        let port = port?;
        let folder = self.folder.join(format!("beside-{port}"));
        std::fs::create_dir(&folder).context("make a folder for one more node")?;
        give(self.release, &folder)?;
        Ok(Self {
            release: self.release,
            folder,
            node: format!("jailfleet-{port}@localhost"),
            port,
            epmd_port: self.epmd_port,
            distribution_port: distribution_port?,
            home: self.home.clone(),
            _own: None,
        })
    }

    /// The place of a node that somebody else started, for its command-line tools.
    pub(crate) fn of_another(release: Release, folder: &Path, node: &str, epmd_port: u16) -> Self {
        Self {
            release,
            folder: folder.to_owned(),
            node: node.to_owned(),
            port: 0,
            epmd_port,
            distribution_port: 0,
            home: folder.to_owned(),
            _own: None,
        }
    }

    /// A port that nobody has now.
    pub(crate) fn free_port(&self) -> Result<u16> {
        port_of(&listen()?)
    }

    /// The node's configuration; most nodes have none.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join("node.conf")
    }

    /// One of RabbitMQ's programs, as a part of this node.
    pub(crate) fn program(&self, name: &str) -> Result<Command> {
        let folder = &self.folder;
        let mut program = self.ours(self.release.program(name)?);
        program
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("node"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                folder.join("enabled_plugins"),
            );
        Ok(program)
    }

    /// The command-line tool, told to speak to this node.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<Command> {
        let mut program = self.program("rabbitmqctl")?;
        program
            .args(["--quiet", "--node", &self.node])
            .args(arguments);
        Ok(program)
    }

    /// The node's own name server, in the foreground: as our child it cannot stay behind. The node
    /// finds it there and starts none.
    pub(crate) fn epmd(&self) -> Result<Command> {
        let mut epmd = self.ours(self.release.run(Path::new("epmd"))?);
        epmd.args([
            "-port",
            &self.epmd_port.to_string(),
            "-address",
            "127.0.0.1",
        ]);
        Ok(epmd)
    }

    fn ours(&self, mut program: Command) -> Command {
        mark(&mut program, &self.home)
            .current_dir(&self.folder)
            .env("HOME", &self.home)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        program
    }
}

/// Gives a folder to the user that RabbitMQ runs as.
fn give(release: Release, folder: &Path) -> Result<()> {
    match release.user() {
        Some((uid, gid)) => chown(folder, Some(uid), Some(gid)).context("give RabbitMQ its folder"),
        None => Ok(()),
    }
}

fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")
}

fn port_of(listener: &TcpListener) -> Result<u16> {
    Ok(listener
        .local_addr()
        .context("read a port's number")?
        .port())
}
