//! The gateway's own interface: jobs in, results for whoever asks, at any gateway of the same
//! logbook. The story of jobs is `submit`, that of a question `ask`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use jailfleet::cancel::Target;
use jailfleet::settings::ProducerSettings;
use jailfleet_program::Clock;
use jailfleet_queue::DoorState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod life;
mod tls;
mod tenants;
mod rate;
mod rates;
mod route;
mod order;
mod submit;
mod ask;
mod events;
mod cancels;
mod note;
mod index;
mod bodies;
mod book;
mod view;
mod answer;
mod metrics;

pub use life::ApiError;
pub(crate) use life::{Bound, Running, Unready, bind, open};
pub(crate) use metrics::ApiMetrics;

use crate::serve::Metrics;
use crate::serve::listener::{self, NoBody};
use crate::serve::metrics::Place;
use answer::{Body, Failure, with_body};
use book::Book;
use cancels::Canceller;
use rates::Rates;
use route::{NoRoute, Route};
use tenants::{Tenant, Tenants};

/// The description of the interface, which tests hold against the router and the schemas.
const OPENAPI: &str = include_str!("../../docs/schema/openapi.json");

/// A refused caller's body is read so far, and so long, that he hears why.
const REFUSED_BYTES: usize = 256 * 1024;
const REFUSED: Duration = Duration::from_secs(1);

/// What all requests share.
#[derive(Debug)]
struct Api {
    settings: ProducerSettings,
    tenants: watch::Receiver<Arc<Tenants>>,
    rates: Rates,
    book: Arc<Book>,
    door: watch::Receiver<DoorState>,
    canceller: Canceller,
    waits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Work that goes on when its caller has gone.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A request that waits for results holds a place, until this is dropped.
#[derive(Debug)]
struct Waiting {
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
    _shown: Place,
}

impl Api {
    /// A place among those who wait.
    fn wait_for(&self, tenant: &Tenant) -> Result<Waiting, Failure> {
        let own = self.rates.wait(tenant, self.clock.now())?;
        let all = Arc::clone(&self.waits).try_acquire_owned();
        let busy = |_none| {
            let message = "as many requests wait here as may (api.waits): ask again without a wait";
            Failure::unavailable("busy", message)
        };
        Ok(Waiting {
            _all: all.map_err(busy)?,
            _tenant: own,
            _shown: self.metrics.api().waiting().take(),
        })
    }

    async fn cancel(&self, target: Target) -> Result<(), Failure> {
        let amqp = &self.settings.amqp;
        let within = amqp.connect_timeout_ms.duration() + amqp.confirm_timeout_ms.duration();
        self.canceller.cancel(target, within).await
    }
}

/// Answers any request.
async fn respond(api: Arc<Api>, request: Request<Incoming>) -> Response<Body> {
    let answered = answer(&api, request).await;
    let response = answered.unwrap_or_else(|failure| failure.response());
    api.metrics.api().request(response.status());
    response
}

/// # Cancel safety
/// A caller that goes away drops this: whatever it asked, jobs that it posted are taken on.
async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let (route, tenant) = match admit(api, &head) {
        Ok(Admitted::Caller(route, tenant)) => (route, tenant),
        Ok(Admitted::Anybody) => return Ok(with_body(StatusCode::OK, "application/json", OPENAPI)),
        Err(failure) => {
            listener::discard(body, REFUSED_BYTES, REFUSED).await;
            return Err(failure);
        }
    };
    match route {
        Route::Submit => {
            let body = read(api, body).await?;
            submit::submit(api, &tenant, body).await
        }
        Route::Job(id) => {
            let wait = wait_of(head.uri.query(), api.settings.api.wait_ms.duration())?;
            ask::job(api, &tenant, &id, wait).await
        }
        Route::CancelJob(id) => ask::cancel_job(api, &tenant, &id).await,
        Route::Batch(batch) => ask::batch(api, &tenant, &batch).await,
        Route::CancelBatch(batch) => ask::cancel_batch(api, &tenant, &batch).await,
        Route::Events(batch) => events::events(api, &tenant, &batch, &head.headers).await,
        Route::OpenApi => Ok(with_body(StatusCode::OK, "application/json", OPENAPI)),
    }
}

/// Who may go on.
enum Admitted {
    /// Whoever asks for the description of the interface.
    Anybody,
    Caller(Route, Arc<Tenant>),
}

/// The checks that need no more than a request's head.
fn admit(api: &Api, head: &hyper::http::request::Parts) -> Result<Admitted, Failure> {
    let route = route::find(&head.method, head.uri.path()).map_err(no_route)?;
    if route == Route::OpenApi {
        return Ok(Admitted::Anybody);
    }
    let tenants = Arc::clone(&api.tenants.borrow());
    let tenant = tenants.who(&head.headers).ok_or_else(|| {
        let message = "show a token that is valid here: Authorization: Bearer TOKEN";
        Failure::new(StatusCode::UNAUTHORIZED, "no_token", message)
    })?;
    api.rates.request(&tenant, api.clock.now())?;
    if !api.book.is_caught_up() {
        return Err(Failure::not_ready());
    }
    Ok(Admitted::Caller(route, tenant))
}

fn no_route(no_route: NoRoute) -> Failure {
    match no_route {
        NoRoute::NotFound => {
            let message = "there is nothing here: /api/v1/openapi.json says what there is";
            Failure::new(StatusCode::NOT_FOUND, "not_found", message)
        }
        NoRoute::Method(allow) => Failure {
            allow,
            ..Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                format!("here are only {}", allow.join(", ")),
            )
        },
    }
}

async fn read(api: &Api, body: Incoming) -> Result<Bytes, Failure> {
    let api = &api.settings.api;
    let read = listener::body(body, api.body_bytes, api.body_timeout_ms.duration()).await;
    read.map_err(|no_body| {
        let (status, code) = match no_body {
            NoBody::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            NoBody::Slow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            NoBody::Broken => (StatusCode::BAD_REQUEST, "body_broken"),
        };
        Failure::new(status, code, no_body.to_string())
    })
}

/// How long a question may wait for its answer, at most `most`; `None`: not at all.
fn wait_of(query: Option<&str>, most: Duration) -> Result<Option<Duration>, Failure> {
    let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut waits = query.filter(|(name, _)| name == "wait_ms");
    let Some((_, wait)) = waits.next() else {
        return Ok(None);
    };
    let wait = wait.parse().map(Duration::from_millis);
    match (wait, waits.next()) {
        (Ok(Duration::ZERO), None) => Ok(None),
        (Ok(wait), None) => Ok(Some(wait.min(most))),
        (_, _) => {
            let message = "wait_ms: expected one whole number of milliseconds";
            Err(Failure::new(StatusCode::BAD_REQUEST, "bad_query", message).in_field("wait_ms"))
        }
    }
}

#[cfg(test)]
mod tests;
