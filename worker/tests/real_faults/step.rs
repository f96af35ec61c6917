//! How a job is met at exactly one step: by its frames, by its process, or from inside of its worker.

use jailfleet_harness::chaos::{Method, Mischief, Rule, Spot};

use super::halts::Call;
use super::matrix::Step;

/// What will tell that the step is reached.
pub(crate) enum Armed {
    /// A worker calls.
    Point,
    /// The program is there.
    Process,
    /// A frame comes by and is held.
    Held(Rule),
    /// A frame has passed.
    Passed(Rule),
    /// The same, and then the slot is idle.
    PassedAndIdle(Rule),
}

/// The frames that can tell; `None` for the other steps.
pub(crate) fn frame(step: Step) -> Option<(Spot, Mischief)> {
    let ack = || Spot::to_broker(Method::BASIC_ACK).on("jailfleet consume");
    match step {
        Step::Received | Step::Started | Step::Exited | Step::Judged => None,
        Step::Published => {
            let confirm = Spot::to_client(Method::BASIC_ACK).on("jailfleet publish");
            Some((confirm, Mischief::Hold))
        }
        Step::Confirmed => Some((ack(), Mischief::Hold)),
        Step::Acked | Step::Swept => Some((ack(), Mischief::Watch)),
    }
}

/// A job that stands at its step, in the hands of one worker.
pub(crate) struct Halted {
    pub(crate) worker: i32,
    pub(crate) how: How,
}

/// What holds it there, where anything does.
pub(crate) enum How {
    Called(Call),
    Held(Rule),
    Free,
}

impl Halted {
    /// Whose it is.
    pub(crate) fn pid(&self) -> i32 {
        self.worker
    }

    /// Lets it go on.
    pub(crate) fn goes_on(self) {
        match self.how {
            How::Called(call) => drop(call.stream),
            How::Held(rule) => rule.go_on(),
            How::Free => {}
        }
    }

    /// Its worker is dead: what was under way from it goes nowhere.
    pub(crate) fn ends(self) {
        match self.how {
            How::Called(call) => drop(call.stream),
            How::Held(rule) => rule.cut(),
            How::Free => {}
        }
    }
}
