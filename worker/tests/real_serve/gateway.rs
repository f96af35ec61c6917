//! A gateway, the worker behind it, and a caller that shares nothing with the code under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::worker::{self, LONG, Worker};

/// codejail's limits, as far as a busy machine lets them be: a program needs time to start.
const LIMITS: &str = "
[profiles.codejail]
cpu_ms = 6000
wall_ms = 7000
address_space_bytes = 536870912
memory_bytes = 671088640
file_bytes = 1048576
processes = 1
";

/// A worker with these limits, on a vhost of its own.
pub(crate) struct Fleet {
    uri: String,
    worker: Worker,
    /// The address of the worker's admin port.
    pub(crate) admin: String,
    _config: NamedTempFile,
}

impl Fleet {
    pub(crate) fn start(uri: &str) -> Self {
        let config = worker::file_of(LIMITS);
        let path = config.path().to_str().expect("a plain path");
        let broker = [("JAILFLEET__AMQP__URI", uri)];
        let (worker, admin) = Worker::start_with_admin(&["--config", path], &broker);
        Self {
            uri: uri.to_owned(),
            worker,
            admin,
            _config: config,
        }
    }

    /// A gateway whose safety checks have passed.
    pub(crate) fn gateway(&self, settings: &[&str]) -> Gateway {
        let gateway = Gateway::start(&self.uri, settings);
        gateway.until_exported("jailfleet_gateway_safe 1\n");
        gateway
    }

    pub(crate) fn stops(self) {
        self.worker.stops();
    }
}

/// A running `jailfleet-producer serve`.
pub(crate) struct Gateway {
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<Vec<String>>>,
    /// Where it answers callers.
    pub(crate) address: String,
    /// Where it answers operators.
    pub(crate) admin: String,
}

impl Gateway {
    /// Starts one with these settings on top of those of the tests.
    pub(crate) fn start(uri: &str, settings: &[&str]) -> Self {
        Self::start_and_say(uri, settings).0
    }

    /// The same, with the line in which it says where it is.
    pub(crate) fn start_and_say(uri: &str, settings: &[&str]) -> (Self, String) {
        let usual = [
            "serve.admin_listen=127.0.0.1:0",
            "serve.profile=codejail",
            "serve.read_timeout_ms=30000",
            "log.level=info",
        ];
        let mut producer = worker::producer(uri);
        producer.args(["serve", "--listen", "127.0.0.1:0"]);
        for setting in usual.iter().chain(settings) {
            producer.args(["--set", setting]);
        }
        let mut child = producer.spawn().expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it says where it is");
        let mut addresses = line.split("http://").skip(1);
        let mut next = || {
            let address = addresses.next().unwrap_or_else(|| panic!("{line}"));
            let end = address.find([',', '\n']).unwrap_or(address.len());
            address.get(..end).expect("a piece").to_owned()
        };
        let (address, admin) = (next(), next());
        let said = Arc::new(Mutex::new(Vec::new()));
        let saying = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("gateway: {line}");
                saying.lock().expect("nobody panicked").push(line);
            }
        });
        let gateway = Self {
            child,
            reader: Some(reader),
            said,
            address,
            admin,
        };
        (gateway, line)
    }

    /// Sends a whole request.
    pub(crate) fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        Reply::to(&self.address, request.as_ref())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Posts a body.
    pub(crate) fn post(&self, content_type: &str, body: &[u8]) -> Reply {
        self.send(request(content_type, body))
    }

    /// Posts a payload as the platform does where it has no files.
    pub(crate) fn payload(&self, payload: &str) -> Reply {
        self.post(
            "application/x-www-form-urlencoded",
            urlencoded(payload).as_bytes(),
        )
    }

    /// The same with an uploaded file.
    pub(crate) fn payload_with(&self, payload: &str, name: &str, file: &[u8]) -> Reply {
        let (kind, body) = multipart(payload, name, file);
        self.post(&kind, &body)
    }

    /// What running the code says, which must have been run.
    pub(crate) fn run(&self, code: &str, globals: &Value) -> Value {
        let reply = self.payload(&json!({ "code": code, "globals_dict": globals }).to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        reply.json()
    }

    /// The globals that the code leaves.
    pub(crate) fn left(&self, code: &str) -> Value {
        let mut answer = self.run(code, &json!({}));
        assert!(answer.get("emsg").is_none(), "{answer}");
        answer["globals_dict"].take()
    }

    /// The same of any shape of the service: the older one wants all members, and always has a message.
    pub(crate) fn left_of_any_shape(&self, code: &str) -> Value {
        let payload = json!({
            "code": code, "globals_dict": {}, "python_path": [], "limit_overrides_context": null,
            "slug": null, "unsafely": false,
        });
        let mut answer = self.payload(&payload.to_string()).json();
        assert!(answer["emsg"].is_null(), "{answer}");
        answer["globals_dict"].take()
    }

    /// What the code fails with.
    pub(crate) fn fails(&self, code: &str) -> String {
        let answer = self.run(code, &json!({}));
        let emsg = answer["emsg"].as_str();
        emsg.unwrap_or_else(|| panic!("it did not fail: {answer}"))
            .to_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        get(&self.admin, "/metrics")
    }

    pub(crate) fn until_exported(&self, line: &str) {
        until_exported(&self.admin, line);
    }

    /// The line of its log that holds `text`, once it is there.
    #[expect(
        clippy::disallowed_methods,
        reason = "a deadline for what a test waits for"
    )]
    pub(crate) fn until_said(&self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let said = self.said.lock().expect("nobody panicked");
            if let Some(line) = said.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(started.elapsed() < LONG, "it never said {text:?}: {said:?}");
            drop(said);
            std::thread::yield_now();
        }
    }

    /// Tells it to stop, and waits until it has with nothing to complain of.
    pub(crate) fn stops(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is alive");
        let ended = self.child.wait().expect("it can be waited for");
        assert_eq!(ended.code(), Some(0));
        let reader = self.reader.take().expect("there is one");
        reader.join().expect("it does not panic");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // After `stops` it has ended already.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("the gateway could not be ended: {error}");
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn to(address: &str, request: &[u8]) -> Self {
        let mut stream = connect(address);
        stream.write_all(request).expect("it reads");
        Self::from(stream)
    }

    /// What comes over a connection until it is closed.
    pub(crate) fn from(mut stream: TcpStream) -> Self {
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("it answers and closes");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {answer:?}")),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Sees that it is this answer to the byte.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(LONG)).expect("a live socket");
    stream
}

/// A POST of that body to the interface.
pub(crate) fn request(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v0/code-exec HTTP/1.1\r\nHost: localhost:8550\r\nUser-Agent: test\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn urlencoded(payload: &str) -> String {
    let mut body = "payload=".to_owned();
    for byte in payload.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                body.push(char::from(byte));
            }
            b' ' => body.push('+'),
            byte => body.push_str(&format!("%{byte:02X}")),
        }
    }
    body
}

/// Content type and body as `requests` writes them.
pub(crate) fn multipart(payload: &str, name: &str, file: &[u8]) -> (String, Vec<u8>) {
    let boundary = "0123456789abcdef0123456789abcdef";
    let start = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{payload}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n"
    );
    let end = format!("\r\n--{boundary}--\r\n");
    let kind = format!("multipart/form-data; boundary={boundary}");
    (kind, [start.as_bytes(), file, end.as_bytes()].concat())
}

/// Asks an admin port.
pub(crate) fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let reply = Reply::to(address, request.as_bytes());
    format!("{} {}", reply.status, reply.body)
}

/// Waits until an admin port shows that line among its metrics.
#[expect(
    clippy::disallowed_methods,
    reason = "a deadline for what a test waits for"
)]
pub(crate) fn until_exported(address: &str, line: &str) {
    let started = Instant::now();
    loop {
        let metrics = get(address, "/metrics");
        if metrics.contains(line) {
            return;
        }
        assert!(started.elapsed() < LONG, "{line} never came: {metrics}");
        std::thread::yield_now();
    }
}

/// Waits this long for a condition of another process that tells nobody of itself.
pub(crate) const SOON: Duration = Duration::from_secs(15);
