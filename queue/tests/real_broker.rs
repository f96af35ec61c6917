//! The doors in front of a real RabbitMQ node that the tests start themselves.

mod support;
#[path = "real_broker/round.rs"]
mod round;
#[path = "real_broker/results.rs"]
mod results;
#[path = "real_broker/jobs.rs"]
mod jobs;
#[path = "real_broker/sessions.rs"]
mod sessions;
#[path = "real_broker/cancels.rs"]
mod cancels;
