//! Small questions by HTTP to programs that were started here.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a program may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What stands at `path`, where `address` says that all is well.
///
/// # Errors
/// When nobody answers, or not with 200.
pub(crate) fn get(address: &str, path: &str) -> Result<String> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    ask(address, path, &head)
}

/// What a form that is sent to `path` is answered with, where `address` says that all is well.
///
/// # Errors
/// As [`get`].
pub(crate) fn post(address: &str, path: &str, form: &str) -> Result<String> {
    let kind = "application/x-www-form-urlencoded";
    let length = form.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    ask(address, path, &request)
}

/// Why what stands at `path` is refused with 503; `None` where all is well.
///
/// # Errors
/// When nobody answers, or with anything else.
pub(crate) fn refused(address: &str, path: &str) -> Result<Option<String>> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let answer = exchange(address, path, &head)?;
    reason(&answer).with_context(|| format!("get http://{address}{path}"))
}

fn ask(address: &str, path: &str, request: &str) -> Result<String> {
    let answer = exchange(address, path, request)?;
    body(&answer).with_context(|| format!("get http://{address}{path}"))
}

fn exchange(address: &str, path: &str, request: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("reach http://{address}"))?;
    stream
        .set_read_timeout(Some(ANSWER))
        .context("set a limit to an answer")?;
    // By version 1.0 an answer ends with its connection, and comes in one piece.
    stream
        .write_all(request.as_bytes())
        .with_context(|| format!("ask http://{address}{path}"))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("read http://{address}{path}"))?;
    Ok(answer)
}

fn body(answer: &str) -> Result<String> {
    let (first, body) = parts(answer)?;
    ensure!(
        code(first) == Some("200"),
        "have it: {first}: {}",
        body.trim()
    );
    Ok(body.to_owned())
}

fn reason(answer: &str) -> Result<Option<String>> {
    let (first, body) = parts(answer)?;
    match code(first) {
        Some("200") => Ok(None),
        Some("503") => Ok(Some(body.to_owned())),
        _ => bail!("have it, or hear why not: {first}: {}", body.trim()),
    }
}

/// An answer's first line, and its body.
fn parts(answer: &str) -> Result<(&str, &str)> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("find the end of the answer's head")?;
    Ok((head.lines().next().unwrap_or_default(), body))
}

fn code(first: &str) -> Option<&str> {
    first.split(' ').nth(1)
}

/// `text` as the value of a query's parameter.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::{body, escaped, reason};

    #[test]
    fn only_an_answer_that_is_well_has_a_body() {
        let answer = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\na 1\n\r\n\r\nb";
        assert_eq!(body(answer).expect("200"), "a 1\n\r\n\r\nb");
        body("HTTP/1.0 503 Service Unavailable\r\n\r\ndraining").expect_err("503");
        body("HTTP/1.0 200 OK\r\n").expect_err("it was cut");
    }

    #[test]
    fn why_something_is_refused_is_told_from_an_answer_that_is_none() {
        let refused = "HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\ndraining";
        assert_eq!(reason(refused).expect("503").as_deref(), Some("draining"));
        assert_eq!(reason("HTTP/1.0 200 OK\r\n\r\nready").expect("200"), None);
        reason("HTTP/1.0 404 Not Found\r\n\r\n").expect_err("404");
        reason("HTTP/1.0 503 Serv").expect_err("it was cut");
    }

    #[test]
    fn what_a_query_asks_for_cannot_end_its_parameter() {
        assert_eq!(escaped("up{a=\"b\"} & 1"), "up%7Ba%3D%22b%22%7D%20%26%201");
    }
}
