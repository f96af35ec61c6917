//! What a fleet is before: one node, or a cluster behind one port.

use anyhow::{Result, bail};
use jailfleet_harness::{Broker, Cluster, uri_at};
use std::collections::BTreeMap;
use std::process::Command;

/// The broker of a fleet.
#[derive(Debug)]
pub(super) enum Nodes {
    /// One node.
    One(Broker),
    /// Several that are one broker.
    Several {
        /// They.
        cluster: Cluster,
        /// The port behind which programs find one that lives.
        entry: u16,
    },
}

impl Nodes {
    /// Where programs find the broker.
    pub(super) fn uri(&self) -> String {
        match self {
            Self::One(broker) => broker.uri("/"),
            Self::Several { entry, .. } => uri_at(*entry),
        }
    }

    /// Has a program end with the nodes when we are killed.
    pub(super) fn mark(&self, program: &mut Command) -> Result<()> {
        match self {
            Self::One(broker) => {
                broker.mark(program);
            }
            Self::Several { cluster, .. } => {
                cluster.mark(program)?;
            }
        }
        Ok(())
    }

    /// How many messages are in each queue.
    pub(super) fn depths(&self) -> Result<BTreeMap<String, u64>> {
        match self {
            Self::One(broker) => broker.depths(),
            Self::Several { cluster, .. } => cluster.depths(),
        }
    }

    /// The only node.
    pub(super) fn one(&mut self) -> Result<&mut Broker> {
        match self {
            Self::One(broker) => Ok(broker),
            Self::Several { .. } => bail!("find the only node: there are several"),
        }
    }

    /// Stops them in peace.
    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::One(mut broker) => broker.halt(),
            Self::Several { cluster, .. } => {
                drop(cluster);
                Ok(())
            }
        }
    }
}
