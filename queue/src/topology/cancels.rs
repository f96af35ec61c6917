//! Where cancels go and are kept. A table of its own: only who sends or hears cancels needs it, and
//! a broker that cannot have it still carries jobs.

use super::{Argument, ExchangeType, Names, Topology, text};

const MIB: i64 = 1 << 20;

/// The key on the internal exchange under which a worker writes a mark behind all cancels.
pub(crate) const MARK_KEY: &str = "cancels.mark";

impl Names {
    /// The exchange that cancels are sent to.
    #[must_use]
    pub fn cancel(&self) -> String {
        self.of("cancel")
    }

    /// The queue that keeps them, for workers that come later.
    #[must_use]
    pub fn cancels(&self) -> String {
        self.of("cancels")
    }
}

impl Topology {
    /// What sending and hearing cancels needs.
    pub(crate) fn of_cancels(names: &Names) -> Self {
        let mut table = Self::default();
        table.exchange(&names.cancel(), ExchangeType::Topic, None);
        table.exchange(&names.internal(), ExchangeType::Direct, None);
        // A stream: everybody reads all of it, at the same time, and takes nothing away. It throws
        // whole segments away, so that these are small.
        table.queue(
            &names.cancels(),
            vec![
                ("x-queue-type", text("stream")),
                ("x-max-age", text("7D")),
                ("x-max-length-bytes", Argument::Number(16 * MIB)),
                ("x-stream-max-segment-size-bytes", Argument::Number(MIB)),
            ],
        );
        table.bind(&names.cancels(), &names.cancel(), "#");
        table.bind(&names.cancels(), &names.internal(), MARK_KEY);
        table
    }

    /// The table and that of cancels, as an operator makes both.
    #[must_use]
    pub fn with_cancels(mut self, names: &Names) -> Self {
        let cancels = Self::of_cancels(names);
        for exchange in cancels.exchanges {
            if self.exchanges.iter().all(|there| *there != exchange) {
                self.exchanges.push(exchange);
            }
        }
        self.queues.extend(cancels.queues);
        self.bindings.extend(cancels.bindings);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::cancel::REMEMBERED;

    #[test]
    fn the_broker_keeps_cancels_as_long_as_workers_remember_them_and_within_bounds() {
        let table = Topology::of_cancels(&Names::new("jailfleet"));
        let [queue] = table.queues.as_slice() else {
            panic!("one queue: {table:?}");
        };
        let days = REMEMBERED.as_secs() / (24 * 3600);
        assert!(
            queue
                .arguments
                .contains(&("x-max-age", text(&format!("{days}D"))))
        );
        let bounded = queue
            .arguments
            .iter()
            .any(|(key, _)| *key == "x-max-length-bytes");
        assert!(bounded, "{queue:?}");
    }
}
