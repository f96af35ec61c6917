//! Answers: JSON for what was asked, and one form for whatever is wrong.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// The body of an answer: a text, or events as they come.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What is wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Failure {
    /// The status.
    pub(super) status: StatusCode,
    /// A word of the list in docs/gateway.md.
    pub(super) code: &'static str,
    /// What is wrong and what to do.
    pub(super) message: String,
    /// Which job of the request, counted from 0.
    pub(super) index: Option<usize>,
    /// Which field of it.
    pub(super) field: Option<String>,
    /// After how many seconds to ask again.
    pub(super) retry_after_s: Option<u32>,
    /// The methods that there are.
    pub(super) allow: &'static [&'static str],
    /// What became of the jobs, where some were taken.
    pub(super) jobs: Option<Box<Value>>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            index: None,
            field: None,
            retry_after_s: None,
            allow: &[],
            jobs: None,
        }
    }

    pub(super) const fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    pub(super) fn in_field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    pub(super) fn after(mut self, wait: Duration) -> Self {
        // Whole seconds, rounded up: before that it would be in vain.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after_s = Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
        self
    }

    /// The same words for an id of nobody and for one of another tenant.
    pub(super) fn unknown(what: &str) -> Self {
        let message = format!("no {what} of this name is known to this token");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Trouble of ours or of the broker's that passes.
    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, code, message).after(Duration::from_secs(1))
    }

    /// The broker does not answer.
    pub(super) fn no_broker() -> Self {
        Self::unavailable("no_broker", "the broker does not answer now: try again")
    }

    /// It cannot be known yet what was accepted.
    pub(super) fn not_ready() -> Self {
        let message = "the gateway still reads what was accepted before: try again";
        Self::unavailable("not_ready", message)
    }

    /// Too much in too little time.
    pub(super) fn too_often(what: &str, wait: Duration) -> Self {
        let message = format!("more {what} a second than this token may send: wait and try again");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", message).after(wait)
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.code));
        error.insert("message".to_owned(), json!(self.message));
        if let Some(index) = self.index {
            error.insert("index".to_owned(), json!(index));
        }
        if let Some(field) = &self.field {
            error.insert("field".to_owned(), json!(field));
        }
        let mut body = Map::new();
        body.insert("error".to_owned(), Value::Object(error));
        if let Some(jobs) = &self.jobs {
            body.insert("jobs".to_owned(), Value::clone(jobs));
        }
        let mut response = json_answer(self.status, &Value::Object(body));
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if !self.allow.is_empty()
            && let Ok(allow) = HeaderValue::from_str(&self.allow.join(", "))
        {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    with_body(status, "application/json", value.to_string())
}

/// An answer of any kind.
pub(super) fn with_body(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_that_are_enough() {
        for (ms, told) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (61_500, "62")] {
            let failure = Failure::too_often("jobs", Duration::from_millis(ms));
            let response = failure.response();
            let after = response.headers().get(RETRY_AFTER).expect("a header");
            assert_eq!(
                (response.status().as_u16(), after.as_bytes()),
                (429, told.as_bytes())
            );
        }
    }

    #[test]
    fn who_shows_no_token_is_told_how_to_and_a_wrong_method_which_there_are() {
        let failure = Failure::new(StatusCode::UNAUTHORIZED, "no_token", "x");
        let response = failure.response();
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        let failure = Failure {
            allow: &["GET", "DELETE"],
            ..Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", "x")
        };
        let response = failure.response();
        let allow = response.headers().get(ALLOW).expect("a header");
        assert_eq!(allow, "GET, DELETE");
    }
}
