//! Each mischief, between two ends that a test holds in its hands.

use super::frame::tests::{method, publish, start_ok};
use super::{ChaosProxy, Kind, Method, Mischief, Spot, Way};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// More than anything takes that shall happen.
const LONG: Duration = Duration::from_secs(30);
/// How long something must not happen.
const SHORT: Duration = Duration::from_millis(300);
const NAME: &str = "jailfleet publish 7";

/// A client and a broker with the proxy between them.
struct Party {
    client: TcpStream,
    broker: TcpStream,
    listener: TcpListener,
    proxy: ChaosProxy,
}

impl Party {
    fn meet() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let broker = listener.local_addr().expect("its number");
        let uri = format!("amqp://guest:guest@{broker}/%2f");
        let proxy = ChaosProxy::before(&uri).expect("a proxy");
        let through = proxy.uri(&uri).expect("a URI");
        assert_eq!(through, format!("amqp://guest:guest@{}/%2f", proxy.address));
        let client = TcpStream::connect(proxy.address).expect("it listens");
        let (broker, _) = listener.accept().expect("it comes");
        let mut party = Self {
            client,
            broker,
            listener,
            proxy,
        };
        party.broker_gets(LONG, &start_ok(NAME));
        party
    }

    fn broker_gets(&mut self, within: Duration, bytes: &[u8]) {
        self.client.write_all(bytes).expect("written");
        assert_eq!(
            read(&mut self.broker, bytes.len(), within).expect("whole"),
            bytes
        );
    }
}

fn read(from: &mut TcpStream, count: usize, within: Duration) -> std::io::Result<Vec<u8>> {
    from.set_read_timeout(Some(within)).expect("a time-out");
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Sees that nothing comes for a while, not even an end.
fn silent(stream: &mut TcpStream) {
    let error = read(stream, 1, SHORT).expect_err("nothing comes");
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
}

fn is_reset(stream: &mut TcpStream) {
    let error = read(stream, 1, LONG).expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

fn ack() -> Vec<u8> {
    method(Method::BASIC_ACK, &[0; 9])
}

#[test]
fn records_of_tls_pass_whole_and_one_that_is_torn_ends_the_connection_within_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let broker = listener.local_addr().expect("its number");
    let proxy = ChaosProxy::before_tls(&format!("amqps://{broker}/")).expect("a proxy");
    let large = |record: &super::Frame| record.bytes().len() > 100;
    let rule = proxy.at(
        Spot::of(Way::ToBroker, Kind::TlsData).that(large),
        Mischief::Tear { after: 7 },
    );
    let mut client = TcpStream::connect(proxy.address).expect("it listens");
    let (mut broker, _) = listener.accept().expect("it comes");
    let record =
        |kind: u8, size: u8| [&[kind, 3, 3, 0, size][..], &vec![kind; size.into()]].concat();
    for small in [record(22, 40), record(23, 0), record(23, 60)] {
        client.write_all(&small).expect("written");
        assert_eq!(read(&mut broker, small.len(), LONG).expect("whole"), small);
    }
    assert_eq!(proxy.seen(Way::ToBroker, Kind::TlsData, ""), 2);
    assert_eq!(rule.has_struck(), None);
    client.write_all(&record(23, 200)).expect("written");
    rule.struck(LONG).expect("it strikes");
    is_reset(&mut client);
    // A reset may overtake what was sent before it, and takes it away then.
    match read(&mut broker, 7, LONG) {
        Ok(begun) => {
            assert_eq!(begun, [23, 3, 3, 0, 200, 23, 23]);
            is_reset(&mut broker);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn what_no_rule_names_passes_whole_and_is_counted() {
    let mut party = Party::meet();
    party.broker_gets(LONG, &publish("x"));
    party.broker_gets(LONG, &publish("y"));
    party.broker.write_all(&ack()).expect("written");
    assert_eq!(
        read(&mut party.client, ack().len(), LONG).expect("it comes"),
        ack()
    );
    let publishes = Kind::Method(Method::BASIC_PUBLISH);
    assert_eq!(party.proxy.seen(Way::ToBroker, publishes, "publish"), 2);
    assert_eq!(party.proxy.seen(Way::ToBroker, publishes, "consume"), 0);
    assert_eq!(party.proxy.seen(Way::ToClient, publishes, ""), 0);
    let line = "     1 x basic.ack, to the client, \"jailfleet publish 7\"\n";
    assert!(
        party.proxy.report().contains(line),
        "{}",
        party.proxy.report()
    );
    // An end in peace passes as well.
    drop(party.client);
    assert_eq!(party.broker.read(&mut [0]).expect("an end"), 0);
    drop(party.broker);
    party.proxy.until_closed(NAME, LONG).expect("closed");
}

#[test]
fn a_cut_resets_both_sides_and_the_frame_reaches_nobody() {
    let mut party = Party::meet();
    let rule = party
        .proxy
        .at(Spot::to_broker(Method::BASIC_PUBLISH).nth(2), Mischief::Cut);
    party.broker_gets(LONG, &publish("first"));
    assert_eq!(rule.has_struck(), None);
    party.client.write_all(&publish("second")).expect("written");
    assert_eq!(rule.struck(LONG).expect("it strikes"), NAME);
    is_reset(&mut party.client);
    is_reset(&mut party.broker);
    party.proxy.until_closed("", LONG).expect("closed");
}

#[test]
fn connections_are_cut_by_name_at_any_time() {
    let mut party = Party::meet();
    assert_eq!(party.proxy.cut("consume"), 0);
    party.broker_gets(LONG, &publish("x"));
    assert_eq!(party.proxy.cut("publish 7"), 1);
    is_reset(&mut party.client);
    is_reset(&mut party.broker);
}

#[test]
fn a_half_open_connection_carries_nothing_and_tells_nobody() {
    let mut party = Party::meet();
    let rule = party
        .proxy
        .at(Spot::to_broker(Method::BASIC_PUBLISH), Mischief::HalfOpen);
    party.client.write_all(&publish("x")).expect("written");
    rule.struck(LONG).expect("it strikes");
    party.broker.write_all(&ack()).expect("written");
    silent(&mut party.client);
    silent(&mut party.broker);
    // Not even that one side goes away.
    drop(party.broker);
    silent(&mut party.client);
    party
        .client
        .write_all(&publish("y"))
        .expect("nobody says no");
}

#[test]
fn a_stall_delays_the_frame_and_all_behind_it_in_its_direction() {
    let mut party = Party::meet();
    let stall = Mischief::Stall(SHORT * 3);
    party
        .proxy
        .at(Spot::to_broker(Method::BASIC_PUBLISH), stall);
    party.client.write_all(&publish("x")).expect("written");
    party.client.write_all(&ack()).expect("written");
    silent(&mut party.broker);
    party.broker.write_all(&ack()).expect("written");
    read(&mut party.client, ack().len(), LONG).expect("the other direction goes on");
    let both = [publish("x"), ack()].concat();
    assert_eq!(
        read(&mut party.broker, both.len(), LONG).expect("late"),
        both
    );
}

#[test]
fn a_slow_direction_carries_so_many_bytes_a_second() {
    let mut party = Party::meet();
    let slow = Mischief::Slow {
        bytes_per_second: 1000,
    };
    party.proxy.at(Spot::to_broker(Method::BASIC_PUBLISH), slow);
    let long = publish(&"k".repeat(200));
    let several = long.repeat(5);
    party.client.write_all(&several).expect("written");
    // About 1,100 bytes take a second; half of them do not come in the first third of it.
    let first = read(&mut party.broker, 10, LONG).expect("the first bytes");
    silent_until(&mut party.broker, several.len() / 2);
    assert_eq!(first, several[..10]);
}

/// Sees that fewer than so many bytes come within a short time.
fn silent_until(stream: &mut TcpStream, bytes: usize) {
    // What a whole read takes: each beat brings something, so that the wait for the next is short.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let mut stream = stream.try_clone().expect("another handle");
    let reader = std::thread::spawn(move || {
        let came = read(&mut stream, bytes, LONG);
        sender.send(came.is_ok()).expect("somebody waits");
    });
    receiver.recv_timeout(SHORT).expect_err("not that fast");
    assert!(
        receiver.recv_timeout(LONG).expect("in time"),
        "it comes at last"
    );
    reader.join().expect("no panic");
}

#[test]
fn a_corrupt_frame_differs_in_one_byte_and_the_next_one_is_whole() {
    let mut party = Party::meet();
    let corrupt = Mischief::Corrupt { at: usize::MAX };
    party
        .proxy
        .at(Spot::to_broker(Method::BASIC_PUBLISH), corrupt);
    let whole = publish("x");
    party.client.write_all(&whole).expect("written");
    let came = read(&mut party.broker, whole.len(), LONG).expect("it comes");
    let (end, rest) = came.split_last().expect("not empty");
    assert_eq!((*end, rest), (0x31, &whole[..whole.len() - 1]));
    party.broker_gets(LONG, &publish("y"));
}

#[test]
fn a_swallowed_frame_does_not_come_and_the_next_one_does() {
    let mut party = Party::meet();
    let rule = party
        .proxy
        .at(Spot::to_client(Method::BASIC_ACK), Mischief::Swallow);
    party.broker.write_all(&ack()).expect("written");
    rule.struck(LONG).expect("it strikes");
    silent(&mut party.client);
    let nack = method(Method::BASIC_NACK, &[0; 9]);
    party.broker.write_all(&nack).expect("written");
    assert_eq!(
        read(&mut party.client, nack.len(), LONG).expect("it comes"),
        nack
    );
}

#[test]
fn a_held_frame_waits_for_a_word_and_then_passes_or_its_connection_is_cut() {
    let mut party = Party::meet();
    let spot = || Spot::to_broker(Method::BASIC_PUBLISH).on(NAME);
    let first = party.proxy.at(spot(), Mischief::Hold);
    let whole = publish("x");
    party.client.write_all(&whole).expect("written");
    first.struck(LONG).expect("it strikes");
    silent(&mut party.broker);
    first.go_on();
    assert_eq!(
        read(&mut party.broker, whole.len(), LONG).expect("it comes"),
        whole
    );
    let second = party.proxy.at(spot(), Mischief::Hold);
    party.client.write_all(&whole).expect("written");
    second.struck(LONG).expect("it strikes");
    second.cut();
    is_reset(&mut party.client);
    is_reset(&mut party.broker);
}

#[test]
fn a_watched_frame_has_passed_when_it_is_told_of() {
    let mut party = Party::meet();
    let rule = party
        .proxy
        .at(Spot::to_broker(Method::BASIC_PUBLISH), Mischief::Watch);
    party.client.write_all(&publish("x")).expect("written");
    assert_eq!(rule.struck(LONG).expect("it strikes"), NAME);
    read(&mut party.broker, publish("x").len(), SHORT).expect("it is there");
}

#[test]
fn whoever_comes_while_the_broker_is_away_is_sent_away_and_may_come_again() {
    let Party {
        client,
        broker,
        listener,
        proxy,
    } = Party::meet();
    let place = listener.local_addr().expect("its number");
    drop((client, broker, listener));
    let mut early = TcpStream::connect(proxy.address).expect("it listens");
    is_reset(&mut early);
    let listener = TcpListener::bind(place).expect("the same port");
    let mut late = TcpStream::connect(proxy.address).expect("it listens");
    late.write_all(&publish("x")).expect("written");
    let (mut broker, _) = listener.accept().expect("it comes");
    read(&mut broker, publish("x").len(), LONG).expect("it comes");
}

#[test]
fn a_broker_that_goes_away_takes_nobody_until_it_comes_back() {
    let mut party = Party::meet();
    party.proxy.goes_away();
    is_reset(&mut party.client);
    let mut refused = TcpStream::connect(party.proxy.address).expect("it listens");
    is_reset(&mut refused);
    party.proxy.comes_back();
    party.client = TcpStream::connect(party.proxy.address).expect("it listens");
    let (refused, _) = party.listener.accept().expect("it came");
    drop(refused);
    (party.broker, _) = party.listener.accept().expect("it comes");
    party.broker_gets(LONG, &start_ok(NAME));
}
