//! A plain AMQP client that shares nothing with the code under test but lapin.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::worker::LONG;

/// A job's message.
pub(crate) struct Job<'a> {
    id: &'a str,
    body: &'a str,
    reply_to: Option<Option<&'a str>>,
    key: &'a str,
    expiration: Option<&'a str>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(id: &'a str, body: &'a str) -> Self {
        Self {
            id,
            body,
            reply_to: None,
            key: "default.bulk",
            expiration: None,
        }
    }

    /// Another routing key than that of the bulk lane.
    pub(crate) fn key(self, key: &'a str) -> Self {
        Self { key, ..self }
    }

    /// It may wait in its queue for so many milliseconds.
    pub(crate) fn expires_after(self, ms: &'a str) -> Self {
        Self {
            expiration: Some(ms),
            ..self
        }
    }

    /// Another reply queue than the client's own, or none.
    pub(crate) fn reply_to(self, name: Option<&'a str>) -> Self {
        Self {
            reply_to: Some(name),
            ..self
        }
    }
}

/// A result as it is on the wire: all by which its receiver tells a duplicate from a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) message_id: String,
    pub(crate) correlation_id: String,
    pub(crate) digest: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Client {
    // Dropped last, or the channel would be closed under the consumer.
    channel: Channel,
    results: Consumer,
    reply_to: String,
    _connection: Connection,
}

impl Client {
    pub(crate) async fn new(uri: &str, reply_to: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.expect("the broker is up");
        let channel = connection.create_channel().await.expect("a channel");
        let select = channel
            .confirm_select(ConfirmSelectOptions::default())
            .await;
        select.expect("confirms");
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel
            .queue_declare(reply_to.into(), durable, FieldTable::default())
            .await;
        declared.expect("a reply queue");
        let options = BasicConsumeOptions::default();
        let results =
            channel.basic_consume(reply_to.into(), "".into(), options, FieldTable::default());
        let results = results.await.expect("consumable");
        Self {
            channel,
            results,
            reply_to: reply_to.to_owned(),
            _connection: connection,
        }
    }

    /// Publishes a job and waits for the confirm.
    pub(crate) async fn publish(&self, job: Job<'_>) {
        let mut properties = BasicProperties::default()
            .with_message_id(job.id.into())
            .with_correlation_id(job.id.into())
            .with_delivery_mode(2);
        if let Some(name) = job.reply_to.unwrap_or(Some(&self.reply_to)) {
            properties = properties.with_reply_to(name.into());
        }
        if let Some(ms) = job.expiration {
            properties = properties.with_expiration(ms.into());
        }
        let options = BasicPublishOptions::default();
        let (exchange, key) = ("jailfleet.jobs".into(), job.key.into());
        let confirm =
            self.channel
                .basic_publish(exchange, key, options, job.body.as_bytes(), properties);
        let confirmed = confirm.await.expect("written").await.expect("confirmed");
        assert!(confirmed.is_ack(), "the broker took the job");
    }

    /// The next result with its correlation id.
    pub(crate) async fn result(&mut self) -> (String, Value) {
        let result = self.result_within(LONG).await;
        result.expect("a result in time")
    }

    /// The next result with its correlation id, if one comes in time.
    pub(crate) async fn result_within(&mut self, time: Duration) -> Option<(String, Value)> {
        let answer = self.answer_within(time).await?;
        let result = serde_json::from_slice(&answer.body).expect("a result is JSON");
        Some((answer.correlation_id, result))
    }

    /// The next result as it is on the wire, if one comes in time.
    pub(crate) async fn answer_within(&mut self, time: Duration) -> Option<Answer> {
        let next = timeout(time, self.results.next()).await.ok()?;
        let delivery = next.expect("the queue lives").expect("the channel lives");
        let acked = delivery.acker.ack(BasicAckOptions::default());
        acked.await.expect("acked");
        let properties = delivery.properties;
        let text = |field: &Option<ShortString>| field.as_ref().expect("set").to_string();
        let headers = properties.headers().as_ref();
        let digest = headers.and_then(|headers| headers.inner().get("jailfleet-result-digest"));
        let Some(AMQPValue::LongString(digest)) = digest else {
            panic!("a result has a digest: {digest:?}");
        };
        Some(Answer {
            message_id: text(properties.message_id()),
            correlation_id: text(properties.correlation_id()),
            digest: digest.to_string(),
            body: delivery.data,
        })
    }

    /// Takes a message from `queue` over a connection of its own and ends with it in its hands.
    pub(crate) async fn take_and_die(&self, uri: &str, queue: &str) {
        let waiting = self.waiting(queue).await;
        Self::die_with_one_of(uri, queue).await;
        self.until_waiting(queue, waiting).await;
    }

    /// The same without a look at what then becomes of the message.
    pub(crate) async fn die_with_one_of(uri: &str, queue: &str) {
        let other = Self::new(uri, "jailfleet.reply.nobody").await;
        let options = BasicConsumeOptions::default();
        let taking =
            other
                .channel
                .basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut taking = taking.await.expect("consumable");
        let taken = timeout(LONG, taking.next()).await.expect("in time");
        taken.expect("the queue lives").expect("the channel lives");
        let closed = other._connection.close(200, "dead".into()).await;
        closed.expect("it ends");
    }

    /// Reads `count` messages from `queue`: the reason that each carries, and its body.
    pub(crate) async fn read(&self, queue: &str, count: usize) -> Vec<(String, Vec<u8>)> {
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumer =
            self.channel
                .basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.expect("consumable");
        let mut read = Vec::new();
        while read.len() < count {
            let next = timeout(LONG, consumer.next())
                .await
                .expect("a message in time");
            let delivery = next.expect("the queue lives").expect("the channel lives");
            let headers = delivery.properties.headers().as_ref();
            let reason = headers.and_then(|headers| headers.inner().get("jailfleet-reason"));
            let reason = match reason {
                Some(AMQPValue::LongString(text)) => text.to_string(),
                Some(_) | None => String::new(),
            };
            read.push((reason, delivery.data));
        }
        read
    }

    /// Makes a queue of those arguments, a quorum queue if they do not say, bound to `exchange` by `key`.
    pub(crate) async fn declare(
        &self,
        queue: &str,
        arguments: &[(&'static str, AMQPValue)],
        exchange: &str,
        key: &str,
    ) {
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut table = FieldTable::default();
        table.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let declared = self.channel.queue_declare(queue.into(), durable, table);
        declared.await.expect("a queue");
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        let bound =
            self.channel
                .queue_bind(queue.into(), exchange.into(), key.into(), options, table);
        bound.await.expect("bound");
    }

    /// Binds a queue under its own name.
    pub(crate) async fn bind(&self, queue: &str, exchange: &str) {
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        let bound =
            self.channel
                .queue_bind(queue.into(), exchange.into(), queue.into(), options, table);
        bound.await.expect("bound");
    }

    /// Publishes to the queue behind `key` until it is full.
    pub(crate) async fn fill(&self, key: &str) {
        loop {
            let sent = self.channel.basic_publish(
                "jailfleet.jobs".into(),
                key.into(),
                BasicPublishOptions::default(),
                b"filler",
                BasicProperties::default(),
            );
            if !sent.await.expect("written").await.expect("a word").is_ack() {
                return;
            }
        }
    }

    /// Deletes a queue with all that is in it.
    pub(crate) async fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions::default();
        let deleted = self.channel.queue_delete(queue.into(), options).await;
        deleted.expect("it may be deleted");
    }

    /// Waits until `count` messages wait in `queue`.
    pub(crate) async fn until_waiting(&self, queue: &str, count: u32) {
        let mut last = None;
        let looking = async {
            while last != Some(count) {
                last = Some(self.waiting(queue).await);
                tokio::task::yield_now().await;
            }
        };
        let in_time = timeout(LONG, looking).await.is_ok();
        assert!(in_time, "{queue} has {last:?} messages and not {count}");
    }

    /// How many messages wait in `queue`.
    pub(crate) async fn waiting(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = self
            .channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        found.expect("the queue exists").message_count()
    }
}

/// Asks the admin port.
pub(crate) async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    answer
}

/// Asks the admin port again and again until the answer is the right one.
pub(crate) async fn get_until(address: &str, path: &str, right: impl Fn(&str) -> bool) {
    let asking = async {
        while !right(&get(address, path).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, asking)
        .await
        .expect("the right answer in time");
}

/// Waits until the worker is ready for jobs.
pub(crate) async fn until_ready(admin: &str) {
    get_until(admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
}

/// Waits until the worker exports that line among its metrics.
pub(crate) async fn until_exported(admin: &str, line: &str) {
    get_until(admin, "/metrics", |metrics| metrics.contains(line)).await;
}
