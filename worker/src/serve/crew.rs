//! The tasks beside the worker's loop: each has a name, and none ends unheard.

use std::pin::pin;

use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::labelled::Labelled;
use crate::slots::Slots;
use crate::supervisor::Event;

/// A task beside the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Reads the warden's reports.
    Reports,
    /// Lets canaries fly.
    Canaries,
    /// Takes dead letters.
    Reaper,
    /// Hears what is wanted no more.
    Cancels,
    /// Sees how a tenant's connections are.
    Doors,
    /// Answers at the admin port.
    Admin,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reports => "reports",
            Self::Canaries => "canaries",
            Self::Reaper => "reaper",
            Self::Cancels => "cancels",
            Self::Doors => "doors",
            Self::Admin => "admin",
        }
    }
}

/// The tasks beside the loop of one worker.
#[derive(Debug, Default)]
pub(super) struct Crew {
    parts: Labelled<Part, ()>,
}

impl Crew {
    pub(super) fn spawn(&mut self, part: Part, task: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(part, task);
    }

    /// Does `work`, and tells `tell` meanwhile of each part without which the worker must not go on.
    pub(super) async fn beside<T>(
        &mut self,
        work: impl Future<Output = T>,
        slots: &Slots,
        tell: &mpsc::Sender<Event>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            let (part, broke_off) = tokio::select! {
                done = &mut work => return done,
                Some(ended) = self.next() => ended,
            };
            let Some(event) = follows(part, broke_off) else {
                continue;
            };
            if event == Event::WardenGone {
                // Nobody hears the warden any more: whoever waits for a run must not wait for ever.
                slots.abandon();
            }
            // Few events ever wait there, and whoever takes them cannot while we are here.
            if let Err(error) = tell.try_send(event) {
                tracing::error!(%error, part = part.as_str(), "the loop could not be told");
            }
        }
    }

    /// Waits until this part has ended.
    pub(super) async fn end_of(&mut self, part: Part) {
        while self.parts.labels().any(|other| *other == part) {
            if self.next().await.is_none() {
                return;
            }
        }
    }

    /// Ends them all.
    pub(super) async fn dismiss(&mut self) {
        self.parts.abort_all();
        while self.next().await.is_some() {}
    }

    /// The next part that ended, and whether by a mistake of ours.
    async fn next(&mut self) -> Option<(Part, BrokeOff)> {
        let (part, ended) = self.parts.next().await?;
        Some((part, broke_off(part, ended)))
    }
}

fn broke_off(part: Part, ended: Result<(), JoinError>) -> BrokeOff {
    match ended {
        Err(error) if !error.is_cancelled() => {
            tracing::error!(part = part.as_str(), %error, "a part of the worker broke off");
            BrokeOff::Yes
        }
        Ok(()) | Err(_) => BrokeOff::No,
    }
}

/// Whether a task ended by a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrokeOff {
    Yes,
    No,
}

/// What the loop must know of a part that ended while it works.
const fn follows(part: Part, broke_off: BrokeOff) -> Option<Event> {
    match (part, broke_off) {
        // It has told the loop itself, when the warden's socket closed.
        (Part::Reports, BrokeOff::No) => None,
        (Part::Reports, BrokeOff::Yes) => Some(Event::WardenGone),
        // However it ended: from here on nobody proves the walls. After a breach this says nothing new.
        (Part::Canaries, BrokeOff::Yes | BrokeOff::No) => Some(Event::CanariesEnded),
        // Another worker's reaper does the same work; a letter that ends each of them in turn must not
        // end every worker.
        (Part::Reaper, BrokeOff::Yes | BrokeOff::No) => None,
        // Jobs that nobody wants any more are run all the same, as if their cancel had come late.
        (Part::Cancels, BrokeOff::Yes | BrokeOff::No) => None,
        // They are closed, or it can go on with what it knows of them.
        (Part::Doors, BrokeOff::Yes | BrokeOff::No) => None,
        // Whoever probes the port finds out.
        (Part::Admin, BrokeOff::Yes | BrokeOff::No) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_jobs_depend_on_end_the_work() {
        let told = |part| (follows(part, BrokeOff::Yes), follows(part, BrokeOff::No));
        let ended = Some(Event::CanariesEnded);
        assert_eq!(told(Part::Canaries), (ended, ended));
        assert_eq!(told(Part::Reports), (Some(Event::WardenGone), None));
        assert_eq!(told(Part::Reaper), (None, None));
        assert_eq!(told(Part::Cancels), (None, None));
        assert_eq!(told(Part::Doors), (None, None));
        assert_eq!(told(Part::Admin), (None, None));
    }

    #[tokio::test]
    async fn a_part_that_panics_is_heard_by_its_name_and_one_that_is_dismissed_is_not_blamed() {
        let mut crew = Crew::default();
        crew.spawn(Part::Admin, std::future::pending());
        crew.spawn(Part::Canaries, async { panic!("a mistake of ours") });
        assert_eq!(crew.next().await, Some((Part::Canaries, BrokeOff::Yes)));
        crew.dismiss().await;
        assert_eq!(crew.parts.labels().count(), 0);
    }
}
