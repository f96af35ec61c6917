//! Compares the broker with the table, as far as AMQP can see it and the user may, and changes
//! nothing that is there.
//!
//! A passive declaration tells whether an object exists; only an active one of what exists tells
//! whether its arguments are ours, and that needs the right to configure it. Nobody can ask for a
//! binding: where we may bind, binding again makes it true; where we may not, it is the operator's.

use lapin::Connection;
use std::collections::BTreeMap;

use super::declare::{DeclareError, Object, Passive, Scratch, Trouble};
use super::{Drift, Topology};

/// The comparisons of one process: what was told is not told again until it changes.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    told: BTreeMap<String, String>,
}

/// What one comparison of one object tells.
#[derive(Debug)]
enum Finding {
    Same,
    Differs(String),
    Missing(String),
    /// We lack the right to see it.
    Unseen,
}

/// Rights that were refused once in a comparison are not asked for again in it: each refusal costs
/// a channel, and a line in the broker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Untried,
    Refused,
}

impl Verifier {
    /// Compares each object of the table, logs what differs from the time before, and counts.
    pub(crate) async fn verify(
        &mut self,
        connection: &Connection,
        table: &Topology,
    ) -> Result<Drift, DeclareError> {
        let mut scratch = Scratch::new(connection);
        let mut report = Report::default();
        let mut right = Right::Untried;
        for exchange in &table.exchanges {
            let object = Object::Exchange(exchange);
            let found = compare(&mut scratch, object, &mut right).await;
            report.add("exchange", &exchange.name, found)?;
        }
        right = Right::Untried;
        for queue in &table.queues {
            let found = compare(&mut scratch, Object::Queue(queue), &mut right).await;
            report.add("queue", &queue.name, found)?;
        }
        right = Right::Untried;
        for binding in table.bindings.iter().rev() {
            let found = match right {
                Right::Refused => Ok(Finding::Unseen),
                Right::Untried => judge(scratch.bind(binding).await),
            };
            refused(&found, &mut scratch, &mut right);
            let name = format!(
                "{} of {} by {}",
                binding.queue, binding.exchange, binding.key
            );
            report.add("binding", &name, found)?;
        }
        scratch.finish().await;
        self.tell(&report);
        Ok(report.drift)
    }

    /// Logs what is new.
    fn tell(&mut self, report: &Report) {
        for (object, trouble) in &report.troubles {
            if self.told.get(object) != Some(trouble) {
                tracing::warn!(
                    object,
                    trouble,
                    "an object of the topology is not as it should be; it is used as it is"
                );
            }
        }
        for object in self.told.keys() {
            if !report.troubles.contains_key(object) {
                tracing::info!(object, "an object of the topology is as it should be again");
            }
        }
        self.told.clone_from(&report.troubles);
    }
}

/// What one round of comparisons told.
#[derive(Debug, Default)]
struct Report {
    drift: Drift,
    /// By object: what is wrong with it.
    troubles: BTreeMap<String, String>,
}

impl Report {
    fn add(
        &mut self,
        kind: &str,
        name: &str,
        found: Result<Finding, lapin::Error>,
    ) -> Result<(), DeclareError> {
        let trouble = match found.map_err(DeclareError::about(name))? {
            Finding::Same => return Ok(()),
            Finding::Unseen => {
                self.drift.unseen += 1;
                return Ok(());
            }
            Finding::Differs(reason) => {
                self.drift.differs += 1;
                format!("differs: {reason}")
            }
            Finding::Missing(reason) => {
                self.drift.missing += 1;
                format!("missing: {reason}")
            }
        };
        self.troubles.insert(format!("{kind} {name}"), trouble);
        Ok(())
    }
}

async fn compare(
    scratch: &mut Scratch<'_>,
    object: Object<'_>,
    right: &mut Right,
) -> Result<Finding, lapin::Error> {
    let there = judge(scratch.declare(object, Passive::Yes).await);
    if !matches!(there, Ok(Finding::Same)) {
        scratch.renew();
        return there;
    }
    if *right == Right::Refused {
        return Ok(Finding::Unseen);
    }
    let same = judge(scratch.declare(object, Passive::No).await);
    refused(&same, scratch, right);
    same
}

/// Remembers a refused right. Each refusal closed the channel.
fn refused(found: &Result<Finding, lapin::Error>, scratch: &mut Scratch<'_>, right: &mut Right) {
    if !matches!(found, Ok(Finding::Same)) {
        scratch.renew();
    }
    if matches!(found, Ok(Finding::Unseen)) {
        *right = Right::Refused;
    }
}

fn judge(said: Result<(), lapin::Error>) -> Result<Finding, lapin::Error> {
    let Err(error) = said else {
        return Ok(Finding::Same);
    };
    match Trouble::from(error) {
        Trouble::Missing(error) => Ok(Finding::Missing(error.to_string())),
        Trouble::Differs(error) => Ok(Finding::Differs(error.to_string())),
        Trouble::Forbidden(_) => Ok(Finding::Unseen),
        Trouble::Other(error) => Err(error),
    }
}
