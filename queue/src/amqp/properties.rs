//! Properties and headers, both ways, by allow-list: whatever else a message carries ends here.
//!
//! A message that we pass on gets its properties built anew. A copied `user_id` or a `reply_to`
//! out of the broker's own name space would close the channel, and all its neighbours with it.

use jailfleet::job::{EpochMs, Lane};
use jailfleet::reply;
use jailfleet::wire::{
    CANCEL_TYPE, CONTENT_TYPE, HEADER_DIGEST, HEADER_PUBLISHED_MS, JOB_TYPE, RESULT_TYPE,
};
use lapin::BasicProperties;
use lapin::message::Delivery as Received;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::envelope::{Envelope, JobMessage, ResultMessage};
use crate::outbox::{DeadLetter, KeptBody, Move, Parked, Reply, Stray};

pub(crate) const HEADER_TRACEPARENT: &str = "traceparent";
/// How many attempts ended in a fault of ours.
pub(crate) const HEADER_FAULTS: &str = "jailfleet-faults";
/// How often a job was put aside for a worker of its newer minor version.
pub(crate) const HEADER_HANDED_ON: &str = "jailfleet-handed-on";
/// How many deliveries failed before a worker that stopped sent the job anew.
pub(crate) const HEADER_DELIVERIES: &str = "jailfleet-deliveries";
/// The lane that a suspect was moved out of.
pub(crate) const HEADER_LANE: &str = "jailfleet-lane";
/// Why a message is in the dead queue.
pub(crate) const HEADER_REASON: &str = "jailfleet-reason";
/// The queue that a dead letter came from.
pub(crate) const HEADER_QUEUE: &str = "jailfleet-queue";
/// The reply queue that was asked for.
pub(crate) const HEADER_REPLY_TO: &str = "jailfleet-reply-to";
/// The pool that a job was moved out of.
pub(crate) const HEADER_POOL: &str = "jailfleet-pool";
/// The routing key that brings a parked job to its lane again.
pub(crate) const HEADER_LANE_KEY: &str = "jailfleet-lane-key";
/// What the requester of a parked job was told.
pub(crate) const HEADER_ANSWERED: &str = "jailfleet-answered";
/// Set when only the head of a parked body was kept.
pub(crate) const HEADER_HEAD: &str = "jailfleet-head";
/// When a dead letter was parked, milliseconds since the epoch.
pub(crate) const HEADER_PARKED_MS: &str = "jailfleet-parked-ms";
/// Why a result is in the lost queue.
pub(crate) const HEADER_LOST_REASON: &str = "jailfleet-lost-reason";
/// Set when the same message may have been published before.
pub(crate) const HEADER_REPUBLISH: &str = "jailfleet-republish";

const DELIVERY_COUNT: &str = "x-delivery-count";
/// From RabbitMQ 4.3 on: how often the message was handed out, also where that was no failed delivery.
const ACQUIRED_COUNT: &str = "x-acquired-count";
/// Where the broker notes which queues gave a message up.
pub(super) const DEATHS: &str = "x-death";
const PERSISTENT: u8 = 2;

/// Headers under construction.
#[derive(Default)]
struct Headers(FieldTable);

impl Headers {
    fn text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0
                .insert(key.into(), AMQPValue::LongString(value.into()));
        }
    }

    fn number(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
            self.0.insert(key.into(), AMQPValue::LongLongInt(value));
        }
    }
}

/// A property's text; one that the wire has no room for is left out.
fn short(text: Option<&str>) -> Option<ShortString> {
    ShortString::try_new(text?).ok()
}

struct Fields<'a> {
    message_id: Option<&'a str>,
    correlation_id: Option<&'a str>,
    reply_to: Option<&'a str>,
    kind: Option<&'a str>,
    headers: Headers,
}

fn build(fields: Fields<'_>) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(CONTENT_TYPE.into())
        .with_headers(fields.headers.0);
    if let Some(id) = short(fields.message_id) {
        properties = properties.with_message_id(id);
    }
    if let Some(id) = short(fields.correlation_id) {
        properties = properties.with_correlation_id(id);
    }
    if let Some(queue) = short(fields.reply_to) {
        properties = properties.with_reply_to(queue);
    }
    if let Some(kind) = short(fields.kind) {
        properties = properties.with_type(kind);
    }
    properties
}

/// The properties of a job that a producer publishes.
pub(super) fn of_job(job: &JobMessage) -> BasicProperties {
    let mut headers = Headers::default();
    headers.number(HEADER_PUBLISHED_MS, job.published_ms);
    headers.text(HEADER_TRACEPARENT, job.traceparent.as_deref());
    let properties = build(Fields {
        message_id: Some(&job.message_id),
        correlation_id: job.correlation_id.as_deref(),
        reply_to: job.reply_to.as_deref(),
        kind: Some(JOB_TYPE),
        headers,
    });
    match job.published_ms {
        Some(ms) => properties.with_timestamp(ms / 1000),
        None => properties,
    }
}

/// The properties of a result. `lost`: why it goes to the lost queue instead of its own.
pub(super) fn of_result(reply: &Reply, again: bool, lost: Option<&str>) -> BasicProperties {
    let mut headers = Headers::default();
    headers.text(HEADER_DIGEST, Some(&reply.result.digest));
    headers.text(HEADER_TRACEPARENT, reply.traceparent.as_deref());
    headers.text(HEADER_LOST_REASON, lost);
    headers.text(HEADER_REPLY_TO, lost.map(|_| reply.reply_to.as_str()));
    if again {
        headers
            .0
            .insert(HEADER_REPUBLISH.into(), AMQPValue::Boolean(true));
    }
    build(Fields {
        message_id: Some(&reply.result.message_id),
        correlation_id: reply.correlation_id.as_deref(),
        reply_to: None,
        kind: Some(RESULT_TYPE),
        headers,
    })
}

/// The properties of a cancel.
pub(super) fn of_cancel(id: &str, sent: EpochMs) -> BasicProperties {
    build(Fields {
        message_id: Some(id),
        correlation_id: None,
        reply_to: None,
        kind: Some(CANCEL_TYPE),
        headers: Headers::default(),
    })
    .with_timestamp(sent.0 / 1000)
}

/// The properties of a mark, which has no body and which only its writer reads, and of a note in a
/// logbook.
pub(super) fn of_mark(mark: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(mark.into())
}

/// The properties of a job that moves to another queue of ours.
pub(super) fn of_move(job: &Move, prefix: &str) -> BasicProperties {
    of_move_with(job, Headers::default(), prefix)
}

/// The properties of a job that goes to the queue that it came from, as if it had never left it.
pub(super) fn of_return(job: &Move, prefix: &str) -> BasicProperties {
    let mut headers = Headers::default();
    headers.number(HEADER_DELIVERIES, Some(job.envelope.delivery_count));
    of_move_with(job, headers, prefix)
}

fn of_move_with(job: &Move, mut headers: Headers, prefix: &str) -> BasicProperties {
    headers.number(HEADER_PUBLISHED_MS, job.envelope.published_ms);
    headers.text(HEADER_TRACEPARENT, job.envelope.traceparent.as_deref());
    headers.number(HEADER_FAULTS, Some(u64::from(job.envelope.faults)));
    headers.number(HEADER_HANDED_ON, handed_on(&job.envelope));
    headers.text(HEADER_LANE, Some(job.origin.lane.as_str()));
    headers.text(HEADER_POOL, Some(job.origin.pool.as_str()));
    of_passed_on(&job.envelope, headers, prefix)
}

/// Left out where it says nothing, as of almost every job.
fn handed_on(envelope: &Envelope) -> Option<u64> {
    Some(u64::from(envelope.handed_on)).filter(|times| *times > 0)
}

/// The properties of a dead letter.
pub(super) fn of_dead(letter: &DeadLetter, queue: &str, prefix: &str) -> BasicProperties {
    let mut headers = Headers::default();
    headers.text(HEADER_REASON, Some(&letter.reason));
    headers.text(HEADER_QUEUE, Some(queue));
    headers.number(HEADER_PUBLISHED_MS, letter.envelope.published_ms);
    headers.text(HEADER_TRACEPARENT, letter.envelope.traceparent.as_deref());
    of_passed_on(&letter.envelope, headers, prefix)
}

/// The properties of a dead letter that the reaper has dealt with.
pub(super) fn of_parked(letter: &Parked, prefix: &str) -> BasicProperties {
    let mut headers = Headers::default();
    headers.text(HEADER_REASON, Some(&letter.reason));
    headers.text(HEADER_QUEUE, Some(&letter.queue));
    headers.text(HEADER_LANE_KEY, letter.lane_key.as_deref());
    headers.text(HEADER_ANSWERED, letter.answered);
    headers.number(HEADER_PARKED_MS, Some(letter.parked_ms));
    headers.number(HEADER_PUBLISHED_MS, letter.envelope.published_ms);
    headers.text(HEADER_TRACEPARENT, letter.envelope.traceparent.as_deref());
    if letter.kept == KeptBody::Head {
        headers
            .0
            .insert(HEADER_HEAD.into(), AMQPValue::Boolean(true));
    }
    of_passed_on(&letter.envelope, headers, prefix)
}

/// The properties of a job that is sent once more.
pub(super) fn of_stray(job: &Stray, prefix: &str) -> BasicProperties {
    let mut headers = Headers::default();
    headers.number(HEADER_PUBLISHED_MS, job.envelope.published_ms);
    headers.text(HEADER_TRACEPARENT, job.envelope.traceparent.as_deref());
    of_passed_on(&job.envelope, headers, prefix)
}

fn of_passed_on(envelope: &Envelope, mut headers: Headers, prefix: &str) -> BasicProperties {
    // The broker looks at this property: "amq.rabbitmq.reply-to" from somebody who is no such
    // consumer closes the channel. As a header it is only a text.
    let asked = envelope.reply_to.as_deref();
    let vetted = asked.filter(|name| reply::vet(name, prefix).is_ok());
    if vetted.is_none() {
        headers.text(HEADER_REPLY_TO, asked);
    }
    build(Fields {
        message_id: envelope.message_id.as_deref(),
        correlation_id: envelope.correlation_id.as_deref(),
        reply_to: vetted,
        kind: envelope.kind.as_deref(),
        headers,
    })
}

/// What we read of a job's properties. `trusted`: it came through the internal exchange.
pub(super) fn envelope(received: &Received, trusted: bool) -> Envelope {
    let properties = &received.properties;
    let headers = properties.headers().as_ref();
    let number = |key: &str| headers.and_then(|table| as_number(table.inner().get(key)?));
    // Of ourselves only what producers cannot have written.
    let ours = |key: &str| number(key).filter(|_| trusted).unwrap_or(0);
    let few = |key: &str| u32::try_from(ours(key)).unwrap_or(u32::MAX);
    let counted = |key: &str| number(key).filter(|_| received.redelivered).unwrap_or(0);
    Envelope {
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        correlation_id: properties
            .correlation_id()
            .as_ref()
            .map(ToString::to_string),
        reply_to: properties.reply_to().as_ref().map(ToString::to_string),
        kind: properties.kind().as_ref().map(ToString::to_string),
        published_ms: number(HEADER_PUBLISHED_MS),
        traceparent: header_text(headers, HEADER_TRACEPARENT, 256),
        redelivered: received.redelivered,
        delivery_count: counted(DELIVERY_COUNT).saturating_add(ours(HEADER_DELIVERIES)),
        acquired: counted(ACQUIRED_COUNT),
        faults: few(HEADER_FAULTS),
        handed_on: few(HEADER_HANDED_ON),
        dead_lettered: headers.is_some_and(|table| table.inner().get(DEATHS).is_some()),
    }
}

/// The lane that a suspect was moved out of.
pub(super) fn lane_header(received: &Received) -> Option<Lane> {
    let headers = received.properties.headers().as_ref();
    Lane::parse(&header_text(headers, HEADER_LANE, 32)?).ok()
}

/// What a producer reads of a result.
pub(super) fn result(received: Received) -> ResultMessage {
    let properties = &received.properties;
    ResultMessage {
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        correlation_id: properties
            .correlation_id()
            .as_ref()
            .map(ToString::to_string),
        kind: properties.kind().as_ref().map(ToString::to_string),
        digest: header_text(properties.headers().as_ref(), HEADER_DIGEST, 128),
        redelivered: received.redelivered,
        body: received.data.into(),
    }
}

pub(super) fn header_text(headers: Option<&FieldTable>, key: &str, most: usize) -> Option<String> {
    let value = headers?.inner().get(key)?;
    let value = match value.as_long_string() {
        Some(text) => String::from_utf8(text.as_bytes().to_vec()).ok()?,
        None => value.as_short_string()?.to_string(),
    };
    (value.len() <= most).then_some(value)
}

/// Brokers and clients disagree on the width of an integer; its value is what counts.
pub(super) fn as_number(value: &AMQPValue) -> Option<u64> {
    let signed = value
        .as_long_long_int()
        .or_else(|| value.as_long_int().map(i64::from))
        .or_else(|| value.as_long_uint().map(i64::from))
        .or_else(|| value.as_short_int().map(i64::from))
        .or_else(|| value.as_short_uint().map(i64::from))
        .or_else(|| value.as_short_short_int().map(i64::from))
        .or_else(|| value.as_short_short_uint().map(i64::from));
    match signed {
        Some(number) => u64::try_from(number).ok(),
        None => std::str::from_utf8(value.as_long_string()?.as_bytes())
            .ok()?
            .parse()
            .ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(redelivered: bool, counts: &[(&'static str, AMQPValue)]) -> (u64, u64) {
        let (exchange, key) = ("jailfleet.jobs".into(), "default.bulk".into());
        let mut received = Received::mock(1, exchange, key, redelivered, Vec::new());
        let mut headers = FieldTable::default();
        for (key, value) in counts {
            headers.insert((*key).into(), value.clone());
        }
        received.properties = BasicProperties::default().with_headers(headers);
        let envelope = envelope(&received, false);
        (envelope.delivery_count, envelope.acquired)
    }

    #[test]
    fn deliveries_are_counted_by_the_headers_of_each_release_and_by_no_producers() {
        use AMQPValue::{LongInt, LongLongInt, LongUInt};
        let (failed, acquired) = ("x-delivery-count", "x-acquired-count");
        // 3.10 and 3.13: nothing at first, then one number for every return.
        assert_eq!(counts(false, &[]), (0, 0));
        assert_eq!(counts(true, &[(failed, LongLongInt(2))]), (2, 0));
        // 4.0: a zero at first.
        assert_eq!(counts(false, &[(failed, LongLongInt(0))]), (0, 0));
        // 4.3, after a failure, and after returns that were none.
        let both = [(failed, LongUInt(1)), (acquired, LongInt(3))];
        assert_eq!(counts(true, &both), (1, 3));
        assert_eq!(counts(true, &[(acquired, LongLongInt(50))]), (0, 50));
        // A header that a producer wrote, before any broker counted.
        let forged = [(failed, LongLongInt(9)), (acquired, LongLongInt(99))];
        assert_eq!(counts(false, &forged), (0, 0));
    }

    #[test]
    fn a_job_that_another_queue_gave_up_is_told_from_one_that_came_at_once() {
        let mut received = Received::mock(
            1,
            "jailfleet.jobs".into(),
            "default.bulk".into(),
            false,
            Vec::new(),
        );
        assert!(!envelope(&received, false).dead_lettered);
        let mut headers = FieldTable::default();
        headers.insert(DEATHS.into(), AMQPValue::FieldArray(Vec::new().into()));
        received.properties = BasicProperties::default().with_headers(headers);
        assert!(envelope(&received, false).dead_lettered);
    }
}
