//! The story of a question: how a job or a batch stands, now or once there is more to say.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};
use jailfleet::cancel::Target;
use jailfleet::job::JobId;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Api;
use super::answer::{Body, Failure, json_answer};
use super::index::{Index, Known, Standing};
use super::order;
use super::tenants::Tenant;
use super::view;

/// How long it may take to hear of everything that other gateways have accepted by now.
const UP_TO_NOW: Duration = Duration::from_secs(5);

/// Answers how a job stands; where it is not done, after `wait` at most.
///
/// # Errors
/// When it is not known to the tenant, or its result cannot be had.
pub(super) async fn job(
    api: &Arc<Api>,
    tenant: &Tenant,
    name: &str,
    wait: Option<Duration>,
) -> Result<Response<Body>, Failure> {
    let key = job_key(tenant, name)?;
    let mut known = known(api, key.as_str()).await?;
    if view::body_of(&known).is_none()
        && let Some(wait) = wait
    {
        let _place = api.wait_for(tenant)?;
        let done = |index: &Index| {
            let known = index.job(key.as_str());
            // One that is forgotten meanwhile has nothing more to say.
            let over = known.is_none_or(|known| view::body_of(known).is_some());
            over.then(|| known.cloned())
        };
        tokio::select! {
            changed = api.book.until(done) => {
                known = changed.ok_or_else(|| forgotten(api))?;
            }
            () = sleep(wait) => {}
            () = api.stop.cancelled() => {}
        }
        let now = api.book.look(|index| index.job(key.as_str()).cloned());
        known = now.unwrap_or(known);
    }
    let shown = show(api, tenant, key.as_str(), &known).await?;
    Ok(json_answer(StatusCode::OK, &shown))
}

/// A job that is not known any more: for good, or until the logbook is read again.
fn forgotten(api: &Api) -> Failure {
    if api.book.is_caught_up() {
        Failure::unknown("job")
    } else {
        Failure::not_ready()
    }
}

/// Cancels a job that is not done.
///
/// # Errors
/// When it is not known to the tenant, or the broker does not keep the cancel.
pub(super) async fn cancel_job(
    api: &Arc<Api>,
    tenant: &Tenant,
    name: &str,
) -> Result<Response<Body>, Failure> {
    let key = job_key(tenant, name)?;
    let known = known(api, key.as_str()).await?;
    let mut shown = view::job(tenant, key.as_str(), &known, None);
    if view::body_of(&known).is_some() {
        return Ok(json_answer(StatusCode::OK, &shown));
    }
    api.cancel(Target::Job(key)).await?;
    say_cancelled(&mut shown);
    Ok(json_answer(StatusCode::ACCEPTED, &shown))
}

/// Answers how a batch stands.
///
/// # Errors
/// When it is not known to the tenant.
pub(super) async fn batch(
    api: &Arc<Api>,
    tenant: &Tenant,
    name: &str,
) -> Result<Response<Body>, Failure> {
    let key = batch_key(api, tenant, name).await?;
    let shown = shown_batch(api, tenant, &key)?;
    Ok(json_answer(StatusCode::OK, &shown))
}

/// Cancels what of a batch is not done.
///
/// # Errors
/// As [`cancel_job`].
pub(super) async fn cancel_batch(
    api: &Arc<Api>,
    tenant: &Tenant,
    name: &str,
) -> Result<Response<Body>, Failure> {
    let key = batch_key(api, tenant, name).await?;
    let mut shown = shown_batch(api, tenant, &key)?;
    let target = Target::batch(&key).map_err(|_no| Failure::unknown("batch"))?;
    api.cancel(target).await?;
    say_cancelled(&mut shown);
    Ok(json_answer(StatusCode::ACCEPTED, &shown))
}

fn shown_batch(api: &Api, tenant: &Tenant, key: &str) -> Result<Value, Failure> {
    let shown = api.book.look(|index| {
        let batch = index.batch(key)?;
        Some(view::batch(tenant, key, batch))
    });
    shown.ok_or_else(|| Failure::unknown("batch"))
}

fn say_cancelled(shown: &mut Value) {
    if let Value::Object(fields) = shown {
        fields.insert("cancelled".to_owned(), Value::Bool(true));
    }
}

fn job_key(tenant: &Tenant, name: &str) -> Result<JobId, Failure> {
    order::key(tenant, name).ok_or_else(|| Failure::unknown("job"))
}

/// The key of a batch that is known.
///
/// # Errors
/// When it is not known to the tenant.
pub(super) async fn batch_key(api: &Api, tenant: &Tenant, name: &str) -> Result<String, Failure> {
    let key = order::key(tenant, name).ok_or_else(|| Failure::unknown("batch"))?;
    let is_there = |index: &Index| index.batch(key.as_str()).is_some();
    if !api.book.look(is_there) {
        up_to_now(api).await?;
    }
    if !api.book.look(is_there) {
        return Err(Failure::unknown("batch"));
    }
    Ok(key.as_str().to_owned())
}

async fn known(api: &Api, key: &str) -> Result<Known, Failure> {
    let find = |index: &Index| index.job(key).cloned();
    let known = api.book.look(find);
    if let Some(known) = known.filter(|known| known.standing != Standing::Accepted) {
        return Ok(known);
    }
    // Another gateway may just have accepted it, or said that it is sent.
    up_to_now(api).await?;
    api.book.look(find).ok_or_else(|| Failure::unknown("job"))
}

async fn up_to_now(api: &Api) -> Result<(), Failure> {
    let reading = timeout(UP_TO_NOW, api.book.desk().up_to_now()).await;
    match reading {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Failure::no_broker()),
    }
}

/// A job as its tenant sees it, with its result.
///
/// # Errors
/// When the result is kept no longer, or the broker does not answer.
pub(super) async fn show(
    api: &Api,
    tenant: &Tenant,
    key: &str,
    known: &Known,
) -> Result<Value, Failure> {
    let Some(number) = view::body_of(known) else {
        return Ok(view::job(tenant, key, known, None));
    };
    let within = api.settings.amqp.confirm_timeout_ms.duration();
    let body = match timeout(within, api.book.body(number)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) | Err(_) => return Err(Failure::no_broker()),
    };
    let gone = || {
        let message = "the job is done, and its result is kept no longer";
        Failure::new(StatusCode::GONE, "kept_no_longer", message)
    };
    let body = body.ok_or_else(gone)?;
    // It was read when it came.
    let result = serde_json::from_slice(&body).map_err(|_error| gone())?;
    Ok(view::job(tenant, key, known, Some(result)))
}
