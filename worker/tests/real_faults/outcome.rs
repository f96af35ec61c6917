//! What came of a job in the end, and that nothing is left of it in the broker.

use std::collections::BTreeMap;

use jailfleet_harness::{Broker, poll_until};
use serde_json::Value;

use super::REPLY;
use super::client::{Answer, Client};
use super::pair::{Pair, SOON};
use super::worker::LONG;

/// What a receiver found.
pub(crate) struct Found {
    /// How many results there were, all of them equal.
    pub(crate) results: usize,
}

/// Takes every result of the job until nothing can bring another one, and holds them against each other.
pub(crate) async fn collect(
    client: &mut Client,
    pair: &mut Pair,
    broker: &Broker,
    id: &str,
) -> Found {
    let Some(first) = client.answer_within(LONG).await else {
        panic!(
            "no result of {id}; queues: {:?}\n{}",
            broker.depths(),
            pair.report()
        );
    };
    right(&first, id);
    // What was frozen until somebody else had answered comes back with what it has.
    pair.thaw();
    let mut results = 1;
    loop {
        pair.until_ready().await;
        pair.until_idle().await;
        while let Some(again) = client.answer_within(SOON).await {
            right(&again, id);
            assert_eq!(
                again.digest, first.digest,
                "two results of {id} are in conflict"
            );
            results += 1;
        }
        let open = tokio::task::block_in_place(|| open(broker));
        match open.get(REPLY) {
            // One was just being brought to us.
            Some(_) => {}
            None if open.is_empty() => return Found { results },
            None => tokio::task::block_in_place(|| until_taken(broker)),
        }
    }
}

/// Queues that hold anything, delivered or not, but for cancels, which nobody takes away.
fn open(broker: &Broker) -> BTreeMap<String, u64> {
    let mut depths = broker.depths().expect("a list");
    depths.retain(|queue, depth| *depth > 0 && queue != "jailfleet.cancels");
    depths
}

/// Waits until every queue but ours is empty: a job that came back is somebody's again, and settled.
fn until_taken(broker: &Broker) {
    let taken = poll_until("see every queue empty", LONG, || {
        let mut open = open(broker);
        open.remove(REPLY);
        Ok(open.is_empty())
    });
    taken.unwrap_or_else(|error| panic!("{error:#}: {:?}", open(broker)));
}

fn right(answer: &Answer, id: &str) {
    assert_eq!(answer.correlation_id, id, "a result of somebody else");
    let result: Value = serde_json::from_slice(&answer.body).expect("a result is JSON");
    let word = |field| result.get(field).and_then(Value::as_str);
    assert_eq!(word("outcome"), Some("exited"), "{result}");
    assert_eq!(word("stdout"), Some(format!("{id}\n").as_str()), "{result}");
}
