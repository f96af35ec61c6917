//! Whether a job is tried, tried again, or given up.

use std::time::Duration;

/// How often what is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a job is tried again after a fault of ours, before it is answered.
    pub faults: u32,
    /// From which delivery on a job is suspected of killing its workers and runs apart.
    pub suspect_deliveries: u64,
    /// How many deliveries a suspect gets before it is given up.
    pub suspect_tries: u64,
    /// Shortest wait before a retry.
    pub delay_min: Duration,
    /// Longest wait before a retry.
    pub delay_max: Duration,
}

/// How often a broker may hand a message out of one queue before it is refused for good. From RabbitMQ 4.3 on a
/// message that is given back counts for no delivery limit, only here; a job that each worker must give
/// back, since its result finds no queue or no right, would go round for ever.
pub const MOST_ACQUIRED: u64 = 50;

/// What is known of the tries before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Faults of ours so far, by our own header.
    pub faults: u32,
    /// How often the broker has delivered the message before (0: never).
    pub delivery_count: u64,
    /// How often its queue has handed it out, however each of these ended; 0 where the broker does not say.
    pub acquired: u64,
    /// Whether it came from the suspects' queue.
    pub suspect: bool,
}

impl History {
    /// The number of this attempt, from 1 on, over all queues that the job went through.
    #[must_use]
    pub fn attempt(&self, policy: &RetryPolicy) -> u32 {
        let before = if self.suspect {
            policy.suspect_deliveries
        } else {
            0
        };
        let deliveries = u32::try_from(self.delivery_count.saturating_add(before));
        self.faults
            .saturating_add(deliveries.unwrap_or(u32::MAX))
            .saturating_add(1)
    }
}

/// What to do with a job that just came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Run it.
    Run,
    /// Move it to the suspects, where it endangers nobody else.
    Suspect,
    /// Answer `worker_lost`: it was given its tries.
    GiveUp,
    /// To the dead queue as it is, where the reaper answers it: workers only ever gave it back.
    Refuse,
}

/// What to do after a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum RetryDecision {
    /// Try again after `delay`, elsewhere if possible.
    Retry {
        /// How long to wait.
        delay: Duration,
        /// Faults so far, this one included: what the retry's header says.
        faults: u32,
    },
    /// Answer `engine_fault`.
    Answer,
}

/// How a job goes back that a worker took and does not carry through because it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum GiveBack {
    /// The broker puts it back where it was, and counts one delivery more.
    InPlace,
    /// It is sent once more, with its deliveries so far, to the end of its queue.
    Anew,
}

/// Decides how a job goes back for no fault of its own. Most brokers count each return as a delivery that
/// failed; where one more would speak against the job, it is sent anew instead.
pub fn give_back(history: &History, policy: &RetryPolicy) -> GiveBack {
    // The suspects' queue is short, and each of their few tries counts.
    let uncounted = history.acquired < MOST_ACQUIRED / 2;
    let few = history.delivery_count.saturating_add(1) < policy.suspect_deliveries;
    if !history.suspect && few && uncounted {
        GiveBack::InPlace
    } else {
        GiveBack::Anew
    }
}

/// Decides on a job that just came, before it is run.
pub fn admit(history: &History, policy: &RetryPolicy) -> Admission {
    if history.acquired >= MOST_ACQUIRED {
        return Admission::Refuse;
    }
    if history.suspect {
        if history.delivery_count < policy.suspect_tries {
            Admission::Run
        } else {
            Admission::GiveUp
        }
    } else if history.delivery_count < policy.suspect_deliveries {
        Admission::Run
    } else {
        Admission::Suspect
    }
}

/// Decides after a fault of ours. `jitter` is a random number in `0.0..1.0`, given by the caller so
/// that the decision stays pure: jobs that failed together do not come back together.
pub fn decide(history: &History, policy: &RetryPolicy, jitter: f64) -> RetryDecision {
    if history.faults >= policy.faults {
        return RetryDecision::Answer;
    }
    let longest = policy
        .delay_min
        .saturating_mul(1_u32.checked_shl(history.faults).unwrap_or(u32::MAX))
        .clamp(policy.delay_min, policy.delay_max.max(policy.delay_min));
    // NaN fails both comparisons of clamp and would reach mul_f64, which panics on it.
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let half = longest / 2;
    RetryDecision::Retry {
        delay: half.saturating_add(half.mul_f64(jitter)),
        faults: history.faults.saturating_add(1),
    }
}

/// The first and the longest pause of a job that waits for a worker of its minor version.
const UPGRADE_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// How long it waits in all, at least: a day, for somebody to upgrade a worker.
const UPGRADE_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What to do with a job of a newer minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum HandOn {
    /// Put it aside for `pause`; then any worker of its lane may look at it.
    Wait {
        /// How long.
        pause: Duration,
        /// How often it was put aside, this time included: what its header says.
        times: u32,
    },
    /// Answer that nobody understands it.
    Answer,
}

/// Decides on a job of a newer minor version that was put aside `times` before. The pauses double, and
/// are counted instead of measured: clocks of different hosts have no part in it.
pub fn hand_on(times: u32) -> HandOn {
    let pause = |times: u32| {
        let (first, longest) = UPGRADE_PAUSES;
        let doubled = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
        first.saturating_mul(doubled).min(longest)
    };
    // Beyond that many even the shortest pauses add up to a day.
    let most = UPGRADE_WAIT.as_secs() / UPGRADE_PAUSES.0.as_secs();
    if u64::from(times) >= most || (0..times).map(pause).sum::<Duration>() >= UPGRADE_WAIT {
        return HandOn::Answer;
    }
    HandOn::Wait {
        pause: pause(times),
        times: times.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            faults: 2,
            suspect_deliveries: 2,
            suspect_tries: 3,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_fault_is_tried_again_twice_and_then_answered() {
        let mut faults = 0;
        let mut tries = 0;
        while let RetryDecision::Retry { faults: next, .. } = decide(
            &History {
                faults,
                ..History::default()
            },
            &policy(),
            0.5,
        ) {
            assert_eq!(next, faults + 1);
            faults = next;
            tries += 1;
        }
        assert_eq!(tries, 2);
    }

    #[test]
    fn a_job_that_keeps_killing_its_worker_runs_apart_and_is_then_given_up() {
        let shared = |delivery_count| {
            admit(
                &History {
                    delivery_count,
                    ..History::default()
                },
                &policy(),
            )
        };
        assert_eq!(shared(0), Admission::Run);
        assert_eq!(shared(1), Admission::Run);
        assert_eq!(shared(2), Admission::Suspect);
        let apart = |delivery_count| {
            admit(
                &History {
                    delivery_count,
                    suspect: true,
                    ..History::default()
                },
                &policy(),
            )
        };
        assert_eq!(apart(0), Admission::Run);
        assert_eq!(apart(2), Admission::Run);
        assert_eq!(apart(3), Admission::GiveUp);
    }

    #[test]
    fn a_newer_job_waits_for_a_day_in_pauses_of_ten_minutes_at_most_and_is_then_answered() {
        let (mut waited, mut before) = (Duration::ZERO, 0);
        let mut pauses = Vec::new();
        while let HandOn::Wait { pause, times } = hand_on(before) {
            assert_eq!(times, before + 1);
            before = times;
            waited += pause;
            pauses.push(pause.as_secs());
        }
        let day = Duration::from_secs(24 * 3600);
        assert!((day..day + Duration::from_secs(601)).contains(&waited));
        assert_eq!(pauses.get(..4), Some(&[5, 10, 20, 40][..]));
        assert_eq!(pauses.iter().max(), Some(&600));
        assert!(pauses.len() < 200, "{}", pauses.len());
        // Whatever a header says, it comes to an end.
        assert_eq!(hand_on(u32::MAX), HandOn::Answer);
    }

    #[test]
    fn a_job_that_workers_only_gave_back_is_neither_suspected_nor_given_up() {
        for suspect in [false, true] {
            let mut history = History {
                suspect,
                ..History::default()
            };
            for _ in 0..100 {
                assert_eq!(admit(&history, &policy()), Admission::Run, "{history:?}");
                match give_back(&history, &policy()) {
                    GiveBack::InPlace => history.delivery_count += 1,
                    // The count that it brings along stays what it is.
                    GiveBack::Anew => {}
                }
            }
        }
    }

    #[test]
    fn a_job_that_each_worker_gives_back_uncounted_comes_to_an_end() {
        let acquired = |acquired| History {
            acquired,
            ..History::default()
        };
        let policy = policy();
        let end = (0..1000).find(|times| admit(&acquired(*times), &policy) != Admission::Run);
        assert_eq!(end, Some(MOST_ACQUIRED));
        assert_eq!(admit(&acquired(u64::MAX), &policy), Admission::Refuse);
        // A worker that only stops sends it anew long before, and then nothing is counted.
        let anew = (0..1000).find(|times| give_back(&acquired(*times), &policy) == GiveBack::Anew);
        assert_eq!(anew, Some(MOST_ACQUIRED / 2));
    }

    #[test]
    fn attempts_are_numbered_over_all_queues() {
        let first = History::default();
        assert_eq!(first.attempt(&policy()), 1);
        let apart = History {
            delivery_count: 1,
            suspect: true,
            faults: 1,
            acquired: 7,
        };
        assert_eq!(apart.attempt(&policy()), 5);
    }

    /// How one delivery of a job ends.
    #[derive(Debug, Clone, Copy)]
    enum Ending {
        WorkerDies,
        WorkerStops,
        Fault,
        /// Its result finds no way out: it goes back to its queue.
        NoWayOut,
    }

    fn ending() -> impl Strategy<Value = Ending> {
        prop_oneof![
            Just(Ending::WorkerDies),
            Just(Ending::WorkerStops),
            Just(Ending::Fault),
            Just(Ending::NoWayOut),
        ]
    }

    /// Whether a return counts as a failed delivery: until 4.2 each does, from 4.3 on only a death.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Counts {
        Each,
        Deaths,
    }

    /// A message that is published anew is new to its queue.
    fn anew(history: &History) -> History {
        History {
            acquired: 0,
            ..*history
        }
    }

    fn back(history: &History, counts: Counts, ending: Ending) -> History {
        let failed = counts == Counts::Each || matches!(ending, Ending::WorkerDies);
        History {
            delivery_count: history.delivery_count + u64::from(failed),
            acquired: history.acquired + u64::from(counts == Counts::Deaths),
            ..*history
        }
    }

    fn after(history: &History, ending: Ending, counts: Counts) -> Option<History> {
        match ending {
            Ending::WorkerDies | Ending::NoWayOut => Some(back(history, counts, ending)),
            Ending::WorkerStops => Some(match give_back(history, &policy()) {
                GiveBack::InPlace => back(history, counts, ending),
                GiveBack::Anew => anew(history),
            }),
            Ending::Fault => match decide(history, &policy(), 0.5) {
                // By its lane's retry queue, also out of the suspects'.
                RetryDecision::Retry { faults, .. } => Some(History {
                    faults,
                    ..History::default()
                }),
                RetryDecision::Answer => None,
            },
        }
    }

    proptest! {
        #[test]
        fn a_job_ends_after_a_few_deaths_whatever_else_happens_and_never_by_workers_that_stop(
            endings in proptest::collection::vec(ending(), 0..200),
            counts in prop_oneof![Just(Counts::Each), Just(Counts::Deaths)],
        ) {
            let policy = policy();
            let (mut history, mut deaths, mut others) = (History::default(), 0_u64, 0_u64);
            for ending in endings {
                match admit(&history, &policy) {
                    Admission::Run => {}
                    Admission::Suspect => {
                        prop_assert!(deaths + others > 0, "suspected of nothing");
                        history = History { suspect: true, faults: history.faults, ..History::default() };
                    }
                    Admission::GiveUp | Admission::Refuse => {
                        prop_assert!(deaths + others > 0, "given up for nothing");
                        break;
                    }
                }
                match ending {
                    Ending::WorkerDies => deaths += 1,
                    Ending::NoWayOut => others += 1,
                    Ending::WorkerStops | Ending::Fault => {}
                }
                let Some(next) = after(&history, ending, counts) else { break };
                history = next;
                // Each of the faults of ours gives it its tries anew, in the lane where it is then.
                let tries = policy.suspect_deliveries + policy.suspect_tries;
                let most = tries * (u64::from(policy.faults) + 1);
                prop_assert!(deaths <= most, "{deaths} deaths: {history:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_delay_is_never_longer_than_the_longest(
            faults in any::<u32>(), allowed in any::<u32>(), jitter in any::<f64>(),
        ) {
            let policy = RetryPolicy { faults: allowed, ..policy() };
            let history = History { faults, ..History::default() };
            if let RetryDecision::Retry { delay, .. } = decide(&history, &policy, jitter) {
                prop_assert!(delay <= policy.delay_max);
                prop_assert!(delay >= policy.delay_min / 2);
            }
        }
    }
}
