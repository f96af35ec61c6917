//! What the doors count; the worker exports these numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// Counts of the doors since they were opened. They only grow.
        #[derive(Debug, Default)]
        pub struct DoorCounters { $($(#[$doc])* pub $field: Counter,)+ }

        impl DoorCounters {
            /// Every counter with its name, in the order of declaration.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.get()),)+]
            }
        }
    };
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

counters! {
    /// Deliveries handed to the intake.
    deliveries,
    /// Those that the broker had handed out before.
    redeliveries,
    /// Deliveries of a session that ended while they waited: the broker brings them again.
    stale_deliveries,
    /// Dead letters handed to the reaper.
    dead_letters,
    /// Cancels handed to the worker, those of the past again at each session.
    cancel_messages,
    /// Tickets settled by an ack.
    acked,
    /// Tickets settled by a requeue, dropped ones included.
    requeued,
    /// Tickets settled by dead-lettering.
    dead_lettered,
    /// Settlements that came after their session had ended.
    stale_settlements,
    /// Tickets that nobody settled: an error of ours.
    tickets_dropped,
    /// Messages that the broker confirmed at their destination.
    published,
    /// Results without a reply queue, kept in the lost queue.
    results_lost,
    /// Messages that we put on the wire again after a session ended without a confirm.
    republished,
    /// Messages that the broker refused by a negative confirm.
    nacked,
    /// Batches whose confirms did not come in time.
    confirm_timeouts,
    /// Messages given up because the broker closes the channel over each of them.
    refused,
    /// Sessions of the consuming role that came up.
    consume_sessions,
    /// Sessions of the publishing role that came up.
    publish_sessions,
    /// Sessions of the reaper that came up.
    reap_sessions,
    /// Sessions that hear cancels that came up.
    control_sessions,
    /// Connections and sessions that failed.
    session_failures,
    /// Sessions that the broker refused because its user lacks a right.
    rights_missing,
    /// Times that the broker blocked a connection.
    blocked,
}
