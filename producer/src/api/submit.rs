//! The story of jobs that are posted: from a body that was read to the word that the broker has them.
//!
//! First a note says what is accepted, under which secrets. It is read back, because another gateway
//! may have accepted the same ids: the first note counts. Only then the jobs are published, and a
//! second note says which of them the broker has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use jailfleet::job::Job;
use jailfleet::wire::{self, WireCaps};
use jailfleet_queue::{JobMessage, OutboxError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::Api;
use super::answer::{Body, Failure, json_answer};
use super::index::{Index, Known, is_orphan};
use super::metrics::JobEnd;
use super::note::{self, Accepted, Note};
use super::order::{self, Bounds, Order, Shape};
use super::tenants::Tenant;
use super::view;
use crate::correlation::CorrelationId;
use crate::input::hex;

/// Jobs of one request that are on their way to the broker at one time.
const WINDOW: usize = 64;

/// A job that is to be published.
#[derive(Debug)]
struct Item {
    index: usize,
    job: Job,
    content: String,
    correlation: CorrelationId,
    instead_of: Option<String>,
}

/// What is to be done with each job of a request.
#[derive(Debug)]
struct Plan {
    new: Vec<Item>,
    /// Ids and states, in the order of the request.
    receipts: Vec<(String, &'static str)>,
}

/// What the broker said of a job.
enum Fate {
    Taken,
    Refused(OutboxError),
    /// It may have it.
    Unconfirmed,
}

/// Takes jobs on.
///
/// # Errors
/// What is wrong with the request, or that the broker does not take all of its jobs.
pub(super) async fn submit(
    api: &Arc<Api>,
    tenant: &Arc<Tenant>,
    body: Bytes,
) -> Result<Response<Body>, Failure> {
    let producer = &api.settings.producer;
    let bounds = Bounds {
        pool: &producer.pool,
        jobs: api.settings.api.jobs,
        caps: WireCaps {
            body_bytes: producer.message_bytes,
            ..WireCaps::default()
        },
    };
    let Order { shape, jobs } = order::read(&body, tenant, &bounds, || Uuid::now_v7().to_string())?;
    drop(body);
    api.rates.jobs(tenant, jobs.len(), api.clock.now())?;
    if !api.door.borrow().is_ready() {
        return Err(Failure::no_broker());
    }
    let (own, asker) = (Arc::clone(api), Arc::clone(tenant));
    // A task of its own: a caller that goes away must not leave half of it done.
    let accepting = api
        .tasks
        .spawn(async move { accept(&own, &asker, jobs).await });
    let (receipts, some_new) = accepting.await.map_err(|_ended| Failure::no_broker())??;
    let status = if some_new {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let shown = receipts
        .iter()
        .map(|(key, state)| view::receipt(tenant, key, state));
    match shape {
        Shape::Many => {
            let jobs: Vec<Value> = shown.collect();
            Ok(json_answer(status, &json!({ "jobs": jobs })))
        }
        Shape::One => {
            let shown = shown.into_iter().next().unwrap_or_default();
            let mut response = json_answer(status, &shown);
            let id = shown.get("id").and_then(Value::as_str).unwrap_or_default();
            // An id has no letter that a path could not have.
            if let Ok(at) = HeaderValue::from_str(&format!("/api/v1/jobs/{id}")) {
                response.headers_mut().insert(LOCATION, at);
            }
            Ok(response)
        }
    }
}

type Receipts = (Vec<(String, &'static str)>, bool);

async fn accept(api: &Api, tenant: &Tenant, jobs: Vec<Job>) -> Result<Receipts, Failure> {
    let confirm = api.settings.amqp.confirm_timeout_ms.duration();
    let now_ms = api.clock.epoch_ms().0;
    let all = jobs.len();
    let planned = api.book.look(|index| plan(index, jobs, now_ms, confirm));
    let Plan {
        mut new,
        mut receipts,
    } = planned?;
    let nonce = Uuid::new_v4().simple().to_string();
    if !new.is_empty() {
        let conflict = announce(api, &nonce, &mut new, &mut receipts, now_ms).await?;
        if let Some(index) = conflict {
            withdraw(api, &nonce, ids(&new)).await;
            return Err(differs(index));
        }
    }
    api.metrics.api().jobs(JobEnd::Repeated, all - new.len());
    let some_new = !new.is_empty();
    let fates = publish(api, new).await;
    settle(api, tenant, &nonce, fates, &mut receipts).await?;
    Ok((receipts, some_new))
}

/// Decides what to do with each job, by what is known. Pure.
fn plan(index: &Index, jobs: Vec<Job>, now_ms: u64, confirm: Duration) -> Result<Plan, Failure> {
    let mut plan = Plan {
        new: Vec::new(),
        receipts: Vec::with_capacity(jobs.len()),
    };
    for (place, job) in jobs.into_iter().enumerate() {
        let content = hex(&Sha256::digest(wire::encode_job(&job)));
        let known = index.job(job.id.as_str());
        let state = match known {
            Some(known) if *known.content != *content => return Err(differs(place)),
            Some(known) if !is_orphan(known, now_ms, confirm) => view::state(&known.standing),
            Some(_) | None => "queued",
        };
        plan.receipts.push((job.id.as_str().to_owned(), state));
        let orphan = known.filter(|known| is_orphan(known, now_ms, confirm));
        if known.is_none() || orphan.is_some() {
            plan.new.push(Item {
                index: place,
                job,
                content,
                correlation: CorrelationId::random(),
                instead_of: orphan.map(|known| known.nonce.to_string()),
            });
        }
    }
    Ok(plan)
}

fn differs(index: usize) -> Failure {
    let message = "id: another job has this id; send the same job again, or another id";
    Failure::new(StatusCode::CONFLICT, "id_in_use", message)
        .in_field("id")
        .at(index)
}

/// Says which jobs are accepted, and waits until that is read. Whoever was before us with one of them
/// keeps it; the place of the first such job that is another one comes back.
async fn announce(
    api: &Api,
    nonce: &str,
    new: &mut Vec<Item>,
    receipts: &mut [(String, &'static str)],
    at_ms: u64,
) -> Result<Option<usize>, Failure> {
    let jobs = new.iter().map(|item| Accepted {
        id: item.job.id.as_str().to_owned(),
        batch: item.job.batch.clone(),
        content: item.content.clone(),
        secret: note::secret(item.correlation),
        instead_of: item.instead_of.clone(),
    });
    let note = Note::Accepted {
        nonce: nonce.to_owned(),
        at_ms,
        jobs: jobs.collect(),
    };
    let within = api.settings.amqp.confirm_timeout_ms.duration();
    let announcing = async {
        write(api, &format!("{nonce}.accepted"), &note).await?;
        let read = |index: &Index| {
            let all = new.iter().all(|item| {
                let known = index.job(item.job.id.as_str());
                known.is_some_and(|known| Some(&*known.nonce) != item.instead_of.as_deref())
            });
            all.then_some(())
        };
        api.book.until(read).await;
        Ok(())
    };
    timeout(within, announcing)
        .await
        .unwrap_or_else(|_elapsed| Err(Failure::no_broker()))?;
    let mut conflict = None;
    api.book.look(|index| {
        new.retain(|item| {
            let Some(known) = index.job(item.job.id.as_str()) else {
                return false;
            };
            let ours = *known.nonce == *nonce;
            if !ours {
                conflict = conflict.or(beaten(known, item, receipts));
            }
            ours
        });
    });
    Ok(conflict)
}

/// Somebody else accepted that id first: the same job, whose state is told, or another one.
fn beaten(known: &Known, item: &Item, receipts: &mut [(String, &'static str)]) -> Option<usize> {
    if *known.content != *item.content {
        return Some(item.index);
    }
    if let Some((_, state)) = receipts.get_mut(item.index) {
        *state = view::state(&known.standing);
    }
    None
}

async fn publish(api: &Api, new: Vec<Item>) -> Vec<(usize, String, Fate)> {
    let within = api.settings.amqp.confirm_timeout_ms.duration();
    let publishing = new.into_iter().map(|item| {
        let id = item.job.id.as_str().to_owned();
        let message = JobMessage {
            body: Bytes::from(wire::encode_job(&item.job)),
            message_id: id.clone(),
            correlation_id: Some(item.correlation.to_string()),
            reply_to: Some(api.book.desk().reply_to().to_owned()),
            pool: item.job.pool.clone(),
            lane: item.job.lane,
            published_ms: Some(api.clock.epoch_ms().0),
            traceparent: None,
        };
        async move {
            let fate = match timeout(within, api.book.desk().publish(message)).await {
                Ok(Ok(())) => Fate::Taken,
                Ok(Err(OutboxError::Closed)) | Err(_) => Fate::Unconfirmed,
                Ok(Err(error)) => Fate::Refused(error),
            };
            (item.index, id, fate)
        }
    });
    stream::iter(publishing)
        .buffer_unordered(WINDOW)
        .collect()
        .await
}

/// Notes what became of each job.
async fn settle(
    api: &Api,
    tenant: &Tenant,
    nonce: &str,
    fates: Vec<(usize, String, Fate)>,
    receipts: &mut [(String, &'static str)],
) -> Result<(), Failure> {
    let (mut taken, mut refused, mut unconfirmed) = (Vec::new(), Vec::new(), 0);
    let mut lacking = HashSet::new();
    let mut full = true;
    for (index, id, fate) in fates {
        match fate {
            Fate::Taken => taken.push(id),
            Fate::Refused(error) => {
                tracing::warn!(id, %error, "a job was not taken by the broker");
                full &= matches!(error, OutboxError::Full { .. });
                lacking.insert(index);
                refused.push(id);
            }
            Fate::Unconfirmed => {
                tracing::warn!(id, "the broker did not confirm a job in time");
                if let Some((_, state)) = receipts.get_mut(index) {
                    *state = "accepted";
                }
                unconfirmed += 1;
            }
        }
    }
    api.metrics.api().jobs(JobEnd::Taken, taken.len());
    api.metrics.api().jobs(JobEnd::Refused, refused.len());
    api.metrics.api().jobs(JobEnd::Unconfirmed, unconfirmed);
    if !taken.is_empty() {
        let note = Note::Sent {
            nonce: nonce.to_owned(),
            ids: taken,
        };
        // The jobs are out, whether or not the others hear of it now.
        if let Err(failure) = write_in_time(api, &format!("{nonce}.sent"), &note).await {
            tracing::warn!(%failure, "jobs are out, and the logbook does not say so");
        }
    }
    let some_refused = !refused.is_empty();
    if some_refused {
        withdraw(api, nonce, refused).await;
    }
    if !some_refused && unconfirmed == 0 {
        return Ok(());
    }
    let (code, message) = match (some_refused, full) {
        (true, true) => (
            "queue_full",
            "the queue is full: send what was not taken again later; what was taken stays",
        ),
        (true, false) => (
            "not_taken",
            "the broker refused jobs: the gateway's log says why; what was taken stays",
        ),
        (false, _) => (
            "not_confirmed",
            "the broker confirmed not all jobs in time: send the same again, under the same ids",
        ),
    };
    let jobs = receipts.iter().enumerate();
    let there = jobs.filter(|(index, _)| !lacking.contains(index));
    let there: Vec<Value> = there
        .map(|(_, (key, state))| view::receipt(tenant, key, state))
        .collect();
    Err(Failure {
        jobs: Some(Box::new(Value::Array(there))),
        ..Failure::unavailable(code, message)
    })
}

fn ids(items: &[Item]) -> Vec<String> {
    let ids = items.iter().map(|item| item.job.id.as_str().to_owned());
    ids.collect()
}

async fn withdraw(api: &Api, nonce: &str, ids: Vec<String>) {
    if ids.is_empty() {
        return;
    }
    let nonce = nonce.to_owned();
    let id = format!("{nonce}.withdrawn");
    let note = Note::Withdrawn { nonce, ids };
    if let Err(failure) = write_in_time(api, &id, &note).await {
        tracing::warn!(%failure, "jobs that were not taken stay accepted in the logbook");
    }
}

async fn write(api: &Api, id: &str, note: &Note) -> Result<(), Failure> {
    let written = api.book.desk().note(id.to_owned(), note.encode().into());
    written.await.map_err(|error| {
        tracing::warn!(%error, "the logbook takes no note");
        Failure::no_broker()
    })
}

async fn write_in_time(api: &Api, id: &str, note: &Note) -> Result<(), Failure> {
    let within = api.settings.amqp.confirm_timeout_ms.duration();
    let written = timeout(within, write(api, id, note)).await;
    written.unwrap_or_else(|_elapsed| Err(Failure::no_broker()))
}

#[cfg(test)]
mod tests;
