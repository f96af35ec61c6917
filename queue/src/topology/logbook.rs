//! The stream that gateways share: what they accepted, and what workers answered.

use super::{Argument, ExchangeType, Names, Topology, text};

const MIB: i64 = 1 << 20;

/// How many days a logbook goes back. Reply queues keep results as long.
pub const LOGBOOK_DAYS: u32 = 7;

impl Names {
    /// A logbook: the stream, and the exchange through which gateways write their notes. It is a
    /// reply queue by its name, so that a producer's rights are enough and workers may answer to it.
    #[must_use]
    pub fn logbook(&self, name: &str) -> String {
        self.reply(name)
    }
}

impl Topology {
    /// Adds the logbook, which also gets the results that are for a reply queue of its name.
    #[must_use]
    pub fn with_logbook(mut self, names: &Names, name: &str) -> Self {
        let logbook = names.logbook(name);
        self.exchange(&logbook, ExchangeType::Fanout, None);
        // A stream throws whole segments away: with these the bound is kept to a thirtieth.
        self.queue(
            &logbook,
            vec![
                ("x-queue-type", text("stream")),
                ("x-max-age", text(&format!("{LOGBOOK_DAYS}D"))),
                ("x-max-length-bytes", Argument::Number(1024 * MIB)),
                (
                    "x-stream-max-segment-size-bytes",
                    Argument::Number(32 * MIB),
                ),
            ],
        );
        self.bind(&logbook, &names.results(), &logbook);
        self.bind(&logbook, &logbook, "");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Party, Rights};
    use jailfleet::reply;
    use jailfleet::settings::ReplyMode;

    #[test]
    fn a_logbook_is_bounded_and_is_a_reply_queue_to_workers_and_to_the_brokers_rights() {
        let names = Names::new("jailfleet");
        let table = Topology::default().with_logbook(&names, "api");
        let [queue] = table.queues.as_slice() else {
            panic!("one queue: {table:?}");
        };
        for bound in ["x-max-age", "x-max-length-bytes"] {
            assert!(queue.arguments.iter().any(|(key, _)| *key == bound));
        }
        reply::vet(&queue.name, "jailfleet").expect("workers may answer to it");
        let rights = Rights::of(Party::Producer, &names, &[], ReplyMode::Exchange);
        assert!(rights.configure.contains("reply"), "{rights:?}");
        let (exchange, prefix) = (&table.exchanges[0].name, names.reply(""));
        assert!(exchange.starts_with(&prefix), "{exchange}");
    }
}
