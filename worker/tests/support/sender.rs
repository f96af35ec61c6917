//! Jobs that say when they were published, and cancels: what a producer sends, with nothing hidden.

use std::time::{SystemTime, UNIX_EPOCH};

use jailfleet::cancel::{Cancel, Target};
use jailfleet::job::{EpochMs, JobId, Name};
use jailfleet::settings::{AmqpSection, worker_settings};
use jailfleet_queue::amqp::canceller;
use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;

/// Where a job's message goes.
pub(crate) const LANE: (&str, &str) = ("jailfleet.jobs", "default.bulk");
/// Where a worker puts a job aside before it is tried again.
pub(crate) const RETRY: (&str, &str) = ("jailfleet.internal", "retry.default.bulk");

/// The wall clock of producers and workers: here it is the same.
pub(crate) fn now() -> EpochMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.expect("it is later than 1970").as_millis();
    EpochMs(u64::try_from(ms).expect("it fits"))
}

pub(crate) struct Sender {
    channel: Channel,
    reply_to: String,
    amqp: AmqpSection,
    _connection: Connection,
}

impl Sender {
    pub(crate) async fn new(uri: &str, reply_to: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.expect("the broker is up");
        let channel = connection.create_channel().await.expect("a channel");
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        confirms.await.expect("confirms");
        let env = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
        let settings = worker_settings(None, &env, &[]).expect("good settings");
        Self {
            channel,
            reply_to: reply_to.to_owned(),
            amqp: settings.amqp,
            _connection: connection,
        }
    }

    /// Publishes a job that says that this was at `published`.
    pub(crate) async fn job(&self, job: &Value, published: EpochMs) {
        self.send(LANE, job, published, None).await;
    }

    /// Puts a job aside as a worker does, to come back after `ms`.
    pub(crate) async fn retried_job(&self, job: &Value, published: EpochMs, ms: u32) {
        self.send(RETRY, job, published, Some(ms)).await;
    }

    async fn send(
        &self,
        (exchange, key): (&str, &str),
        job: &Value,
        published: EpochMs,
        expires: Option<u32>,
    ) {
        let id = job["id"].as_str().expect("an id");
        let mut headers = FieldTable::default();
        let ms = i64::try_from(published.0).expect("it fits");
        headers.insert("jailfleet-published-ms".into(), AMQPValue::LongLongInt(ms));
        let mut properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_correlation_id(id.into())
            .with_reply_to(self.reply_to.as_str().into())
            .with_headers(headers)
            .with_delivery_mode(2);
        if let Some(ms) = expires {
            properties = properties.with_expiration(ms.to_string().into());
        }
        self.publish((exchange, key), job.to_string().as_bytes(), properties)
            .await;
    }

    /// Publishes anything and waits for the confirm.
    pub(crate) async fn publish(
        &self,
        (exchange, key): (&str, &str),
        body: &[u8],
        properties: BasicProperties,
    ) {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (exchange, key) = (exchange.into(), key.into());
        let sent = self
            .channel
            .basic_publish(exchange, key, options, body, properties);
        let confirmed = sent.await.expect("written").await.expect("a word");
        assert!(
            confirmed.is_ack() && confirmed.take_message().is_none(),
            "it is in a queue"
        );
    }

    /// Takes a job out of the lane's queue and holds it.
    pub(crate) async fn hold(&self) -> Delivery {
        let queue = "jailfleet.jobs.default.bulk".into();
        let got = self.channel.basic_get(queue, BasicGetOptions::default());
        let got = got.await.expect("the queue exists");
        got.expect("a job is there").delivery
    }

    /// Gives it back: the broker then says that it delivered it before.
    pub(crate) async fn give_back(&self, held: &Delivery) {
        let options = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        let told = held.acker.nack(options).await;
        assert!(told.expect("the channel lives"), "it was held");
    }

    /// Cancels jobs by id, as of `sent`.
    pub(crate) async fn cancel_jobs(&self, ids: &[&str], sent: EpochMs) {
        let target = |id: &&str| Target::Job(JobId::parse(id).expect("an id"));
        self.cancel(ids.iter().map(target).collect(), None, sent)
            .await;
    }

    /// Cancels a batch, as of now.
    pub(crate) async fn cancel_batch(&self, name: &str, pool: Option<&str>) {
        let target = Target::batch(name).expect("a name");
        self.cancel(vec![target], pool, now()).await;
    }

    async fn cancel(&self, targets: Vec<Target>, pool: Option<&str>, sent: EpochMs) {
        let pool = pool.map(|pool| Name::parse(pool).expect("a name"));
        let cancel = Cancel {
            targets,
            pool,
            sent,
        };
        canceller::send(&self.amqp, &[cancel]).await.expect("kept");
    }
}
