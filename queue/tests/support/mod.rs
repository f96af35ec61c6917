//! What the tests with a real broker share: settings, a plain client, jobs and results.

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use jailfleet::settings::{AmqpSection, LaneShares, ReplyMode, Secret};
use jailfleet::units::Millis;
use jailfleet::wire::EncodedResult;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::amqp::{self, ConsumePlan};
use jailfleet_queue::topology::ReplyLife;
use jailfleet_queue::{Delivery, Disposition, Doors, JobMessage, Move, Outbox, Reply, Ticket};
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use std::time::Duration;

/// More than any step takes on a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn millis(value: u64) -> Millis {
    Millis::new(value).expect("not zero")
}

pub(crate) fn section(uri: &str, reply_mode: ReplyMode) -> AmqpSection {
    AmqpSection {
        uri: Secret::new(uri),
        uri_file: None,
        password_file: None,
        vhost: None,
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
        prefix: "jailfleet".to_owned(),
        heartbeat_s: 10,
        connect_timeout_ms: millis(10_000),
        confirm_timeout_ms: millis(30_000),
        reply_mode,
        prefetch_extra: 8,
        backoff_min_ms: millis(50),
        backoff_max_ms: millis(500),
        topology_check_ms: millis(300_000),
        threads: 1,
    }
}

pub(crate) fn pool() -> Name {
    Name::parse("default").expect("a name")
}

pub(crate) fn plan(slots: usize) -> ConsumePlan {
    ConsumePlan {
        pool: pool(),
        slots: LaneShares {
            interactive: slots,
            bulk: slots,
        },
    }
}

pub(crate) fn produce_plan(reply: &str) -> ProducePlan {
    ProducePlan {
        reply: reply.to_owned(),
        life: ReplyLife::Lasting,
        pools: vec![pool()],
        prefetch: 64,
    }
}

pub(crate) fn as_move(delivery: &Delivery) -> Move {
    Move {
        body: delivery.body.clone(),
        envelope: delivery.envelope.clone(),
        origin: delivery.origin.clone(),
    }
}

pub(crate) fn job(id: &str, reply_to: Option<&str>) -> JobMessage {
    JobMessage {
        body: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
        message_id: id.to_owned(),
        correlation_id: Some(format!("secret-{id}")),
        reply_to: reply_to.map(ToOwned::to_owned),
        pool: pool(),
        lane: Lane::Bulk,
        published_ms: Some(1_000_000),
        traceparent: None,
    }
}

/// A result without any run behind it: what the doors carry is opaque to them.
pub(crate) fn reply(id: &str, reply_to: &str) -> Reply {
    Reply {
        reply_to: jailfleet::reply::vet(reply_to, "jailfleet").expect("a good reply queue"),
        correlation_id: Some(format!("secret-{id}")),
        traceparent: None,
        result: EncodedResult {
            message_id: format!("{id}.1"),
            body: format!("result of {id}").into_bytes(),
            digest: "00".to_owned(),
        },
    }
}

/// Publishes the result of a delivery and acks it, as a worker does.
pub(crate) async fn serve(outbox: &Outbox, delivery: Delivery) {
    let id = delivery
        .envelope
        .message_id
        .clone()
        .expect("our jobs have ids");
    if let Some(reply_to) = &delivery.envelope.reply_to {
        let published = outbox.publish(reply(&id, reply_to)).await;
        published.expect("the result is safe");
    }
    // A session that ended meanwhile brings the job again; that is no error here.
    let _settled: Result<(), _> = delivery.ticket.settle(Disposition::Ack).await;
}

/// The doors of a worker with one slot a lane, once their sessions are up.
pub(crate) async fn open_doors(amqp: &AmqpSection) -> Doors {
    let mut doors = amqp::open(amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    doors
}

/// Publishes a job that asks for no result.
pub(crate) async fn submit(producer: &ProducerDoor, id: &str) {
    let published = producer.sender().publish(job(id, None)).await;
    published.expect("confirmed");
}

/// Acks in a session that must still be there.
pub(crate) async fn ack(ticket: Ticket) {
    ticket.settle(Disposition::Ack).await.expect("settled");
}

pub(crate) async fn up(doors: &mut Doors) {
    let ready = tokio::time::timeout(LONG, doors.state.wait_for(|state| state.is_ready()));
    ready.await.expect("in time").expect("the door stays open");
}

/// A client that shares nothing with the code under test but lapin.
pub(crate) struct Client {
    // Dropping the connection would close the channel.
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Client {
    pub(crate) async fn new(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.expect("the broker is up");
        let channel = connection.create_channel().await.expect("a channel");
        Self {
            _connection: connection,
            channel,
        }
    }

    /// How many messages wait in `queue`.
    pub(crate) async fn count(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await;
        found.expect("the queue exists").message_count()
    }

    /// Takes one message out of `queue`, waiting for it.
    pub(crate) async fn take(&self, queue: &str) -> lapin::message::Delivery {
        let taking = async {
            loop {
                let got = self
                    .channel
                    .basic_get(queue.into(), BasicGetOptions::default())
                    .await;
                if let Some(message) = got.expect("the queue exists") {
                    let acked = message.delivery.ack(BasicAckOptions::default()).await;
                    assert!(acked.expect("acked"));
                    return message.delivery;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, taking)
            .await
            .expect("a message in time")
    }

    /// Takes everything that waits in `queue`.
    pub(crate) async fn drain(&self, queue: &str) -> Vec<lapin::message::Delivery> {
        let mut all = Vec::new();
        loop {
            let got = self
                .channel
                .basic_get(queue.into(), BasicGetOptions { no_ack: true })
                .await;
            match got.expect("the queue exists") {
                Some(message) => all.push(message.delivery),
                None => return all,
            }
        }
    }
}
