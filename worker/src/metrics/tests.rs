//! That a scrape shows every series from the start, and what the doors counted.

use std::collections::BTreeSet;

use bytes::Bytes;
use jailfleet::artifact::ArtifactPath;
use jailfleet::job::Name;
use jailfleet::settings::LaneShares;
use jailfleet_queue::amqp::ConsumePlan;
use jailfleet_queue::topology::Drift;
use jailfleet_queue::{JobMessage, embedded};

use super::*;
use crate::tenancy::ALONE;

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().expect("it renders")).expect("it is text")
}

/// Every series, by name and labels. The numbers of the process itself are the library's: some of
/// them come and go with what the kernel can tell.
fn series(metrics: &Metrics) -> BTreeSet<String> {
    text(metrics)
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("process_"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series.to_owned())
        .collect()
}

/// Counters of doors that handed out one job.
async fn counters_after_one_job() -> Arc<DoorCounters> {
    let pool = Name::parse("default").expect("a name");
    let slots = LaneShares {
        interactive: 1,
        bulk: 1,
    };
    let plan = ConsumePlan {
        pool: pool.clone(),
        slots,
    };
    let (mut doors, producer) = embedded::pair(1, &plan);
    let job = JobMessage {
        body: Bytes::from_static(b"{}"),
        message_id: "a".to_owned(),
        correlation_id: None,
        reply_to: None,
        pool,
        lane: Lane::Bulk,
        published_ms: None,
        traceparent: None,
    };
    producer.submit(job).await.expect("taken");
    let delivery = doors.intake.next().await.expect("the job");
    let settled = delivery.ticket.settle(jailfleet_queue::Disposition::Ack);
    settled.await.expect("settled");
    doors.counters
}

fn every_wall() -> Vec<HeldWall> {
    let detail = "whatever the host says";
    let walls = Wall::ALL.iter();
    walls
        .map(|wall| HeldWall::detailed(*wall, detail))
        .collect()
}

#[tokio::test]
async fn every_series_is_there_from_the_start_and_no_event_makes_a_new_one() {
    let metrics = Metrics::new().expect("well formed");
    let at_first = series(&metrics);
    for event in DoorCounters::default().snapshot() {
        let series = format!("jailfleet_door_events_total{{event=\"{}\"}}", event.0);
        assert!(at_first.contains(&series), "{series}");
    }
    let second = Duration::from_secs(1);
    for lane in Lane::ALL.iter().copied() {
        metrics.job_received(lane, false, 10, 1.0);
        metrics.job_received(lane, true, 10, 1.0);
        metrics.queue_wait(lane, second);
        metrics.clock_skew(Skew::Ahead(second));
        metrics.clock_skew(Skew::Behind(second));
        for outcome in Outcome::ALL.iter().copied() {
            metrics.job_finished(lane, outcome);
        }
        let ran = Ran {
            setup: second,
            run: second,
            cpu: second,
            peak_memory_bytes: Some(10),
            ..Ran::default()
        };
        metrics.job_ran(lane, &ran);
        metrics.job_settled(lane, second);
    }
    for reason in LeftOutReason::ALL.iter().copied() {
        let path = ArtifactPath::parse("out/").expect("a path");
        metrics.artifacts(2, &[LeftOut { path, reason }]);
    }
    RejectionCode::ALL
        .iter()
        .for_each(|code| metrics.job_rejected(*code));
    SetAside::ALL
        .iter()
        .for_each(|reason| metrics.job_set_aside(*reason));
    PublishEnd::ALL
        .iter()
        .for_each(|end| metrics.result_published(*end, 10, second));
    metrics.settle_failed();
    metrics.drift(ALONE, Some(Drift::default()));
    Reaped::ALL
        .iter()
        .for_each(|end| metrics.letter_reaped(*end));
    Kept::ALL
        .iter()
        .for_each(|queue| metrics.kept(ALONE, *queue, Some(1)));
    for sang in [
        Sang::Held,
        Sang::Escaped(String::new()),
        Sang::Silent(String::new()),
    ] {
        metrics.canary(&sang, 1.0);
    }
    metrics.warden_ready(2, &every_wall());
    metrics.slot_leased(Some(ALONE));
    metrics.slot_returned(Some(ALONE), second);
    metrics.slot_quarantined();
    metrics.slots(SlotCounts::default());
    metrics.draining();
    Role::ALL
        .iter()
        .for_each(|role| metrics.door(ALONE, *role, DoorLink::Blocked));
    metrics.watch_doors(ALONE, counters_after_one_job().await);
    assert_eq!(series(&metrics), at_first);
    for _ in 0..2 {
        let line = "jailfleet_door_events_total{event=\"deliveries\"} 1\n";
        assert!(text(&metrics).contains(line), "{line}");
    }
}

#[test]
fn a_connection_that_the_broker_blocks_is_connected() {
    let metrics = Metrics::new().expect("metrics");
    for (link, connected, blocked) in [
        (DoorLink::Up, 1, 0),
        (DoorLink::Blocked, 1, 1),
        (DoorLink::Down, 0, 0),
    ] {
        metrics.door(ALONE, Role::Publish, link);
        let text = text(&metrics);
        for line in [
            format!("jailfleet_amqp_connected{{role=\"publish\"}} {connected}\n"),
            format!("jailfleet_amqp_blocked {blocked}\n"),
        ] {
            assert!(text.contains(&line), "{link:?}: no {line}");
        }
    }
}

#[test]
fn what_is_a_tenants_has_its_name_and_what_one_does_is_not_the_others() {
    let names = ["art", "zoology"].map(|name| Name::parse(name).expect("a name"));
    let metrics = Metrics::of(&names).expect("metrics");
    let at_first = series(&metrics);
    let (art, zoology) = (TenantIndex(0), TenantIndex(1));
    metrics.door(art, Role::Publish, DoorLink::Blocked);
    metrics.door(zoology, Role::Publish, DoorLink::Up);
    metrics.slot_leased(Some(zoology));
    metrics.slot_returned(Some(zoology), Duration::from_secs(2));
    // A canary's lease is nobody's.
    metrics.slot_leased(None);
    metrics.kept(zoology, Kept::DeadParked, Some(7));
    let counters = Arc::new(DoorCounters::default());
    metrics.watch_doors(zoology, counters);
    let text = text(&metrics);
    for line in [
        "jailfleet_amqp_connected{role=\"publish\",tenant=\"art\"} 1\n",
        "jailfleet_amqp_blocked{tenant=\"art\"} 1\n",
        "jailfleet_amqp_blocked{tenant=\"zoology\"} 0\n",
        "jailfleet_tenant_jobs_started_total{tenant=\"art\"} 0\n",
        "jailfleet_tenant_jobs_started_total{tenant=\"zoology\"} 1\n",
        "jailfleet_tenant_slot_seconds_total{tenant=\"zoology\"} 2\n",
        "jailfleet_kept_messages{queue=\"dead.parked\",tenant=\"zoology\"} 7\n",
        "jailfleet_kept_messages{queue=\"dead.parked\",tenant=\"art\"} NaN\n",
        "jailfleet_door_events_total{event=\"deliveries\",tenant=\"art\"} 0\n",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert_eq!(series(&metrics), at_first);
}
