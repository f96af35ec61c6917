//! Who may speak to an interface that asks nobody who he is.
//!
//! A web page that somebody opens in the same network can make his browser send requests here. Two
//! headers give it away, since no page can choose them: `Origin` names the page's own host, and `Host`
//! the name under which it found us, which is no name of ours where it had its own name point here.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN};

use jailfleet::settings::is_private;

/// Why a request is refused before anybody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    #[error("This Host is not served here: add it to serve.hosts")]
    Host,
    #[error("Requests of web pages are not served here")]
    Origin,
}

/// Looks at the two headers, and at the host that a request's target may name.
///
/// # Errors
/// When one of them is not ours.
pub(super) fn admit(
    headers: &HeaderMap,
    target: Option<&str>,
    hosts: &[String],
) -> Result<(), Foreign> {
    let host = only(headers, &HOST).flatten().ok_or(Foreign::Host)?;
    if !is_ours(host, hosts) || !target.is_none_or(|target| is_ours(target, hosts)) {
        return Err(Foreign::Host);
    }
    let Some(origin) = only(headers, &ORIGIN) else {
        return Ok(());
    };
    // Nobody but a browser sends it; a page of our own host would be one of ours.
    let from = origin.and_then(|origin| origin.split_once("://"));
    match from {
        Some((_, from)) if from.eq_ignore_ascii_case(host) => Ok(()),
        Some(_) | None => Err(Foreign::Origin),
    }
}

/// The one value of a header; `Some(None)` where there are several, or it is no text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(match values.next() {
        None => first.to_str().ok(),
        Some(_) => None,
    })
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = without_port(host);
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return is_private(address);
    }
    let known = hosts.iter().map(String::as_str).chain(["localhost"]);
    known
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            // A bare IPv6 address has colons of its own.
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: &[&str], origin: Option<&str>) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(HOST, host.parse().expect("a header"));
        }
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header"));
        }
        admit(&headers, None, &["codejail".to_owned()])
    }

    #[test]
    fn names_of_the_list_localhost_and_private_addresses_are_served() {
        for host in [
            "localhost:8550",
            "LOCALHOST",
            "127.0.0.1:8550",
            "10.1.2.3",
            "[::1]:8550",
            "[fd00::2]",
            "codejail:8550",
            "CodeJail",
        ] {
            assert_eq!(admitted(&[host], None), Ok(()), "{host}");
        }
    }

    #[test]
    fn any_other_host_none_and_two_of_them_are_refused() {
        for host in [
            "evil.example",
            "codejail.evil.example",
            "8.8.8.8:8550",
            "localhost.evil.example:8550",
            "",
            "codejail:x",
            "127.0.0.1.nip.example",
            "[::ffff:8.8.8.8]",
        ] {
            assert_eq!(admitted(&[host], None), Err(Foreign::Host), "{host}");
        }
        assert_eq!(admitted(&[], None), Err(Foreign::Host));
        assert_eq!(
            admitted(&["localhost", "localhost"], None),
            Err(Foreign::Host)
        );
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().expect("a header"));
        assert_eq!(
            admit(&headers, Some("evil.example:80"), &[]),
            Err(Foreign::Host)
        );
    }

    #[test]
    fn a_page_of_another_host_is_refused_and_one_of_our_own_is_not() {
        let host = &["localhost:8550"];
        assert_eq!(admitted(host, Some("http://localhost:8550")), Ok(()));
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:3000",
            "localhost:8550",
            "",
        ] {
            assert_eq!(
                admitted(host, Some(origin)),
                Err(Foreign::Origin),
                "{origin}"
            );
        }
    }
}
