//! The embedded door behaves as the one in front of a broker does.

use super::*;
use crate::envelope::Delivery;
use crate::outbox::{Move, Published};
use crate::ticket::Disposition;
use bytes::Bytes;
use jailfleet::job::Lane;
use jailfleet::settings::LaneShares;
use jailfleet::wire::EncodedResult;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn plan() -> ConsumePlan {
    let pool = Name::parse("default").expect("a name");
    ConsumePlan {
        pool,
        slots: LaneShares {
            interactive: 1,
            bulk: 1,
        },
    }
}

fn job(id: &str, lane: Lane) -> JobMessage {
    JobMessage {
        body: Bytes::from_static(b"{}"),
        message_id: id.to_owned(),
        correlation_id: None,
        reply_to: Some(EMBEDDED_REPLY.to_owned()),
        pool: plan().pool,
        lane,
        published_ms: None,
        traceparent: None,
    }
}

fn reply(id: &str) -> Reply {
    Reply {
        reply_to: jailfleet::reply::vet(EMBEDDED_REPLY, "jailfleet").expect("a good name"),
        correlation_id: None,
        traceparent: None,
        result: EncodedResult {
            message_id: format!("{id}.1"),
            body: b"result".to_vec(),
            digest: "00".to_owned(),
        },
    }
}

async fn next(doors: &mut Doors) -> Delivery {
    let next = tokio::time::timeout(LONG, doors.intake.next()).await;
    next.expect("in time").expect("open")
}

fn id(delivery: &Delivery) -> &str {
    delivery
        .envelope
        .message_id
        .as_deref()
        .expect("our jobs have ids")
}

#[tokio::test]
async fn a_job_runs_and_its_result_arrives() {
    let (mut doors, mut producer) = pair(4, &plan());
    producer.submit(job("a", Lane::Bulk)).await.expect("taken");
    let delivery = next(&mut doors).await;
    assert_eq!(
        doors.outbox.publish(reply("a")).await,
        Ok(Published::Delivered)
    );
    delivery
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    let result = producer.next_result().await.expect("a result");
    assert_eq!(result.message_id.as_deref(), Some("a.1"));
    assert!(doors.sessions.close(LONG).await);
    assert_eq!(producer.next_result().await, None);
    assert_eq!(producer.submit(job("b", Lane::Bulk)).await, Err(DoorGone));
}

#[tokio::test]
async fn a_full_door_makes_the_producer_wait_until_a_job_is_settled() {
    let (mut doors, producer) = pair(1, &plan());
    producer.submit(job("a", Lane::Bulk)).await.expect("taken");
    let sender = producer.sender();
    let mut second = Box::pin(sender.submit(job("b", Lane::Bulk)));
    let first = next(&mut doors).await;
    tokio::select! {
        biased;
        _ = &mut second => panic!("there was no room for a second job"),
        () = tokio::task::yield_now() => {}
    }
    first
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    second.await.expect("taken now");
    next(&mut doors)
        .await
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
}

#[tokio::test]
async fn a_requeued_or_dropped_job_comes_back_with_its_count_raised() {
    let (mut doors, producer) = pair(4, &plan());
    producer.submit(job("a", Lane::Bulk)).await.expect("taken");
    let first = next(&mut doors).await;
    assert!(!first.envelope.redelivered);
    first
        .ticket
        .settle(Disposition::Requeue)
        .await
        .expect("settled");
    let second = next(&mut doors).await;
    assert_eq!(
        (second.envelope.redelivered, second.envelope.delivery_count),
        (true, 1)
    );
    drop(second);
    let third = next(&mut doors).await;
    assert_eq!(third.envelope.delivery_count, 2);
    assert_eq!(doors.counters.tickets_dropped.get(), 1);
    third
        .ticket
        .settle(Disposition::DeadLetter)
        .await
        .expect("settled");
    assert_eq!(producer.kept().dead().len(), 1);
}

#[tokio::test]
async fn an_interactive_job_overtakes_bulk_jobs_and_a_lane_can_be_left_out() {
    let (mut doors, producer) = pair(8, &plan());
    for place in 0..3 {
        producer
            .submit(job(&format!("bulk-{place}"), Lane::Bulk))
            .await
            .expect("taken");
    }
    producer
        .submit(job("quick", Lane::Interactive))
        .await
        .expect("taken");
    let bulk = doors
        .intake
        .next_among(&[Source::Bulk])
        .await
        .expect("open");
    assert_eq!(id(&bulk), "bulk-0");
    let quick = doors
        .intake
        .next_among(&[Source::Interactive])
        .await
        .expect("open");
    assert_eq!(id(&quick), "quick");
    for delivery in [bulk, quick] {
        delivery
            .ticket
            .settle(Disposition::Ack)
            .await
            .expect("settled");
    }
    let mut waiting = Vec::new();
    doors.intake.stop(&mut waiting).await;
    let left: Vec<&str> = waiting.iter().map(id).collect();
    assert_eq!(left, ["bulk-1", "bulk-2"]);
    for delivery in waiting {
        let back = delivery.ticket.settle(Disposition::Requeue).await;
        back.expect("settled");
    }
    assert!(doors.intake.next().await.is_none());
}

#[tokio::test]
async fn a_result_without_a_requester_is_kept() {
    let (doors, producer) = pair(4, &plan());
    let kept = producer.kept();
    drop(producer);
    assert_eq!(doors.outbox.publish(reply("a")).await, Ok(Published::Lost));
    assert_eq!(kept.lost().len(), 1);
    assert_eq!(doors.counters.results_lost.get(), 1);
}

#[tokio::test]
async fn a_retried_job_comes_back_and_a_suspect_comes_as_one() {
    let (mut doors, producer) = pair(1, &plan());
    producer.submit(job("a", Lane::Bulk)).await.expect("taken");
    let first = next(&mut doors).await;
    let mut moved = Move {
        body: first.body.clone(),
        envelope: first.envelope.clone(),
        origin: first.origin.clone(),
    };
    moved.envelope.faults = 1;
    doors
        .outbox
        .retry(moved.clone(), 1)
        .await
        .expect("put aside");
    first
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    let second = next(&mut doors).await;
    assert_eq!(second.envelope.faults, 1);
    assert!(second.envelope.dead_lettered);
    doors.outbox.suspect(moved).await.expect("moved");
    second
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    let third = next(&mut doors).await;
    assert!(third.origin.suspect);
    third
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
}

#[tokio::test]
async fn more_results_than_the_producer_has_room_for_do_not_stop_the_settling() {
    let (mut doors, mut producer) = pair(4, &plan());
    producer.submit(job("a", Lane::Bulk)).await.expect("taken");
    let delivery = next(&mut doors).await;
    let outbox = doors.outbox.clone();
    let flood = async {
        for place in 0..=RESULTS {
            outbox
                .publish(reply(&place.to_string()))
                .await
                .expect("safe");
        }
    };
    let settle = async {
        delivery
            .ticket
            .settle(Disposition::Ack)
            .await
            .expect("settled");
        let mut taken = 0;
        while taken <= RESULTS {
            producer.next_result().await.expect("open");
            taken += 1;
        }
    };
    tokio::time::timeout(LONG, async { tokio::join!(flood, settle) })
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_cancel_of_the_producer_comes_to_the_worker_and_there_is_no_past_to_wait_for() {
    let (mut doors, producer) = pair(4, &plan());
    let cancel = Cancel {
        targets: vec![jailfleet::cancel::Target::Batch("exam".to_owned())],
        pool: None,
        sent: jailfleet::job::EpochMs(7),
    };
    producer.sender().cancel(&cancel).await.expect("open");
    let mut cancels = doors.cancels.take().expect("it hears cancels");
    assert_eq!(cancels.next().await, Some(CancelNews::CaughtUp));
    let asked = CancelNews::Asked(encode_cancel(&cancel).into());
    assert_eq!(cancels.next().await, Some(asked));
}
