//! Requests to a gateway whose broker is away.

use super::*;
use crate::client::Client;
use jailfleet::settings;
use jailfleet_queue::Link;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::topology::ReplyLife;
use listener::Caps;
use metrics::Held;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway that lost its broker, and the ends by which a test tells it how things are.
struct Away {
    service: Arc<Service>,
    door: watch::Sender<DoorState>,
    _gate: watch::Sender<Gate>,
    _client: Client,
}

impl Away {
    /// Its callers wait for 300 ms. Nobody listens at the broker's address.
    fn new() -> Self {
        let set = [
            ("amqp.uri", "amqp://127.0.0.1:1"),
            ("serve.read_timeout_ms", "400"),
            ("serve.margin_ms", "100"),
            ("serve.wall_ms", "200"),
        ];
        let set = set.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = settings::producer_settings(None, &[], &set).expect("good settings");
        let plan = ProducePlan {
            reply: "gateway".to_owned(),
            life: ReplyLife::Lasting,
            pools: vec![settings.producer.pool.clone()],
            prefetch: settings.producer.prefetch,
        };
        let away = ProducerDoor::open(&settings.amqp, &plan).expect("a door");
        let client = Client::behind(away, &settings);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let (fleet, _waiting, _unwanted) = Fleet::new(&client, Arc::clone(&metrics));
        let (gate, gate_seen) = watch::channel(Gate::Safe);
        let (door, door_seen) = watch::channel(DoorState::default());
        let service = Service {
            settings,
            fleet: OnceLock::from(fleet),
            own: None,
            gate: gate_seen,
            door: door_seen,
            metrics,
            clock: Clock::start(),
            stop: CancellationToken::new(),
        };
        Self {
            service: Arc::new(service),
            door,
            _gate: gate,
            _client: client,
        }
    }

    fn is(&self, consume: Link, publish: Link) {
        self.door.send_replace(DoorState {
            consume,
            publish,
            ..DoorState::default()
        });
    }

    /// What a caller gets for a request.
    async fn told(&self, request: &str) -> String {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (listener, address) = listener::bind(any).await.expect("a port");
        let caps = Caps {
            connections: 1,
            head: Duration::from_secs(5),
            work: Duration::from_secs(5),
        };
        let stop = CancellationToken::new();
        let handler = {
            let service = Arc::clone(&self.service);
            move |request| {
                let service = Arc::clone(&service);
                async move { respond(&service, request).await }
            }
        };
        let served = listener::serve(
            listener,
            listener::Transport::Plain,
            caps,
            Held::unseen(),
            handler,
            stop.clone(),
        );
        let asked = async {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut told = String::new();
            stream.read_to_string(&mut told).await.expect("an answer");
            stop.cancel();
            told
        };
        tokio::join!(served, asked).1
    }

    fn counted(&self) -> String {
        String::from_utf8(self.service.metrics.render().expect("metrics")).expect("text")
    }
}

fn code() -> String {
    let form = "payload=%7B%22code%22%3A%22%22%2C%22globals_dict%22%3A%7B%7D%7D";
    format!(
        "POST /api/v0/code-exec HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    )
}

const NO_BROKER: &str = r#"{"error":"The broker takes no job now; try again"}"#;

#[tokio::test]
async fn a_broker_that_is_away_is_told_of_and_is_given_no_job() {
    let away = Away::new();
    for (nth, publish) in [(1, Link::Down), (2, Link::Blocked)] {
        away.is(Link::Up, publish);
        let told = away.told(&code()).await;
        assert!(
            told.starts_with("HTTP/1.1 503 ") && told.ends_with(NO_BROKER),
            "{told}"
        );
        let line = format!("jailfleet_gateway_requests_total{{end=\"failed.broker\"}} {nth}\n");
        assert!(away.counted().contains(&line), "{}", away.counted());
    }
    // Nothing was sent, and so there is nothing whose time could be measured.
    assert!(
        away.counted()
            .contains("jailfleet_gateway_request_seconds_count 0\n")
    );
}

#[tokio::test]
async fn a_broker_that_is_lost_under_way_is_told_of_and_not_the_workers() {
    let away = Away::new();
    away.is(Link::Up, Link::Up);
    let told = away.told(&code()).await;
    assert!(
        told.starts_with("HTTP/1.1 503 ") && told.ends_with(NO_BROKER),
        "{told}"
    );
    let line = "jailfleet_gateway_requests_total{end=\"failed.broker\"} 1\n";
    assert!(away.counted().contains(line), "{}", away.counted());
}

#[tokio::test]
async fn the_admin_port_says_whether_the_broker_is_away_or_blocks() {
    let away = Away::new();
    let mut said = Vec::new();
    for (consume, publish) in [
        (Link::Up, Link::Blocked),
        (Link::Down, Link::Blocked),
        (Link::Up, Link::Down),
        (Link::Down, Link::Up),
        (Link::Up, Link::Up),
    ] {
        away.is(consume, publish);
        said.push(admin::unready(&away.service));
    }
    let (blocks, none) = (
        "the broker blocks publishing",
        "no connection to the broker",
    );
    assert_eq!(
        said,
        [Some(blocks), Some(blocks), Some(none), Some(none), None]
    );
}

#[tokio::test]
async fn only_requests_to_run_code_are_counted_whoever_asks() {
    let away = Away::new();
    let foreign = "Host: evil.example\r\n\r\n";
    for (request, refused) in [
        (format!("GET /health/ HTTP/1.1\r\n{foreign}"), 0),
        (format!("POST /api/v0/code-exec HTTP/1.1\r\n{foreign}"), 1),
    ] {
        let told = away.told(&request).await;
        assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
        let line = format!("jailfleet_gateway_requests_total{{end=\"refused.host\"}} {refused}\n");
        assert!(
            away.counted().contains(&line),
            "{request}: {}",
            away.counted()
        );
    }
}
