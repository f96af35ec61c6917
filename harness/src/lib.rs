//! What tests need of a machine: packages, uids, and a RabbitMQ node that is nobody else's.
//!
//! No test touches a broker that it did not start. A node has its own ports, its own folder and
//! its own epmd, and all of it is gone when the [`Broker`] is dropped, or soon after its owner was
//! killed. A whole test run may share one node: whoever starts it hands [`Broker::environment`] to the
//! test processes, and each test works in a vhost of its own.
//!
//! Nodes are the distribution's own RabbitMQ, or 4.0 where the environment says so ([`Release`]), alone or
//! three in a [`Cluster`].
//!
//! A test that needs something of the machine says so with [`require!`].

#![forbid(unsafe_code)]

pub mod debian;
pub mod chaos;
pub mod packages;
pub mod noted;
pub mod requirement;
pub mod settings_cli;
pub mod metrics_page;
mod services;
mod uids;
mod watcher;
mod place;
mod process;
mod authority;
mod release;
mod broker;
mod cluster;

pub use authority::{Authority, Issued};
pub use broker::{Broker, PASSWORD, User, Vhost};
pub use cluster::{Cluster, uri_at};
pub use process::poll_until;
pub use release::{RELEASE, Release};
pub use uids::TestUids;
pub use watcher::{Watcher, mark};
