//! A worker of the bulk lane alone, with those who send it jobs and hear of their results.

use crate::client::{Client, until_exported};
use crate::sender::Sender;
use crate::worker::Worker;

/// A worker with the address of its admin port, who sends it jobs, and who hears of results.
pub(crate) type Bulk = (Worker, String, Sender, Client);

/// All of them on that vhost, with that reply queue.
pub(crate) async fn start(uri: &str, reply_to: &str) -> Bulk {
    let (worker, admin) = start_worker(uri).await;
    let sender = Sender::new(uri, reply_to).await;
    (worker, admin, sender, Client::new(uri, reply_to).await)
}

/// The worker alone, once it takes jobs and dead letters, with the address of its admin port.
pub(crate) async fn start_worker(uri: &str) -> (Worker, String) {
    let (worker, admin) = Worker::start_for_bulk(uri);
    for role in ["consume", "reap"] {
        let line = format!("jailfleet_amqp_connected{{role=\"{role}\"}} 1\n");
        until_exported(&admin, &line).await;
    }
    (worker, admin)
}
