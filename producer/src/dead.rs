//! `dead`: looks at the jobs that a reaper has parked, sends them again, or drops them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jailfleet::job::EpochMs;
use jailfleet::settings::ProducerSettings;
use jailfleet::wire::moment;
use jailfleet_program::Clock;
use jailfleet_queue::JobMessage;
use jailfleet_queue::amqp::shelf::{KeptMessage, Shelf, ShelfError};
use jailfleet_queue::outbox::KeptBody;
use jailfleet_queue::topology::Kept;
use serde_json::{Value, json};

use crate::cli::{DeadCommand, Exit, ListArgs, Which};
use crate::kept::{KeptError, id_of, print, shown, table};
use crate::progress::say;

/// Carries the command out.
///
/// # Errors
/// When the broker cannot be reached or says no. What was looked at is back in its queue then.
pub async fn run(settings: &ProducerSettings, command: &DeadCommand) -> Result<Exit, KeptError> {
    let mut shelf = Shelf::open(&settings.amqp, Kept::DeadParked).await?;
    let done = match command {
        DeadCommand::List(args) => list(&mut shelf, args).await,
        DeadCommand::Show { id, json } => show(&mut shelf, id, *json).await,
        DeadCommand::Requeue(which) => {
            let clock = Clock::start();
            let requeue = |message: &KeptMessage| again(message, clock.epoch_ms());
            act(&mut shelf, which, Act::SendAgain(&requeue)).await
        }
        DeadCommand::Drop(which) => act(&mut shelf, which, Act::Drop).await,
    };
    // Also after a failure: what was taken goes back in its order.
    let closed = shelf.close().await;
    let exit = done?;
    closed?;
    Ok(exit)
}

fn id(message: &KeptMessage) -> String {
    id_of(message.envelope.message_id.as_deref(), &message.body)
}

async fn list(shelf: &mut Shelf, args: &ListArgs) -> Result<Exit, KeptError> {
    let all = shelf.waiting().await?;
    let mut rows = Vec::new();
    let mut count = 0;
    while count < args.limit
        && let Some(message) = shelf.next().await?
    {
        count += 1;
        if args.json {
            print(&format!("{}\n", facts(&message)))?;
        } else {
            rows.push(row(&message));
        }
    }
    if !args.json {
        let head = ["ID", "PARKED", "ANSWERED", "LANE", "BYTES", "REASON"];
        print(&table(&head, &rows))?;
    }
    say(&format!("{count} of {all} dead letters"));
    Ok(Exit::Done)
}

fn parked(message: &KeptMessage) -> Option<String> {
    message.parked_ms.map(|ms| moment(EpochMs(ms)))
}

fn lane(message: &KeptMessage) -> Option<String> {
    let (pool, lane) = message.lane.as_ref()?;
    Some(format!("{pool}.{lane}"))
}

fn row(message: &KeptMessage) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        id(message),
        or_dash(parked(message)),
        or_dash(message.answered.clone()),
        or_dash(lane(message)),
        message.body.len().to_string(),
        or_dash(message.reason.clone()),
    ]
}

/// What is known of a letter, without its body.
fn facts(message: &KeptMessage) -> Value {
    let envelope = &message.envelope;
    let reply_to = envelope.reply_to.as_ref();
    let mut facts = json!({
        "id": id(message),
        "message_id": envelope.message_id,
        "parked": parked(message),
        "reason": message.reason,
        "queue": message.queue,
        "lane": lane(message),
        "answered": message.answered,
        "reply_to": reply_to.or(message.asked_reply_to.as_ref()),
        "published_ms": envelope.published_ms,
        "traceparent": envelope.traceparent,
        "bytes": message.body.len(),
        "cut": message.kept == KeptBody::Head,
    });
    // A fact that is not known is left out, never null.
    if let Some(facts) = facts.as_object_mut() {
        facts.retain(|_, value| !value.is_null());
    }
    facts
}

async fn show(shelf: &mut Shelf, wanted: &str, as_json: bool) -> Result<Exit, KeptError> {
    while let Some(message) = shelf.next().await? {
        if id(&message) != wanted {
            continue;
        }
        let mut facts = facts(&message);
        let body = std::str::from_utf8(&message.body);
        if as_json {
            let body = match body {
                Ok(text) => json!(text),
                Err(_) => json!({ "base64": STANDARD.encode(&message.body) }),
            };
            if let Some(facts) = facts.as_object_mut() {
                facts.insert("body".to_owned(), body);
            }
            print(&format!("{facts}\n"))?;
            return Ok(Exit::Done);
        }
        let mut text = String::new();
        for (name, value) in facts.as_object().into_iter().flatten() {
            let value = value.as_str().map_or(value.to_string(), ToOwned::to_owned);
            text.push_str(&format!(
                "{name:<14}{}\n",
                shown(&value).replace('\n', "\\n")
            ));
        }
        text.push('\n');
        text.push_str(&match body {
            Ok(body) => shown(body),
            Err(_) => STANDARD.encode(&message.body),
        });
        text.push('\n');
        print(&text)?;
        return Ok(Exit::Done);
    }
    say(&format!("{}: no such dead letter", shown(wanted)));
    Ok(Exit::Incomplete)
}

/// What is done with each letter before it is forgotten.
enum Act<'a> {
    SendAgain(&'a (dyn Fn(&KeptMessage) -> Result<JobMessage, &'static str> + Sync)),
    Drop,
}

/// Deals with each letter that is meant. Those that come while this runs are for the next time.
async fn act(shelf: &mut Shelf, which: &Which, act: Act<'_>) -> Result<Exit, KeptError> {
    let mut missing: BTreeSet<&str> = which.ids.iter().map(String::as_str).collect();
    let (mut done, mut left) = (0_u64, 0_u64);
    for _ in 0..shelf.waiting().await? {
        let Some(message) = shelf.next().await? else {
            break;
        };
        let id = id(&message);
        if !which.all && !which.ids.contains(&id) {
            continue;
        }
        missing.remove(id.as_str());
        if let Act::SendAgain(make) = &act {
            let sent = match make(&message) {
                Ok(job) => shelf.send(job).await.map_err(|error| match error {
                    // The others may do; without a broker nothing will.
                    ShelfError::BadReplyTo(_) | ShelfError::NotSent { .. } => Ok(error.to_string()),
                    ShelfError::Broker { .. }
                    | ShelfError::Blocked { .. }
                    | ShelfError::BadUri { .. } => Err(error),
                }),
                Err(why) => Err(Ok(why.to_owned())),
            };
            match sent {
                Ok(()) => {}
                Err(Ok(why)) => {
                    left += 1;
                    say(&format!("{}: stays: {why}", shown(&id)));
                    continue;
                }
                Err(Err(error)) => return Err(error.into()),
            }
        }
        shelf.forget(message).await?;
        done += 1;
    }
    for id in &missing {
        say(&format!("{}: no such dead letter", shown(id)));
    }
    let verb = match act {
        Act::SendAgain(_) => "sent again",
        Act::Drop => "dropped",
    };
    say(&format!("{done} {verb}"));
    let all_done = missing.is_empty() && left == 0;
    Ok(if all_done {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

/// The job as its producer would send it now: the reaper's notes and the broker's history are no
/// part of it.
fn again(message: &KeptMessage, now: EpochMs) -> Result<JobMessage, &'static str> {
    if message.kept == KeptBody::Head {
        return Err("only the start of its body was kept");
    }
    let Some((pool, lane)) = message.lane.clone() else {
        return Err("its pool and lane are not known");
    };
    let Some(message_id) = message.envelope.message_id.clone() else {
        return Err("it has no message_id");
    };
    Ok(JobMessage {
        body: message.body.clone(),
        message_id,
        correlation_id: message.envelope.correlation_id.clone(),
        reply_to: message.envelope.reply_to.clone(),
        pool,
        lane,
        published_ms: Some(now.0),
        traceparent: message.envelope.traceparent.clone(),
    })
}
