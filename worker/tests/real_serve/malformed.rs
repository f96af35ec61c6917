//! Forms that are broken by chance: whatever comes, the gateway finds fault with the form and not with itself.

use jailfleet_harness::{Broker, require};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::gateway::{Fleet, Gateway, Reply, connect, multipart, request, urlencoded};

/// Broken requests for each shape of the service.
const CASES: u32 = 1_000;

/// What a reader of forms looks for, and what it may stumble over.
const PIECES: [&[u8]; 26] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"--",
    b"--0123456789abcdef0123456789abcdef",
    b"--0123456789abcdef0123456789abcdef--",
    b"Content-Disposition: form-data; name=\"payload\"\r\n\r\n",
    b"Content-Disposition: form-data; name=payload; filename*=utf-8''%e2%82",
    b"Content-Disposition: attachment; name=\"\\\"\"",
    b"Content-Type: multipart/mixed; boundary=x\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"; filename=\"",
    b"; name=\"python_lib.zip\"",
    b"\"",
    b"\\",
    b"\0",
    b"\xff\xfe",
    b"%",
    b"%zz",
    b"%ff%fe",
    b"&",
    b"=&=&payload=",
    b"payload=%7B%22code%22%3A1%7D",
    b"{\"code\": \"\\ud800\", \"globals_dict\": {\"a\": 1e999}}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"9999999999999999999999999999999999999999999999",
];

const KINDS: [&str; 14] = [
    "multipart/form-data; boundary=0123456789abcdef0123456789abcdef",
    "multipart/form-data; boundary=\"0123456789abcdef0123456789abcdef\"",
    "multipart/form-data; boundary=\"",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=--",
    "multipart/form-data; boundary=a; boundary=0123456789abcdef0123456789abcdef",
    "multipart/form-data; boundary*=utf-8''x",
    "multipart/form-data;;;",
    "multipart/mixed; boundary=0123456789abcdef0123456789abcdef",
    "multipart/form-data; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-16",
    "application/json",
    "\u{e9}",
];

/// One thing that goes wrong with a body.
#[derive(Debug, Clone)]
enum Harm {
    Insert(Index, &'static [u8]),
    Replace(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    CutOff(Index),
}

impl Harm {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Self::Insert(at, piece)),
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Replace(at, byte)),
            (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Self::Remove(at, count)),
            (any::<Index>(), 1..200_usize).prop_map(|(at, count)| Self::Repeat(at, count)),
            any::<Index>().prop_map(Self::CutOff),
        ]
    }

    fn done_to(&self, body: &mut Vec<u8>) {
        // There is a place behind the last byte, too.
        let place = |at: &Index| at.index(body.len() + 1);
        let end = |at: usize, count: usize| body.len().min(at.saturating_add(count));
        match self {
            Self::Insert(at, piece) => {
                let at = place(at);
                body.splice(at..at, piece.iter().copied());
            }
            Self::Replace(at, byte) => {
                let at = place(at);
                body.splice(at..end(at, 1), [*byte]);
            }
            Self::Remove(at, count) => {
                let at = place(at);
                body.drain(at..end(at, *count));
            }
            Self::Repeat(at, count) => {
                let at = place(at);
                let again = body[at..end(at, *count)].to_vec();
                body.splice(at..at, again);
            }
            Self::CutOff(at) => body.truncate(place(at)),
        }
    }
}

/// How the body comes.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Whole,
    InPieces,
    /// A piece whose size is no number.
    InBrokenPieces,
}

fn broken_requests() -> impl Strategy<Value = Vec<u8>> {
    // What is refused in the end has gone through all of the reading, and costs no run.
    let payload = prop_oneof![
        9 => Just(json!({ "code": "x = 1", "globals_dict": {}, "unsafely": true })),
        1 => Just(json!({ "code": "x = 1", "globals_dict": {} })),
    ];
    let form = (payload, any::<bool>()).prop_map(|(payload, with_library)| {
        if with_library {
            let (kind, body) =
                multipart(&payload.to_string(), "python_lib.zip", b"PK\x03\x04\0\r\n");
            (kind, body)
        } else {
            let kind = "application/x-www-form-urlencoded".to_owned();
            (kind, urlencoded(&payload.to_string()).into_bytes())
        }
    });
    let kind = prop_oneof![3 => Just(None), 1 => select(&KINDS[..]).prop_map(Some)];
    let sent = prop_oneof![
        4 => Just(Sent::Whole),
        2 => Just(Sent::InPieces),
        1 => Just(Sent::InBrokenPieces),
    ];
    let harms = vec(Harm::any(), 0..6);
    (form, kind, harms, sent).prop_map(|((usual, mut body), kind, harms, sent)| {
        harms.iter().for_each(|harm| harm.done_to(&mut body));
        let kind = kind.map_or(usual, str::to_owned);
        match sent {
            Sent::Whole => request(&kind, &body),
            Sent::InPieces => in_pieces(&kind, &body, ""),
            Sent::InBrokenPieces => in_pieces(&kind, &body, "zz"),
        }
    })
}

fn in_pieces(kind: &str, body: &[u8], garbage: &str) -> Vec<u8> {
    let head = format!(
        "POST /api/v0/code-exec HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut request = head.into_bytes();
    for piece in body.chunks(37) {
        request.extend(format!("{:x}{garbage}\r\n", piece.len()).bytes());
        request.extend(piece);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

#[test]
fn no_broken_form_is_a_fault_of_the_gateways() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    for shape in ["serve.shape=openedx", "serve.shape=edunext"] {
        let gateway = fleet.gateway(&[shape, "serve.body_timeout_ms=2000"]);
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let found = TestRunner::new(config).run(&broken_requests(), |request| {
            let status = status_of(&gateway, &request);
            let text = String::from_utf8_lossy(&request).into_owned();
            prop_assert!((200..500).contains(&status), "{status} for {text:?}");
            Ok(())
        });
        found.unwrap_or_else(|found| panic!("{shape}: {found}"));
        let metrics = gateway.metrics();
        for end in ["failed.broker", "failed.deadline", "failed.fault", "gone"] {
            let line = format!("jailfleet_gateway_requests_total{{end=\"{end}\"}} 0\n");
            assert!(metrics.contains(&line), "{end}: {metrics}");
        }
        assert_eq!(gateway.left_of_any_shape("x = 1"), json!({ "x": 1 }));
        gateway.stops();
    }
    fleet.stops();
}

fn status_of(gateway: &Gateway, request: &[u8]) -> u16 {
    use std::io::Write as _;
    let mut stream = connect(&gateway.address);
    // One that hangs up over what is no HTTP at all has said so first.
    if let Err(error) = stream.write_all(request) {
        eprintln!("it did not read to the end: {error}");
    }
    Reply::from(stream).status
}
