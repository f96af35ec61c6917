//! Reads the sections that a producer has.

use super::reader::Reader;
use super::sections::{ProducerSection, ProducerSettings};
use super::{api, serve, worker};
use crate::job::Lane;

pub(super) fn producer_settings(read: &mut Reader) -> Option<ProducerSettings> {
    let amqp = worker::amqp(read);
    let producer = producer(read);
    let serve = serve::serve(read);
    let api = api::api(read);
    let log = worker::log(read);
    Some(ProducerSettings {
        amqp: amqp?,
        producer: producer?,
        serve: serve?,
        api: api?,
        log: log?,
    })
}

fn producer(read: &mut Reader) -> Option<ProducerSection> {
    let pool = read.name("producer.pool");
    let lane = read.word("producer.lane", |word| Lane::parse(word).ok());
    let window = read.narrow("producer.window");
    let prefetch = read.narrow("producer.prefetch");
    let idle_timeout_ms = read.millis("producer.idle_timeout_ms");
    let message_bytes = read.narrow("producer.message_bytes");
    let result_bytes = read.narrow("producer.result_bytes");
    Some(ProducerSection {
        pool: pool?,
        lane: lane?,
        window: window?,
        prefetch: prefetch?,
        idle_timeout_ms: idle_timeout_ms?,
        message_bytes: message_bytes?,
        result_bytes: result_bytes?,
    })
}
