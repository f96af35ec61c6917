//! The gateway's admin port: `/metrics`, `/healthz` and `/readyz`, as the worker has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::Service;
use super::checks::Gate;
use super::listener::Caps;

/// What the admin port grants.
pub(super) const CAPS: Caps = Caps {
    connections: 16,
    head: Duration::from_secs(5),
    work: Duration::from_secs(5),
};

/// Why no code would be run now; `None` when it would.
pub(super) fn unready(service: &Service) -> Option<&'static str> {
    let connected = service.door.borrow().is_ready();
    match *service.gate.borrow() {
        _ if service.stop.is_cancelled() => Some("stopping"),
        _ if !service.settings.serve.enabled => Some("switched off (serve.enabled)"),
        _ if !connected => Some("no connection to the broker"),
        Gate::Starting => Some("no worker has answered the safety checks yet"),
        Gate::Unsafe => Some("a safety check failed"),
        Gate::Safe => None,
    }
}

/// Answers a request of the admin port.
pub(super) fn respond(
    service: &Arc<Service>,
    method: &Method,
    path: &str,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match path {
        "/metrics" => {
            service.metrics.door(&service.door.borrow());
            match service.metrics.render() {
                Ok(body) => {
                    let mut response = text(StatusCode::OK, body);
                    let kind = "text/plain; version=0.0.4; charset=utf-8";
                    let headers = response.headers_mut();
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                    response
                }
                Err(error) => {
                    tracing::error!(%error, "the metrics could not be written");
                    let words = "the metrics could not be written\n";
                    text(StatusCode::INTERNAL_SERVER_ERROR, words)
                }
            }
        }
        // A broker or a fleet that is away is no reason to start the gateway anew.
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match unready(service) {
            None => text(StatusCode::OK, "ready\n"),
            Some(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {reason}\n"),
            ),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
