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
    if let Some(rest) = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('.'))
    {
        if rest.strip_prefix("reply.").is_none_or(str::is_empty) {
            return refuse(
                "is one of our own queues: only those that begin with <prefix>.reply. take results",
            );
        }
    }
    Ok(ReplyTo(name.to_owned()))
}
