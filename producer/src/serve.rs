//! `serve`: codejail's HTTP interface in front of the fleet. The story of one request is
//! `code_exec`, from its first check to its last byte.
//!
//! What callers may rely on is the contract of openedx/codejail-service: paths, both encodings of the
//! body, the order of its checks, and every byte of its answers. It knows no authentication, so that
//! `guard` and the address that is listened on have to stand in for it. An gateway's own
//! interface is beside this one, on a listener and with a handler of its own: `crate::api`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, EXPECT, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use jailfleet::job::{EpochMs, Job};
use jailfleet::result::JobResult;
use jailfleet::settings::{ProducerSettings, ServeShape};
use jailfleet_program::{Clock, Moment};
use jailfleet_queue::DoorState;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

mod life;
mod guard;
mod form;
mod call;
mod json;
mod fleet;
mod answer;
mod traceback;
mod repr;
pub(crate) mod verdict;
mod checks;
mod rounds;
pub(crate) mod listener;
mod admin;
pub(crate) mod metrics;

pub use life::{ServeError, run};
pub use metrics::{Metrics, MetricsError};

use crate::api::Unready;
use answer::{Answer, End};
pub(crate) use call::LIBRARY;
use call::{Call, Refused};
use checks::Gate;
use fleet::{Fleet, Lost};
use form::Encoding;
use listener::NoBody;
use verdict::SEE_LOGS;

/// What all requests share.
struct Service {
    settings: ProducerSettings,
    /// There once the broker was reached.
    fleet: OnceLock<Fleet>,
    gate: watch::Receiver<Gate>,
    door: watch::Receiver<DoorState>,
    /// The gateway's own interface, where there is one.
    own: Option<Unready>,
    metrics: Arc<Metrics>,
    clock: Clock,
    stop: CancellationToken,
}

impl Service {
    /// What a request may take from its last byte to its answer.
    fn patience(&self) -> Duration {
        let serve = &self.settings.serve;
        let all = serve.read_timeout_ms.duration();
        all.saturating_sub(serve.margin_ms.duration())
    }

    /// The same moment by the clock that workers know.
    fn deadline(&self, within: Duration) -> EpochMs {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        EpochMs(self.clock.epoch_ms().0.saturating_add(within))
    }

    /// Lets a caller that is refused come to the end of its body.
    async fn discard(&self, body: Incoming) {
        let serve = &self.settings.serve;
        let within = serve.body_timeout_ms.duration();
        listener::discard(body, serve.body_bytes, within).await;
    }
}

/// Where code is run.
const CODE_EXEC: &str = "/api/v0/code-exec";

/// Answers any request of the compatible interface.
async fn respond(service: &Service, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let serve = &service.settings.serve;
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    if let Err(foreign) = guard::admit(request.headers(), target, &serve.hosts) {
        let answer = Answer::foreign(foreign);
        if request.uri().path() == CODE_EXEC {
            service.metrics.request(answer.end);
        }
        service.discard(request.into_body()).await;
        return in_json(answer);
    }
    let is_safe = *service.gate.borrow() == Gate::Safe;
    match (request.uri().path(), serve.shape) {
        (CODE_EXEC, _) => {
            let mut tally = Tally::of(service);
            let (Ok(answer) | Err(answer)) = code_exec(service, request, &mut tally).await;
            tally.end = answer.end;
            in_json(answer)
        }
        ("/health/", ServeShape::Openedx) if is_safe => plain(200, JSON, "{\"status\": \"OK\"}"),
        ("/health/", ServeShape::Openedx) => plain(503, JSON, "{\"status\": \"UNAVAILABLE\"}"),
        ("/health", ServeShape::Openedx) => {
            let mut response = plain(301, HTML, "");
            let there = HeaderValue::from_static("/health/");
            response.headers_mut().insert(LOCATION, there);
            response
        }
        ("/health", ServeShape::Edunext) if is_safe => plain(200, HTML, "OK"),
        ("/health", ServeShape::Edunext) => plain(503, HTML, "UNAVAILABLE"),
        ("/", ServeShape::Edunext) => plain(200, HTML, "Edx Codejail Service"),
        _ => plain(404, JSON, "{\"detail\":\"Not found.\"}"),
    }
}

/// One request for code to be run. What is found wrong first is what the caller is told: the order
/// is part of the contract.
///
/// # Cancel safety
/// A caller that goes away drops this, and with it the job.
async fn code_exec(
    service: &Service,
    request: Request<Incoming>,
    tally: &mut Tally<'_>,
) -> Result<Answer, Answer> {
    let serve = &service.settings.serve;
    let (head, body) = request.into_parts();
    let (fleet, encoding) = match admit(service, &head, body.is_end_stream()) {
        Ok(admitted) => admitted,
        Err(answer) => {
            service.discard(body).await;
            return Err(answer);
        }
    };
    let waits_for_us = head.headers.contains_key(EXPECT);
    if waits_for_us && listener::declares_more(&body, serve.body_bytes) {
        return Err(no_body(NoBody::TooLarge));
    }
    let body_timeout = serve.body_timeout_ms.duration();
    let body = listener::body(body, serve.body_bytes, body_timeout).await;
    let body = body.map_err(no_body)?;

    // From here on the caller waits for us.
    let received = service.clock.now();
    let patience = service.patience();
    let deadline = service.deadline(patience);
    let form = encoding.read(body).await;
    let form = form.map_err(|no| Answer::no_form(&no))?;
    let call = Call::read(form, serve.shape).map_err(|no| Answer::refused(&no))?;
    if !call.is_complete() {
        return Err(Answer::failed(SEE_LOGS, &call.globals, serve.shape));
    }
    let job = call.job(&service.settings, deadline);
    let job = job.map_err(|no| Answer::of_rejection(&no))?;

    let left = || patience.saturating_sub(service.clock.now() - received);
    until_open(service, left()).await?;
    tally.sent = Some(received);
    match fleet.run(&job, left()).await {
        Ok(result) => {
            let answer = Answer::of_result(&result, &call.globals, serve.shape);
            note(&job, &result, answer.end);
            Ok(answer)
        }
        Err(Lost::Deadline) if service.door.borrow().is_ready() => {
            tracing::warn!(id = job.id.as_str(), "no worker answered in time");
            Err(Answer::late())
        }
        Err(Lost::Deadline) => {
            tracing::warn!(id = job.id.as_str(), "the broker is away with an answer");
            Err(Answer::cut_off())
        }
        Err(Lost::Unsent) => {
            tracing::warn!("the broker did not take a job in time");
            Err(Answer::no_broker())
        }
        Err(Lost::Unreadable) => Err(Answer::fault()),
        Err(Lost::Broker(error)) => {
            tracing::warn!(%error, "a job could not be sent");
            Err(Answer::no_broker())
        }
    }
}

/// Waits for a broker that takes jobs: what is given to one that is away keeps its memory until it
/// is back, though nobody waits for it any longer.
async fn until_open(service: &Service, left: Duration) -> Result<(), Answer> {
    let mut door = service.door.clone();
    let open = match timeout(left, door.wait_for(DoorState::is_ready)).await {
        Ok(seen) => seen.is_ok(),
        Err(_late) => false,
    };
    if open {
        return Ok(());
    }
    let trouble = door.borrow().trouble.clone();
    tracing::warn!(trouble, "the broker took no job in time");
    Err(Answer::no_broker())
}

/// The checks that need no more than a request's head.
fn admit<'a>(
    service: &'a Service,
    head: &Parts,
    body_is_empty: bool,
) -> Result<(&'a Fleet, Encoding), Answer> {
    if head.method != Method::POST {
        return Err(Answer::method(head.method.as_str()));
    }
    if !service.settings.serve.enabled {
        return Err(Answer::disabled());
    }
    if *service.gate.borrow() != Gate::Safe {
        return Err(Answer::not_safe());
    }
    let fleet = service.fleet.get().ok_or_else(Answer::not_safe)?;
    if body_is_empty {
        return Err(Answer::refused(&Refused::Missing));
    }
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let encoding = Encoding::of(content_type.unwrap_or_default());
    let encoding = encoding.map_err(|no| Answer::no_form(&no))?;
    Ok((fleet, encoding))
}

/// Why an answer tells so little: the caller hears only that it may try again.
fn note(job: &Job, result: &JobResult, end: End) {
    let (id, end_word) = (job.id.as_str(), end.as_str());
    let error = result.error.as_ref();
    let code = error.map(|error| error.code.as_str());
    let why = error.map(|error| error.message.as_str());
    if end == End::Fault {
        tracing::warn!(id, end = end_word, code, why, "code could not be run");
    } else {
        tracing::debug!(id, end = end_word, code, why, "answered");
    }
}

/// Counts a request once it is over; one that is dropped has lost its caller.
struct Tally<'a> {
    service: &'a Service,
    /// When the code was sent to the workers, where it was.
    sent: Option<Moment>,
    end: End,
}

impl<'a> Tally<'a> {
    fn of(service: &'a Service) -> Self {
        Self {
            service,
            sent: None,
            end: End::Gone,
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.service.metrics.request(self.end);
        if let Some(sent) = self.sent {
            self.service
                .metrics
                .answered(self.service.clock.now() - sent);
        }
    }
}

fn no_body(no_body: NoBody) -> Answer {
    let (status, end) = match no_body {
        NoBody::TooLarge => (413, End::TooLarge),
        NoBody::Slow => (408, End::Slow),
        NoBody::Broken => (400, End::Slow),
    };
    Answer::error(status, &no_body.to_string(), end)
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

fn in_json(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = plain(answer.status, JSON, answer.body);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

fn plain(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    // Every status is one of ours.
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
