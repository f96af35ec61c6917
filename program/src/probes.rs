//! The pages of an admin port: `/metrics`, `/healthz` and `/readyz`. Who may ask, and for how long, is the
//! listener's to say.

use std::error::Error;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

/// What the probes find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health<'a> {
    /// Why a restart is the only remedy; `None` while the program lives.
    pub dead: Option<&'a str>,
    /// Why it would take no work now; `None` when it would.
    pub unready: Option<&'a str>,
    /// What it would take no work of although it is ready.
    pub without: Option<&'a str>,
}

/// Answers a request; `metrics` is asked only where they are wanted.
pub fn answer<E: Error>(
    method: &Method,
    path: &str,
    metrics: impl FnOnce() -> Result<Vec<u8>, E>,
    health: Health<'_>,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match (path, health) {
        ("/metrics", _) => match metrics() {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page);
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                tracing::error!(%error, "the metrics could not be written");
                let words = "the metrics could not be written\n";
                text(StatusCode::INTERNAL_SERVER_ERROR, words)
            }
        },
        ("/healthz", Health { dead: None, .. }) => text(StatusCode::OK, "ok\n"),
        (
            "/healthz",
            Health {
                dead: Some(why), ..
            },
        ) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        (
            "/readyz",
            Health {
                unready: None,
                without: Some(what),
                ..
            },
        ) => text(StatusCode::OK, format!("ready, but {what}\n")),
        ("/readyz", Health { unready: None, .. }) => text(StatusCode::OK, "ready\n"),
        (
            "/readyz",
            Health {
                unready: Some(why), ..
            },
        ) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
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
