//! Which reply queues a job may ask for: one rule for worker, reaper, gateway and requeue.

use crate::rejection::{Rejection, RejectionCode};

/// The name of a reply queue that was vetted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyTo(String);

impl ReplyTo {
    /// The queue's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Vets the `reply_to` of a message. `prefix` is the configured prefix of our own names.
///
/// # Errors
/// [`RejectionCode::BadReplyTo`] for a name that is empty or longer than 255 bytes, holds control
/// characters, belongs to the broker (`amq.`), or is ours but no reply queue.
pub fn vet(name: &str, prefix: &str) -> Result<ReplyTo, Rejection> {
    let refuse = |complaint: &str| {
        Err(Rejection::about(RejectionCode::BadReplyTo, name, complaint).in_field("reply_to"))
    };
    if name.is_empty() || name.len() > 255 {
        return refuse("must have 1 to 255 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("must not hold control characters");
    }
    if name.starts_with("amq.") {
        return refuse("belongs to the broker: name a queue of your own");
    }
    let ours = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('.'));
    let takes_results = |rest: &str| {
        rest.strip_prefix("reply.")
            .is_some_and(|own| !own.is_empty())
    };
    if ours.is_some_and(|rest| !takes_results(rest)) {
        return refuse("is a queue of ours that takes no results: use <prefix>.reply.<name>");
    }
    Ok(ReplyTo(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queues_of_the_producers_own_are_taken() {
        for name in [
            "grades",
            "jailfleet.reply.exam-7",
            "jailfleet-like",
            "jailfleets.jobs",
            "AMQ.upper",
            "ünïcode",
            &"x".repeat(255),
        ] {
            assert_eq!(vet(name, "jailfleet").expect(name).as_str(), name);
        }
        vet("jailfleet.jobs.default.bulk", "other").expect("another deployment's business");
    }

    #[test]
    fn hostile_queues_are_refused() {
        for name in [
            "",
            "amq.rabbitmq.reply-to",
            "amq.rabbitmq.reply-to.g1h2AA.bogus",
            "amq.gen-x",
            "jailfleet.jobs.default.bulk",
            "jailfleet.dead",
            "jailfleet.results.lost",
            "jailfleet.",
            "jailfleet.reply",
            "jailfleet.reply.",
            "jailfleet.replyx",
            "a\nb",
            "a\0b",
            &"x".repeat(256),
            &"ü".repeat(128),
        ] {
            let refusal = vet(name, "jailfleet").expect_err(name);
            assert_eq!(refusal.code, RejectionCode::BadReplyTo, "{name}");
            assert!(refusal.message.starts_with("reply_to: ") && refusal.message.len() < 700);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_the_brokers_or_ours_passes(name: String) {
            let brokers = format!("amq.{name}");
            prop_assert!(vet(&brokers, "p").is_err());
            let ours = format!("p.{name}");
            prop_assert!(vet(&ours, "p").is_err() || ours.starts_with("p.reply."));
        }
    }
}
