//! The book of cancels: a job and its cancel meet, whichever comes first.

use super::*;
use crate::tenancy::ALONE;
use bytes::Bytes;
use jailfleet::cancel::Target;
use jailfleet::job::JobId;
use jailfleet::wire::{DecodeHint, WireCaps, decode_job, encode_cancel};

mod stories;

fn book() -> Arc<Cancels> {
    let pool = Name::parse("default").expect("a name");
    let metrics = Metrics::new().expect("they are well formed");
    Arc::new(Cancels::new(ALONE, pool, Clock::start(), Arc::new(metrics)))
}

fn job(id: &str) -> Job {
    let text = format!(r#"{{"v":1,"id":"{id}","runtime":"bash","code":"","batch":"exam"}}"#);
    let caps = WireCaps::default();
    decode_job(text.as_bytes(), &DecodeHint::default(), &caps).expect("a job")
}

fn cancel(target: Target, pool: Option<&str>, sent: EpochMs) -> Bytes {
    let pool = pool.map(|pool| Name::parse(pool).expect("a name"));
    let targets = vec![target];
    encode_cancel(&Cancel {
        targets,
        pool,
        sent,
    })
    .into()
}

fn of(id: &str) -> Target {
    Target::Job(JobId::parse(id).expect("an id"))
}

fn exam() -> Target {
    Target::Batch("exam".to_owned())
}

#[test]
fn a_job_and_its_cancel_meet_whichever_comes_first() {
    let book = book();
    let now = book.clock.epoch_ms();
    let (before, other) = (
        book.enter(&job("a"), Some(now.0)),
        book.enter(&job("b"), None),
    );
    book.hear(&cancel(of("a"), None, now));
    let after = book.enter(&job("a"), Some(now.0));
    assert!(before.no_more() && after.no_more() && !other.no_more());
    let later = book.enter(&job("a"), Some(now.0 + 1));
    assert!(!later.no_more(), "it was published after the cancel");
    book.hear(&cancel(exam(), None, now));
    assert!(other.no_more() && !later.no_more());
}

#[test]
fn a_cancel_of_another_pool_or_garbage_changes_nothing() {
    let book = book();
    let now = book.clock.epoch_ms();
    let here = book.enter(&job("a"), None);
    book.hear(&cancel(of("a"), Some("gpu"), now));
    book.hear(b"\xff garbage");
    book.hear(&cancel(of("a"), None, EpochMs(now.0 + 3_600_000)));
    assert!(!here.no_more() && book.book().register.is_empty());
    book.hear(&cancel(of("a"), Some("default"), now));
    assert!(here.no_more());
}

#[test]
fn a_job_that_left_leaves_nothing_behind() {
    let book = book();
    let (first, second) = (book.enter(&job("a"), None), book.enter(&job("a"), None));
    drop(first);
    assert_eq!(book.book().here.len(), 1, "the other of the same id stays");
    drop(second);
    assert!(book.book().here.is_empty());
}

#[tokio::test]
async fn the_first_jobs_wait_for_the_cancels_of_the_past_and_not_for_ever() {
    let patient = book();
    let (door, intake) = CancelIntake::channel();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&patient).listen(Some(intake), CATCH_UP * 100));
    let now = patient.clock.epoch_ms();
    let asked = CancelNews::Asked(cancel(of("a"), None, now));
    door.send(asked).await.expect("it listens");
    door.send(CancelNews::CaughtUp).await.expect("it listens");
    patient.caught_up().await;
    assert!(patient.enter(&job("a"), None).no_more(), "told before");

    let hasty = book();
    let (_door, intake) = CancelIntake::channel();
    tasks.spawn(Arc::clone(&hasty).listen(Some(intake), Duration::ZERO));
    hasty.caught_up().await;
    let without = book();
    tasks.spawn(Arc::clone(&without).listen(None, CATCH_UP * 100));
    without.caught_up().await;
}

#[test]
fn a_fault_of_a_job_that_is_wanted_no_more_is_told_and_is_no_reason_for_another_try() {
    let worker = jailfleet::result::WorkerStamp {
        host: "here".to_owned(),
        version: "0".to_owned(),
        slot: Some(1),
        attempt: 2,
        last_canary: None,
    };
    let fault = ErrorDetail::new(ErrorCode::JailLost, "the jail vanished without a word");
    let failed = JobResult::without_run(None, Outcome::EngineFault, Some(fault), worker.clone());
    let told = instead_of_another_try(failed);
    assert_eq!((told.outcome, told.worker), (Outcome::Cancelled, worker));
    let error = told.error.expect("the reason");
    assert_eq!(error.code, ErrorCode::Cancelled);
    assert!(error.message.contains("vanished"), "{}", error.message);
}
