//! The section of the gateway's own interface.

use super::reader::Reader;
use super::serve::is_private;
use crate::units::Millis;
use std::net::SocketAddr;

/// How the gateway's own interface listens, for whom, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSection {
    /// Where it answers, and for whom; `None`: nowhere.
    pub door: Option<ApiDoor>,
    /// The name of the logbook that gateways share.
    pub logbook: String,
    /// The most that a body may be.
    pub body_bytes: usize,
    /// The most jobs of one request.
    pub jobs: usize,
    /// Connections at one time.
    pub connections: usize,
    /// Requests that wait for results at one time, event streams among them.
    pub waits: usize,
    /// How long a request's head may take, and a TLS handshake.
    pub head_timeout_ms: Millis,
    /// How long a request's body may take.
    pub body_timeout_ms: Millis,
    /// The longest that a question may wait for its result.
    pub wait_ms: Millis,
    /// How long a stream of events lasts.
    pub events_ms: Millis,
    /// The most jobs that are known at one time.
    pub kept_jobs: usize,
    /// Bytes of results that are kept in memory.
    pub cache_bytes: usize,
}

/// What an interface needs that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiDoor {
    /// Where it answers.
    pub listen: SocketAddr,
    /// The file with the tenants and the hashes of their tokens.
    pub tenants_file: String,
    /// Our certificate and its key; without them callers speak plainly.
    pub tls: Option<TlsFiles>,
}

/// A certificate with those between it and its authority, and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate.
    pub cert_file: String,
    /// The key.
    pub key_file: String,
}

pub(super) fn api(read: &mut Reader) -> Option<ApiSection> {
    let door = door(read);
    let logbook = read.text("api.logbook");
    let body_bytes = read.narrow("api.body_bytes");
    let jobs = read.narrow("api.jobs");
    let connections = read.narrow("api.connections");
    let waits = read.narrow("api.waits");
    let head_timeout_ms = read.millis("api.head_timeout_ms");
    let body_timeout_ms = read.millis("api.body_timeout_ms");
    let wait_ms = read.millis("api.wait_ms");
    let events_ms = read.millis("api.events_ms");
    let kept_jobs = read.narrow("api.kept_jobs");
    let cache_bytes = read.narrow("api.cache_bytes");
    let (waits, connections) = (waits?, connections?);
    if waits >= connections {
        let expected =
            "expected less than api.connections: else waiting callers keep all others out";
        read.complain("api.waits", expected);
    }
    Some(ApiSection {
        door: door?,
        logbook: logbook?,
        body_bytes: body_bytes?,
        jobs: jobs?,
        connections,
        waits,
        head_timeout_ms: head_timeout_ms?,
        body_timeout_ms: body_timeout_ms?,
        wait_ms: wait_ms?,
        events_ms: events_ms?,
        kept_jobs: kept_jobs?,
        cache_bytes: cache_bytes?,
    })
}

fn door(read: &mut Reader) -> Option<Option<ApiDoor>> {
    let listen = read.optional("api.listen");
    let tenants_file = read.optional("api.tenants_file");
    let cert_file = read.optional("api.tls_cert_file");
    let key_file = read.optional("api.tls_key_file");
    let (listen, tenants_file) = (listen?, tenants_file?);
    let tls = match (cert_file?, key_file?) {
        (Some(cert_file), Some(key_file)) => Some(TlsFiles {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        (Some(_), None) => {
            read.complain("api.tls_key_file", "expected the key of api.tls_cert_file");
            return None;
        }
        (None, Some(_)) => {
            read.complain(
                "api.tls_cert_file",
                "expected the certificate of api.tls_key_file",
            );
            return None;
        }
    };
    let Some(listen) = listen else {
        return Some(None);
    };
    let Ok(listen) = listen.parse::<SocketAddr>() else {
        read.complain("api.listen", "expected an IP address and a port, or \"\"");
        return None;
    };
    if tls.is_none() && !is_private(listen.ip()) {
        let expected = "expected a loopback or private address where there is no \
                        api.tls_cert_file: tokens would travel in the open";
        read.complain("api.listen", expected);
    }
    let Some(tenants_file) = tenants_file else {
        let expected = "expected a file with the tenants and the hashes of their tokens";
        read.complain("api.tenants_file", expected);
        return None;
    };
    Some(Some(ApiDoor {
        listen,
        tenants_file,
        tls,
    }))
}
