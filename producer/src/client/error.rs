//! Why a client cannot go on, in words for whoever waits for it.

use std::time::Duration;

use jailfleet_queue::OutboxError;
use jailfleet_queue::amqp::OpenError;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The door could not be opened at all.
    #[error("open the door to the broker")]
    Open(#[from] OpenError),
    /// The broker did not answer in time.
    #[error("reach the broker {uri} within {} ms: {trouble}", within.as_millis())]
    Unreachable {
        /// The broker's URI without its password.
        uri: String,
        /// How long it was tried.
        within: Duration,
        /// What went wrong last.
        trouble: String,
    },
    /// A job could not be published.
    #[error("publish the job {job_id}")]
    Publish {
        /// The job.
        job_id: String,
        /// Why.
        source: OutboxError,
    },
    /// The broker did not take the job in time.
    #[error("hand the job {job_id} to the broker within {} s: {trouble}; it may have it all the same: give the same --id when you try again", within.as_secs())]
    NotTaken {
        /// The job.
        job_id: String,
        /// How long it was tried.
        within: Duration,
        /// What it waited for.
        trouble: String,
    },
    /// No result came in time.
    #[error("get a result of the job {job_id} within {} s: {why}", within.as_secs())]
    NoResult {
        /// The job.
        job_id: String,
        /// How long it was waited for.
        within: Duration,
        /// What hindered it, as far as is known here.
        why: String,
    },
    /// The door closed under our hands.
    #[error("go on with a door that closed")]
    Closed,
}

/// Why a job that the broker has may be without a result.
pub(super) fn why_none(trouble: Option<String>) -> String {
    match trouble {
        Some(trouble) => {
            format!("{trouble}. A result that came meanwhile: `jailfleet-producer lost list`")
        }
        None => "is a worker of its pool and lane running?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::why_none;

    #[test]
    fn who_gets_no_result_hears_of_the_broker_and_not_of_workers_where_that_is_the_trouble() {
        let words = why_none(Some("connect: Connection refused".to_owned()));
        assert!(words.starts_with("connect: Connection refused"), "{words}");
        assert!(
            words.contains("lost list") && !words.contains("worker"),
            "{words}"
        );
        assert!(why_none(None).contains("worker"));
    }
}
