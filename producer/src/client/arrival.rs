//! What comes back: results, read as far as they can be.

use bytes::Bytes;
use jailfleet::job::JobId;
use jailfleet::result::JobResult;
use jailfleet::wire;
use jailfleet_queue::{Disposition, ResultDelivery, SettleError, Ticket};
use serde_json::Value;

use crate::correlation::CorrelationId;

/// A result that came, read as far as it can be.
#[derive(Debug)]
pub struct Arrival {
    /// The secret that it carries, where that looks like one of ours.
    pub correlation: Option<CorrelationId>,
    /// What it says.
    pub content: Result<Content, Unreadable>,
    ticket: Ticket,
}

/// A result that reads.
#[derive(Debug, Clone)]
pub struct Content {
    /// The result, typed.
    pub result: JobResult,
    /// The message as it came, in one line; fields that only a newer worker knows are kept.
    pub line: String,
    /// Hex SHA-256 over what does not vary between honest attempts, computed here.
    pub digest: String,
}

impl Content {
    /// Names the job in a result that does not: its secret proved whose it is, and whoever reads
    /// the line has only the id to go by.
    pub fn name_job(&mut self, id: &JobId) {
        if self.result.job_id.is_none() {
            self.result.job_id = Some(id.clone());
            // The line is one JSON object: decoding proved it.
            let comma = if self.line.starts_with("{}") { "" } else { "," };
            let rest = self.line.split_off(1);
            self.line = format!("{{\"job_id\":\"{id}\"{comma}{rest}");
        }
    }
}

/// A result that does not read.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// What is wrong with it.
    pub what: String,
    /// The message.
    pub body: Bytes,
}

impl Arrival {
    pub(super) fn read(delivery: ResultDelivery, max_bytes: usize) -> Self {
        let ResultDelivery { message, ticket } = delivery;
        let correlation = message
            .correlation_id
            .as_deref()
            .and_then(CorrelationId::parse);
        let content = Content::read(&message.body, max_bytes);
        let content = content.map_err(|what| Unreadable {
            what,
            body: message.body,
        });
        Self {
            correlation,
            content,
            ticket,
        }
    }

    /// Tells the broker that the result is stored, or is not wanted. Only then does it forget it.
    ///
    /// # Errors
    /// When the session that brought it is over: it comes again, and is a duplicate then.
    pub async fn take(self) -> Result<(), SettleError> {
        self.ticket.settle(Disposition::Ack).await
    }

    /// Hands the result back to the broker, for the next run.
    ///
    /// # Errors
    /// When the session that brought it is over: the broker has it back already.
    pub async fn hand_back(self) -> Result<(), SettleError> {
        self.ticket.settle(Disposition::Requeue).await
    }
}

impl Content {
    /// Reads a message, or a line of a results file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8], max_bytes: usize) -> Result<Self, String> {
        if body.len() > max_bytes {
            return Err(format!(
                "has {} bytes where {max_bytes} are allowed",
                body.len()
            ));
        }
        let result = wire::decode_result(body).map_err(|error| error.message)?;
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        // Over the body as it came: a newer worker may say more than we can read.
        let digest = wire::result_digest(body).map_err(|error| error.message)?;
        Ok(Self {
            result,
            line: value.to_string(),
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    #[test]
    fn results_that_differ_in_a_field_of_a_newer_worker_have_different_digests() {
        let read = |more: &str| {
            let body = format!(
                r#"{{"v":1,"job_id":"a","outcome":"exited","exit_code":0,"novelty":"{more}",
                    "worker":{{"host":"h","version":"9","slot":0,"attempt":1}}}}"#
            );
            Content::read(body.as_bytes(), 4096).expect("a result of a newer minor version reads")
        };
        assert_eq!(read("x").digest, read("x").digest);
        assert_ne!(read("x").digest, read("y").digest);
    }
}
