//! A batch's results as server-sent events.
//!
//! An event's id is its place in the logbook, which is the same at every gateway: a client that
//! connects again, here or elsewhere, goes on where it was.
//!
//! # Source
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use jailfleet_program::Moment;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::{Body, Failure, with_body};
use super::index::{Index, Key};
use super::tenants::Tenant;
use super::{Api, Waiting, ask, view};

/// A word now and then, so that what is in between does not take the connection for dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// One listener.
struct Listener {
    api: Arc<Api>,
    tenant: Arc<Tenant>,
    batch: String,
    /// The last event that was told.
    after: Option<u64>,
    until: Moment,
    is_over: bool,
    _place: Waiting,
}

/// What there is to tell next.
enum Next {
    Event(u64, Key),
    /// All jobs that are known are done.
    Over(Value),
}

/// Begins to tell.
///
/// # Errors
/// When the batch is not known to the tenant, or too many listen.
pub(super) async fn events(
    api: &Arc<Api>,
    tenant: &Arc<Tenant>,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let after = last_event(headers)?;
    let batch = ask::batch_key(api, tenant, name).await?;
    // Whoever has heard all is told not to come again.
    if after.is_some() && matches!(next(api, tenant, &batch, after), Some(Next::Over(_))) {
        return Ok(with_body(StatusCode::NO_CONTENT, "text/event-stream", ""));
    }
    let listener = Listener {
        api: Arc::clone(api),
        tenant: Arc::clone(tenant),
        batch,
        after,
        until: api.clock.now() + api.settings.api.events_ms.duration(),
        is_over: false,
        _place: api.wait_for(tenant)?,
    };
    let frames = stream::unfold(listener, |mut listener| async move {
        let text = listener.tell().await?;
        Some((Ok(Frame::data(Bytes::from(text))), listener))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // For proxies of the kind that wait for the end.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || {
        let message = "Last-Event-ID: expected the id of an event of this stream";
        Failure::new(StatusCode::BAD_REQUEST, "bad_event_id", message).in_field("Last-Event-ID")
    };
    number.ok_or_else(wrong).map(Some)
}

fn next(api: &Api, tenant: &Tenant, batch: &str, after: Option<u64>) -> Option<Next> {
    api.book.look(|index| next_in(index, tenant, batch, after))
}

fn next_in(index: &Index, tenant: &Tenant, batch: &str, after: Option<u64>) -> Option<Next> {
    if let Some((event, key)) = index.event(batch, after) {
        return Some(Next::Event(event, key));
    }
    match index.batch(batch) {
        // Forgotten meanwhile.
        None => Some(Next::Over(json!({}))),
        Some(known) if known.done.len() >= known.jobs => {
            Some(Next::Over(view::batch(tenant, batch, known)))
        }
        Some(_) => None,
    }
}

impl Listener {
    /// The next piece of text; `None` at the end.
    async fn tell(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let left = self.until.saturating_sub(self.api.clock.now());
        if left.is_zero() {
            return None;
        }
        let (api, tenant) = (Arc::clone(&self.api), Arc::clone(&self.tenant));
        let (batch, after) = (self.batch.clone(), self.after);
        let more = api
            .book
            .until(|index| next_in(index, &tenant, &batch, after));
        let found = tokio::select! {
            found = more => found,
            () = sleep(SIGN_OF_LIFE.min(left)) => return Some(": still here\n\n".to_owned()),
            () = api.stop.cancelled() => return None,
        };
        match found {
            Next::Over(batch) => {
                self.is_over = true;
                Some(format!("event: done\ndata: {batch}\n\n"))
            }
            Next::Event(event, key) => {
                let text = self.result(event, &key).await?;
                self.after = Some(event);
                Some(text)
            }
        }
    }

    /// A job's result as an event; `None` where the broker does not answer: the client comes again.
    async fn result(&self, event: u64, key: &str) -> Option<String> {
        let known = self.api.book.look(|index| index.job(key).cloned());
        let shown = match known {
            None => return Some(": a job was forgotten\n\n".to_owned()),
            Some(known) => {
                let shown = ask::show(&self.api, &self.tenant, key, &known).await;
                match shown {
                    Ok(shown) => shown,
                    // It is done all the same.
                    Err(gone) if gone.status == StatusCode::GONE => {
                        view::job(&self.tenant, key, &known, None)
                    }
                    Err(_no_broker) => return None,
                }
            }
        };
        // JSON has no line ends of its own when it is written in one line.
        Some(format!("id: {event}\nevent: result\ndata: {shown}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_the_id_of_an_event() {
        let read = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("last-event-id", value.parse().expect("a header"));
            }
            last_event(&headers).map_err(|no| no.status.as_u16())
        };
        assert_eq!(read(None), Ok(None));
        assert_eq!(read(Some("17")), Ok(Some(17)));
        for wrong in ["", "-1", "x", "18446744073709551616"] {
            assert_eq!(read(Some(wrong)), Err(400), "{wrong}");
        }
    }
}
