//! A codejail service by its HTTP contract: one request, one answer, bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answer::Side;
use super::request::Request;

/// Where the service answers.
const PATH: &str = "/api/v0/code-exec";

/// A service, by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    host: String,
    port: u16,
    path: String,
}

impl Service {
    /// Reads the URL as the platform's `CODE_JAIL_REST_SERVICE_HOST` has it, or that of the endpoint.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT, as in CODE_JAIL_REST_SERVICE_HOST";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{expected}: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "{expected}; for https put a proxy in between, such as stunnel"
                ));
            }
            Some(_) | None => return Err(expected.to_owned()),
        }
        if uri.query().is_some()
            || uri
                .authority()
                .is_some_and(|all| all.as_str().contains('@'))
        {
            return Err(format!("{expected}; without user, password and query"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(expected)?;
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix(PATH).unwrap_or(path);
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: format!("{path}{PATH}"),
        })
    }

    /// What the service says to a request. It is asked once, and no redirection is followed.
    pub(super) async fn ask(&self, request: Request, within: Duration, most_bytes: usize) -> Side {
        match tokio::time::timeout(within, self.answer(request, most_bytes)).await {
            Ok(Ok((StatusCode::OK, body))) => Side::of_service(&body),
            Ok(Ok((status, body))) if status.is_client_error() => {
                Side::Refused(format!("{status}: {}", start_of(&body)))
            }
            Ok(Ok((status, body))) => Side::Nothing(format!("{status}: {}", start_of(&body))),
            Ok(Err(trouble)) => Side::Nothing(trouble),
            Err(_late) => Side::Nothing(format!("no answer within {} s", within.as_secs())),
        }
    }

    async fn answer(
        &self,
        request: Request,
        most_bytes: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        // Brackets stand around an address of version 6 in a URL, and nowhere else.
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await;
        let stream = stream.map_err(|error| format!("connect: {error}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let request = hyper::Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(
                USER_AGENT,
                concat!("jailfleet-producer/", env!("CARGO_PKG_VERSION")),
            )
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, request.content_type)
            .body(Full::new(Bytes::from(request.body)))
            .map_err(|error| format!("make the request: {error}"))?;
        let talk = async {
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| format!("ask: {error}"))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), most_bytes).collect().await;
            let body = body.map_err(|error| {
                format!("read the answer, of which {most_bytes} bytes are allowed: {error}")
            })?;
            Ok((status, body.to_bytes()))
        };
        // The connection moves only while somebody asks it to; it ends with the answer.
        tokio::pin!(connection, talk);
        tokio::select! {
            answer = &mut talk => answer,
            ended = &mut connection => match ended {
                // What came before the end is still to be read.
                Ok(()) => talk.await,
                Err(error) => Err(format!("ask: {error}")),
            },
        }
    }
}

/// What people see of an answer.
fn start_of(body: &[u8]) -> String {
    let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
    start.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::Service;

    #[test]
    fn a_service_is_named_as_in_the_platforms_settings_or_by_its_endpoint() {
        let read = |text: &str| Service::parse(text).unwrap_or_else(|no| panic!("{text}: {no}"));
        let plain = read("http://127.0.0.1:8550");
        assert_eq!(
            (plain.port, plain.path.as_str()),
            (8550, "/api/v0/code-exec")
        );
        assert_eq!(read("http://127.0.0.1:8550/"), plain);
        assert_eq!(read("http://127.0.0.1:8550/api/v0/code-exec"), plain);
        assert_eq!(read("http://codejail").port, 80);
        assert_eq!(read("http://h/below/").path, "/below/api/v0/code-exec");
        for (text, word) in [
            ("https://h", "proxy"),
            ("h:8550", "expected http://"),
            ("", "expected http://"),
            ("ftp://h", "expected http://"),
            ("http://u:p@h", "password"),
            ("http://h/?a=b", "query"),
        ] {
            let said = Service::parse(text).expect_err(text);
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
