//! What befalls the fleet, and when; and the jobs that must not notice. Pure.

use serde_json::{Value, json};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blow {
    KillWorker,
    DrainWorker,
    KillWarden,
    FreezeWorker,
    RestartBroker,
    KillProducer,
}

/// Each round has all of these.
const ROUND: [Blow; 11] = [
    Blow::KillWorker,
    Blow::KillWorker,
    Blow::KillWorker,
    Blow::DrainWorker,
    Blow::DrainWorker,
    Blow::KillWarden,
    Blow::KillWarden,
    Blow::FreezeWorker,
    Blow::RestartBroker,
    Blow::RestartBroker,
    Blow::KillProducer,
];

impl Blow {
    /// What it is, for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::KillWorker => "worker killed",
            Self::DrainWorker => "worker drained",
            Self::KillWarden => "warden killed",
            Self::FreezeWorker => "worker frozen past its heartbeat",
            Self::RestartBroker => "broker restarted",
            Self::KillProducer => "producer killed",
        }
    }
}

/// A blow, and after how many results it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) after: usize,
    pub(super) blow: Blow,
}

/// All blows of a run of `jobs` jobs, in an order that `random` chooses, spread evenly over it.
pub(super) fn plan(jobs: usize, rounds: usize, random: &mut fastrand::Rng) -> Vec<Due> {
    let mut blows = ROUND.repeat(rounds);
    random.shuffle(&mut blows);
    let parts = blows.len() + 1;
    let places = (1..parts).map(|part| part * jobs / parts);
    let due = places.zip(blows);
    due.map(|(after, blow)| Due { after, blow }).collect()
}

/// The name of a job.
pub(super) fn id(number: usize) -> String {
    format!("turmoil.{number}")
}

/// A job by its number: half of them take a while, so that blows hit some in the middle; the others
/// end in every way that a program has.
pub(super) fn job(number: usize) -> Value {
    let (code, limits) = match number % 10 {
        0 => ("exit 3".to_owned(), json!({})),
        2 => ("kill -SEGV $$".to_owned(), json!({})),
        4 => (
            "while :; do echo y; done".to_owned(),
            json!({ "output_bytes": 1000 }),
        ),
        6 if number % 50 == 6 => ("sleep 30".to_owned(), json!({ "wall_ms": 300 })),
        odd if odd % 2 == 1 => (format!("sleep 0.3; echo {number}"), json!({})),
        _ => (format!("echo {number}"), json!({})),
    };
    json!({
        "v": 1,
        "id": id(number),
        "runtime": "native",
        "code": format!("#!/bin/sh\n{code}\n"),
        "limits": limits,
    })
}

/// What its result must say, and print, if that is certain.
pub(super) fn expected(number: usize) -> (&'static str, Option<String>) {
    match number % 10 {
        0 => ("exited 3", Some(String::new())),
        2 => ("signaled 11", Some(String::new())),
        4 => ("output_limit", None),
        6 if number % 50 == 6 => ("wall_limit", Some(String::new())),
        _ => ("exited 0", Some(format!("{number}\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_with_every_blow_in_it_and_jobs_before_and_after_each() {
        let plan = |seed| plan(2_000, 2, &mut fastrand::Rng::with_seed(seed));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let mut blows: Vec<Blow> = plan(7).iter().map(|due| due.blow).collect();
        let mut all = ROUND.repeat(2);
        blows.sort_unstable();
        all.sort_unstable();
        assert_eq!(blows, all);
        let places: Vec<usize> = plan(7).iter().map(|due| due.after).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
        assert!(places.first() > Some(&0) && places.last() < Some(&2_000));
    }
}
