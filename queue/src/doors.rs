//! Both doors look like this from inside.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cancels::CancelIntake;
use crate::counters::DoorCounters;
use crate::dead::DeadIntake;
use crate::intake::Intake;
use crate::outbox::Outbox;

/// What a worker needs of a queue.
#[derive(Debug)]
pub struct Doors {
    /// Where jobs come in.
    pub intake: Intake,
    /// Where results go out.
    pub outbox: Outbox,
    /// Where dead letters come in, at a door that reaps.
    pub dead: Option<DeadIntake>,
    /// Where cancels come in, at a door that hears them.
    pub cancels: Option<CancelIntake>,
    /// How the connections are.
    pub state: watch::Receiver<DoorState>,
    /// What the doors count.
    pub counters: Arc<DoorCounters>,
    /// What runs behind the doors; close it last.
    pub sessions: Sessions,
}

/// How one connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// Not up: the first attempt or a later one is under way.
    #[default]
    Down,
    /// Up.
    Up,
    /// Up, but nothing that is published gets through for now: the broker says so (memory or disk alarm),
    /// or has confirmed nothing for a second.
    Blocked,
    /// Closed for good, by us.
    Closed,
}

impl Link {
    /// Its name in logs and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }
}

/// How the connections are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoorState {
    /// The one that takes jobs.
    pub consume: Link,
    /// The one that publishes results.
    pub publish: Link,
    /// The one that takes dead letters; no job needs it.
    pub reap: Link,
    /// The one that hears cancels; no job waits for it but the first ones.
    pub control: Link,
    /// Whether the broker itself said that it takes nothing to be published now.
    pub alarm: bool,
    /// What went wrong last, for people.
    pub trouble: Option<String>,
}

impl DoorState {
    /// Whether jobs come in and results go out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.consume == Link::Up && self.publish == Link::Up
    }
}

/// The tasks behind the doors, and the runtime of their own where they have one.
#[derive(Debug)]
pub struct Sessions {
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    pub(crate) nudge: Nudge,
    pub(crate) runtime: Option<tokio::runtime::Runtime>,
}

/// Ends the pauses of all sessions that are not up.
#[derive(Debug, Clone)]
pub struct Nudge(watch::Sender<u64>);

impl Default for Nudge {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Nudge {
    /// Whatever waits connects now.
    pub fn now(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A pause of one session, ended early by whoever nudges.
    pub(crate) async fn pause(&self, pause: Duration) {
        let mut nudged = self.0.subscribe();
        // The sender is ours: there is always somebody who may nudge.
        if tokio::time::timeout(pause, nudged.changed()).await.is_ok() {
            tracing::debug!("a pause was ended early");
        }
    }
}

impl Sessions {
    /// What runs behind a door inside one process: nothing connects, and no runtime is ours.
    pub(crate) fn without_broker(tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self {
            tasks,
            closing,
            nudge: Nudge::default(),
            runtime: None,
        }
    }

    /// What ends the pauses between sessions.
    #[must_use]
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    /// Publishes what waits in the outbox, closes the connections, and returns whether all of it
    /// was done before `within` had passed. Deliveries not settled by then go back to the queue.
    pub async fn close(mut self, within: Duration) -> bool {
        let clean = self.end_tasks(within).await;
        self.end_runtime();
        clean
    }

    pub(crate) async fn end_tasks(&mut self, within: Duration) -> bool {
        self.closing.cancel();
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait())
            .await
            .is_ok()
    }

    fn end_runtime(&mut self) {
        // A runtime must not be dropped on an async thread; in the background its tasks just end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.closing.cancel();
        self.end_runtime();
    }
}
