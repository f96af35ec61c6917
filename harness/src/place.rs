//! What makes a RabbitMQ node a node of its own: folder, ports, names, user.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::command;

/// The programs themselves. Those on PATH are wrappers that change the user with `su`, behind which
/// a signal ends the wrapper and not the node.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A node's place on this machine.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) node: String,
    pub(crate) port: u16,
    pub(crate) epmd_port: u16,
    distribution_port: u16,
    user: Option<(u32, u32)>,
    /// Removed with the place; absent when the node is somebody else's.
    _own: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let own = tempfile::Builder::new()
            .prefix("jailfleet-rabbitmq-")
            .tempdir();
        let own = own.context("make a folder for RabbitMQ")?;
        let user = user();
        if let Some((uid, gid)) = user {
            chown(own.path(), Some(uid), Some(gid)).context("give RabbitMQ its folder")?;
        }
        // Held together while they are asked for, so that they differ.
        let held = [listen()?, listen()?, listen()?];
        let [port, distribution_port, epmd_port] = held.each_ref().map(port_of);
        let port = port?;
        Ok(Self {
            folder: own.path().to_owned(),
            node: format!("jailfleet-{port}@localhost"),
            port,
            epmd_port: epmd_port?,
            distribution_port: distribution_port?,
            user,
            _own: Some(own),
        })
    }

    /// The place of a node that somebody else started, for its command-line tools.
    pub(crate) fn of_another(folder: &Path, node: &str, epmd_port: u16) -> Self {
        Self {
            folder: folder.to_owned(),
            node: node.to_owned(),
            port: 0,
            epmd_port,
            distribution_port: 0,
            user: user(),
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
    pub(crate) fn program(&self, name: &str) -> Command {
        let folder = &self.folder;
        let mut program = self.as_its_user(&PathBuf::from(PROGRAMS).join(name));
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
        program
    }

    /// The node's own name server, in the foreground: as our child it cannot stay behind. The node
    /// finds it there and starts none.
    pub(crate) fn epmd(&self) -> Command {
        let mut epmd = self.as_its_user(Path::new("epmd"));
        epmd.args([
            "-port",
            &self.epmd_port.to_string(),
            "-address",
            "127.0.0.1",
        ]);
        epmd
    }

    fn as_its_user(&self, program: &Path) -> Command {
        let mut program = command(program);
        program
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        if let Some((uid, gid)) = self.user {
            program.uid(uid).gid(gid);
        }
        program
    }
}

/// The user that the package made, by the folder that it owns; only root can become it.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let meta = std::fs::metadata("/var/lib/rabbitmq").ok()?;
    (meta.uid() != 0).then(|| (meta.uid(), meta.gid()))
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
