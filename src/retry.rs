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

/// What is known of the tries before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Faults of ours so far, by our own header.
    pub faults: u32,
    /// How often the broker has delivered the message before (0: never).
    pub delivery_count: u64,
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

/// Decides on a job that just came, before it is run.
pub fn admit(history: &History, policy: &RetryPolicy) -> Admission {
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
/// that the decision stays pure.
pub fn decide(history: &History, policy: &RetryPolicy, jitter: f64) -> RetryDecision {
    let _ = jitter;
    if history.faults >= policy.faults {
        return RetryDecision::Answer;
    }
    RetryDecision::Retry {
        delay: policy.delay_min,
        faults: history.faults.saturating_add(1),
    }
}
