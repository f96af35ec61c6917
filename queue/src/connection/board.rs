//! What a role tells the world about its connection: up, down or blocked, and why.

use lapin::Event;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{CONFIRM, Role, SLOW, SessionError, blocked, slow};
use crate::counters::DoorCounters;
use crate::doors::{DoorState, Link};

/// The pause of a role that no job needs, when the broker's user lacks a right for it.
const RIGHTS_PAUSE: Duration = Duration::from_secs(300);
/// What a broker is said to do that is connected and confirms nothing.
const SILENT: &str = "the broker has confirmed nothing for a second: it is busy, its alarm is on, or \
                      most of a queue's nodes are down";

/// What a role tells the world about its connection.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) role: Role,
    pub(crate) state: watch::Sender<DoorState>,
    pub(crate) counters: Arc<DoorCounters>,
}

impl Board {
    pub(crate) fn link(&self, link: Link) {
        self.state
            .send_if_modified(|state| std::mem::replace(self.place(state), link) != link);
    }

    fn place<'a>(&self, state: &'a mut DoorState) -> &'a mut Link {
        match self.role {
            Role::Consume => &mut state.consume,
            Role::Publish => &mut state.publish,
            Role::Reap => &mut state.reap,
            Role::Control => &mut state.control,
        }
    }

    pub(crate) fn up(&self) {
        match self.role {
            Role::Consume => self.counters.consume_sessions.add_one(),
            Role::Publish => self.counters.publish_sessions.add_one(),
            Role::Reap => self.counters.reap_sessions.add_one(),
            Role::Control => self.counters.control_sessions.add_one(),
        }
        self.link(Link::Up);
    }

    /// Notes that a session did not come up or did not last, and returns the pause before the next
    /// one, which is `pause` or longer.
    #[must_use]
    pub(crate) fn down(&self, error: &SessionError, pause: Duration) -> Duration {
        self.counters.session_failures.add_one();
        let role = self.role.as_str();
        let pause = match self.role {
            // Jobs go on without these two: nobody need ask often whether the right has come.
            Role::Reap | Role::Control if error.lacks_right() => pause + RIGHTS_PAUSE,
            Role::Reap | Role::Control | Role::Consume | Role::Publish => pause,
        };
        let pause_ms = pause.as_millis();
        // Before it is said: whoever acts on the words finds the state that they tell of.
        self.trouble(error.explained());
        self.alarm(false);
        self.link(Link::Down);
        if error.lacks_right() {
            self.counters.rights_missing.add_one();
            tracing::error!(role, %error, pause_ms, "no session with the broker: its user lacks a right");
        } else {
            let error = error.explained();
            tracing::warn!(
                role,
                error,
                pause_ms,
                "no session with the broker; it is tried again"
            );
        }
        pause
    }

    fn alarm(&self, alarm: bool) {
        if self.role == Role::Publish {
            self.state
                .send_if_modified(|state| std::mem::replace(&mut state.alarm, alarm) != alarm);
        }
    }

    /// Before the link: whoever waits for that finds the right words.
    fn trouble(&self, trouble: String) {
        self.state
            .send_modify(|state| state.trouble = Some(trouble));
    }

    /// Waits for confirms. While they take long the connection counts as blocked: nothing gets through.
    /// What the broker itself says of that stands, and so do its words.
    pub(crate) async fn confirmed<T, E>(
        &self,
        confirms: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut confirms = pin!(confirms);
        if let Ok(confirmed) = timeout(SLOW, confirms.as_mut()).await {
            return confirmed;
        }
        let silent = self.unless_alarmed(|state| {
            state.trouble = Some(SILENT.to_owned());
            *self.place(state) = Link::Blocked;
        });
        // After the state: whoever acts on the words finds it so.
        if silent {
            slow(CONFIRM);
        }
        let confirmed = confirms.await;
        if confirmed.is_ok() {
            // What was confirmed was sent before an alarm that is on by now.
            self.unless_alarmed(|state| *self.place(state) = Link::Up);
        }
        confirmed
    }

    /// A queue refuses messages since no node leads it: as good as a broker that blocks.
    pub(crate) fn leaderless(&self, queue: &str) {
        self.unless_alarmed(|state| {
            state.trouble = Some(format!("{queue} has no leader: most of its nodes are down"));
            *self.place(state) = Link::Blocked;
        });
        tracing::warn!(
            queue,
            "the queue refuses what is sent and has nothing in it: most of its nodes are down"
        );
        slow(CONFIRM);
    }

    /// What was refused for want of a leader has gone out.
    pub(crate) fn led_again(&self) {
        self.unless_alarmed(|state| *self.place(state) = Link::Up);
        tracing::info!(role = self.role.as_str(), "the broker takes messages again");
    }

    /// Changes the state, unless the broker itself said that it takes nothing. Whether it did not.
    fn unless_alarmed(&self, change: impl FnOnce(&mut DoorState)) -> bool {
        self.state.send_if_modified(|state| {
            if !state.alarm {
                change(state);
            }
            !state.alarm
        })
    }

    /// Takes one event in. An error or the end of the events ends the session.
    pub(crate) fn event(&self, event: Option<Event>) -> Result<(), SessionError> {
        match event {
            None => Err(SessionError::Gone),
            // A soft error closed one channel, and whoever uses that channel hears of it there. A
            // look for a queue that is missing is one of them, and no reason to end anything.
            Some(Event::Error(error)) if error.is_amqp_soft_error() => Ok(()),
            Some(Event::Error(error)) => Err(SessionError::Lost(error)),
            Some(Event::ConnectionBlocked(reason)) => {
                self.counters.blocked.add_one();
                let reason = blocked(&reason);
                self.trouble(reason.clone());
                self.alarm(true);
                self.link(Link::Blocked);
                tracing::warn!(
                    role = self.role.as_str(),
                    reason,
                    "the broker takes nothing now; what is to be published waits"
                );
                Ok(())
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!(role = self.role.as_str(), "the broker takes messages again");
                self.alarm(false);
                self.link(Link::Up);
                Ok(())
            }
            // Neither these nor the events of a newer lapin need anything of us.
            Some(Event::Connected | Event::SendFlow(_)) => Ok(()),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
