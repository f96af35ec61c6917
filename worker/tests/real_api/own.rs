//! A gateway with its own interface, and a caller of it that shares nothing with the code under test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use jailfleet_harness::Broker;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::gateway::{Gateway, Reply, connect};
use crate::worker::{self, Worker};

/// A token of the tenant `exams`, which may use both lanes and limits of its own.
pub(crate) const EXAMS: &str = "exams-token-0123456789";
/// A token of the tenant `site`, which may use the bulk lane and may not do much of anything.
pub(crate) const SITE: &str = "site-token-0123456789";
/// A token of the tenant `slow`, which may ask once a second and wait once.
pub(crate) const SLOW: &str = "slow-token-0123456789";

/// The entry of a tenant, with what is its own.
pub(crate) fn entry(name: &str, token: &str, own: &str) -> String {
    let mut hash = String::new();
    for byte in Sha256::digest(token) {
        write!(hash, "{byte:02x}").expect("into memory");
    }
    format!("[tenants.{name}]\ntoken_sha256 = [\"{hash}\"]\nprofile = \"\"\nprofiles = []\n{own}\n")
}

/// The tenants of these tests.
pub(crate) fn tenants() -> String {
    let much = "requests_per_s = 1000\njobs_per_s = 1000\nwaits = 20";
    let exams = format!("lanes = [\"bulk\", \"interactive\"]\nown_limits = true\n{much}");
    let site = format!("lanes = [\"bulk\"]\nown_limits = false\n{much}");
    let slow =
        "lanes = [\"bulk\"]\nown_limits = false\nrequests_per_s = 3\njobs_per_s = 3\nwaits = 1";
    entry("exams", EXAMS, &exams) + &entry("site", SITE, &site) + &entry("slow", SLOW, slow)
}

/// Makes what a definitions file says, as an operator does.
pub(crate) fn import(broker: &Broker, definitions: &str) {
    let file = worker::file_of(definitions);
    // The broker's tool reads it as the broker's own user.
    let anybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), anybody).expect("ours");
    let path = file.path().to_str().expect("a plain path");
    broker.ctl(&["import_definitions", path]).expect("imported");
}

/// A worker on that vhost.
pub(crate) fn worker(uri: &str) -> Worker {
    let port = ["--set", "admin.listen=127.0.0.1:0"];
    Worker::start(&port, &[("JAILFLEET__AMQP__URI", uri)])
}

/// A gateway whose own interface has read its logbook.
pub(crate) struct Own {
    gateway: Gateway,
    pub(crate) address: String,
    _tenants: tempfile::NamedTempFile,
}

impl Own {
    pub(crate) fn start(uri: &str, settings: &[&str]) -> Self {
        let file = worker::file_of(&tenants());
        let path = file.path().to_str().expect("a plain path");
        let tenants = format!("api.tenants_file={path}");
        let usual = ["api.listen=127.0.0.1:0", "serve.enabled=false", &tenants];
        let (gateway, said) = Gateway::start_and_say(uri, &[&usual, settings].concat());
        let (_, rest) = said.split_once("jobs at http").expect("it says where");
        let (_, rest) = rest.split_once("://").expect("a scheme");
        let (address, _) = rest.split_once("/api/v1").expect("a path");
        let own = Self {
            address: address.to_owned(),
            gateway,
            _tenants: file,
        };
        own.gateway.until_exported("jailfleet_api_caught_up 1\n");
        own
    }

    pub(crate) fn admin(&self) -> &str {
        &self.gateway.admin
    }

    pub(crate) fn until_exported(&self, line: &str) {
        self.gateway.until_exported(line);
    }

    pub(crate) fn metrics(&self) -> String {
        self.gateway.metrics()
    }

    pub(crate) fn stops(self) {
        self.gateway.stops();
    }

    /// Kills it, as the kernel does when memory is short.
    pub(crate) fn dies(self) {
        drop(self.gateway);
    }

    /// The line of its log that holds `text`, once it is there.
    pub(crate) fn until_said(&self, text: &str) -> String {
        self.gateway.until_said(text)
    }

    /// A request as bytes go over the wire.
    pub(crate) fn send(&self, request: &str) -> Reply {
        Reply::to(&self.address, request.as_bytes())
    }

    pub(crate) fn ask(&self, token: &str, method: &str, path: &str) -> Reply {
        self.send(&head(token, method, path, ""))
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> Reply {
        self.ask(token, "GET", path)
    }

    pub(crate) fn post_text(&self, token: &str, body: &str) -> Reply {
        let length = format!("Content-Length: {}\r\n", body.len());
        self.send(&(head(token, "POST", "/api/v1/jobs", &length) + body))
    }

    pub(crate) fn post(&self, token: &str, body: &Value) -> Reply {
        self.post_text(token, &body.to_string())
    }

    /// Posts what must be taken, and answers what was said.
    #[track_caller]
    pub(crate) fn accepted(&self, token: &str, body: &Value) -> Value {
        let reply = self.post(token, body);
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()
    }

    /// Waits until a job is done.
    #[track_caller]
    pub(crate) fn done(&self, token: &str, id: &str) -> Value {
        let reply = self.get(token, &format!("/api/v1/jobs/{id}?wait_ms=60000"));
        assert_eq!(reply.status, 200, "{reply:?}");
        let job = reply.json();
        assert_eq!(job["state"], "done", "{job}");
        job
    }

    /// The events of a batch, until they end: of each its id, its name and its data.
    #[track_caller]
    pub(crate) fn events(&self, token: &str, batch: &str, after: Option<&str>) -> Vec<Event> {
        let after = after.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let path = format!("/api/v1/batches/{batch}/events");
        let request = head(token, "GET", &path, after.as_deref().unwrap_or_default());
        let mut stream = connect(&self.address);
        stream.write_all(request.as_bytes()).expect("it reads");
        let reply = Reply::from(stream);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        read_events(&reply.body)
    }
}

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// Reads events as a browser does; what frames the pieces of the body is no line of theirs.
fn read_events(body: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let (mut id, mut name) = (None, String::new());
    for line in body.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("event", value)) => value.clone_into(&mut name),
            Some(("data", value)) => events.push(Event {
                id: id.take(),
                name: std::mem::take(&mut name),
                data: serde_json::from_str(value).expect("JSON"),
            }),
            Some(_) | None => {}
        }
    }
    events
}

/// The head of a request; `more` are whole lines.
pub(crate) fn head(token: &str, method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    )
}

/// A job that runs this.
pub(crate) fn python(id: &str, code: &str) -> Value {
    json!({ "v": 1, "id": id, "runtime": "python", "code": code })
}

/// The same in a batch.
pub(crate) fn python_in(batch: &str, id: &str, code: &str) -> Value {
    let mut job = python(id, code);
    job["batch"] = json!(batch);
    job
}
