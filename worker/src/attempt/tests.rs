//! How a job goes back that a worker does not carry through, with a warden that the test plays.

use super::*;
use crate::cancels::{CATCH_UP, Cancels};
use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::slots::{Rooms, Slots};
use crate::tenancy::ALONE;
use jailfleet::job::{Lane, Name};
use jailfleet::settings::{LaneShares, worker_settings};
use jailfleet_program::Clock;
use jailfleet_queue::amqp::ConsumePlan;
use jailfleet_queue::{DoorState, Envelope, Link, Origin, embedded};
use jailfleet_sandbox::protocol::{Report, Walls};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const DIGEST: [u8; 32] = [7; 32];

/// A worker with one slot, in which nobody ever runs anything.
struct Stage {
    station: Station,
    doors: watch::Sender<DoorState>,
    _warden: OwnedFd,
    _sessions: jailfleet_queue::Sessions,
}

async fn stage() -> Stage {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
    let (ours, warden) = pair.expect("a pair");
    let ready = Report::Ready {
        slot_count: 1,
        walls: Walls::default(),
        config_digest: DIGEST,
    };
    let flags = MsgFlags::MSG_NOSIGNAL;
    send(warden.as_raw_fd(), &ready.encode(), flags).expect("there is room");
    let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new().expect("metrics")));
    let shares = LaneShares {
        interactive: 1,
        bulk: 1,
    };
    let greeting = Slots::greet(
        ours,
        DIGEST,
        Rooms::new(shares, &[1]),
        clock,
        Arc::clone(&metrics),
    );
    let (slots, ready) = greeting.await.expect("it is ready");
    let settings = Arc::new(worker_settings(None, &[], &[]).expect("the defaults are good"));
    let pool = settings.worker.pool.clone();
    let cancels = Arc::new(Cancels::new(
        ALONE,
        pool.clone(),
        clock,
        Arc::clone(&metrics),
    ));
    // Nobody cancels anything.
    Arc::clone(&cancels).listen(None, CATCH_UP).await;
    let plan = ConsumePlan {
        pool,
        slots: shares,
    };
    let (opened, _producer) = embedded::pair(1, &plan);
    let doors = watch::Sender::new(opened.state.borrow().clone());
    let station = Station {
        tenant: ALONE,
        offer: Offer::survey(&settings).expect("nothing is required"),
        caps: settings.caps.wire(),
        settings,
        digest: String::new(),
        host: "here".to_owned(),
        held: ready.held,
        slots,
        outbox: opened.outbox,
        doors: doors.subscribe(),
        cancels,
        twins: Arc::default(),
        hands: crate::clocks::Hands::default(),
        metrics,
        clock,
        hand_back: CancellationToken::new(),
        kill: CancellationToken::new(),
    };
    Stage {
        station,
        doors,
        _warden: warden,
        _sessions: opened.sessions,
    }
}

/// A job that went back once: another delivery that failed would bring it among the suspects, so it is sent
/// anew where it is not to blame.
fn message(station: &Station) -> Message {
    let body = br#"{ "v": 1, "id": "a", "runtime": "bash", "code": "echo ran" }"#;
    let envelope = Envelope {
        message_id: Some("a".to_owned()),
        delivery_count: 1,
        redelivered: true,
        ..Envelope::default()
    };
    let (received, received_at) = now(station);
    Message {
        body: body.as_slice().into(),
        origin: Origin {
            tenant: "".into(),
            pool: Name::parse("default").expect("a name"),
            lane: Lane::Bulk,
            suspect: false,
        },
        history: History {
            faults: 0,
            delivery_count: envelope.delivery_count,
            acquired: 0,
            suspect: false,
        },
        envelope,
        received,
        received_at,
    }
}

/// What becomes of a job whose run met a fault of ours.
async fn after_a_fault(station: &Station) -> Disposition {
    let message = message(station);
    let job = decode(station, &message).expect("a job");
    let wanted = station.cancels.enter(&job, None);
    let detail = ErrorDetail::new(ErrorCode::SlotFault, "for a test");
    let fault = Outcome::EngineFault;
    let result = results::without_run(station, &message, &job, None, fault, detail);
    let requester = Requester { reply_to: None };
    retry_or_answer(station, &message, &requester, (result, &wanted)).await
}

#[tokio::test]
async fn a_job_that_had_no_slot_when_the_warden_died_is_not_to_blame() {
    let Stage { station, .. } = &stage().await;
    station.slots.abandon();
    // It was sent anew, uncounted.
    let went = story(station, &message(station)).await;
    assert_eq!(went, Disposition::Ack);
}

#[tokio::test]
async fn a_fault_while_a_worker_stops_is_not_counted_and_one_whose_warden_died_is() {
    let Stage { station, .. } = &stage().await;
    station.kill.cancel();
    assert_eq!(after_a_fault(station).await, Disposition::Ack);
    station.slots.abandon();
    assert_eq!(after_a_fault(station).await, Disposition::Requeue);
}

#[tokio::test]
async fn a_job_that_was_only_ever_given_back_goes_to_the_dead_and_is_not_run_again() {
    let Stage { station, .. } = &stage().await;
    let mut message = message(station);
    message.history.acquired = retry::MOST_ACQUIRED;
    assert_eq!(story(station, &message).await, Disposition::DeadLetter);
}

#[tokio::test]
async fn a_job_is_not_sent_anew_where_nothing_goes_out() {
    let stage = stage().await;
    let (station, doors) = (&stage.station, &stage.doors);
    for link in [Link::Down, Link::Blocked, Link::Closed] {
        doors.send_modify(|state| state.publish = link);
        let went = answer::give_back(station, &message(station), "for a test").await;
        assert_eq!(went, Disposition::Requeue, "{link:?}");
    }
    doors.send_modify(|state| state.publish = Link::Up);
    let went = answer::give_back(station, &message(station), "for a test").await;
    assert_eq!(went, Disposition::Ack);
}
