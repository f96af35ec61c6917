//! The gateway's own interface in front of a real RabbitMQ node, a real worker and its warden.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing from an answer has to fail the test"
)]

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs and dead letters")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no gateway")]
mod worker;
#[path = "real_serve/gateway.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of the compatible interface"
)]
mod gateway;
#[path = "real_api/own.rs"]
mod own;
#[path = "real_api/story.rs"]
mod story;
#[path = "real_api/replicas.rs"]
mod replicas;
#[path = "real_api/killed.rs"]
mod killed;
#[path = "real_api/kept.rs"]
mod kept;
#[path = "real_api/lost.rs"]
mod lost;
#[path = "real_api/refused.rs"]
mod refused;
#[path = "real_api/rights.rs"]
mod rights;
#[path = "real_api/sealed.rs"]
mod sealed;
