//! How many messages wait in a queue.

use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use crate::connection::{SessionError, call};

/// How many messages wait in a queue; `None` where the broker does not say, which costs the look's own channel and
/// nothing else.
pub(super) async fn depth(
    connection: &Connection,
    queue: &str,
) -> Result<Option<u32>, SessionError> {
    let channel = call("open a channel", connection.create_channel()).await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declare = channel.queue_declare(queue.into(), options, FieldTable::default());
    match call("look at a queue", declare).await {
        Ok(found) => {
            call("close a channel", channel.close(200, "seen".into())).await?;
            Ok(Some(found.message_count()))
        }
        Err(SessionError::Amqp { source, .. }) if source.is_amqp_soft_error() => {
            tracing::warn!(queue, error = %source, "a queue cannot be looked at");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
