//! How a run ended: what its init told, and what we know besides.

use jailfleet::evidence::{Acted, End, UnknownCalls};
use std::time::{Duration, Instant};

/// How a run ended, as its init told it.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// How the main process ended.
    pub end: End,
    /// User time.
    pub user: Duration,
    /// System time.
    pub system: Duration,
    /// From exec to the end.
    pub wall: Duration,
    /// Calls that the filter did not know.
    pub unknown_calls: UnknownCalls,
}

impl Observed {
    /// What is known of a run whose init is gone.
    pub const LOST: Self = Self {
        end: End::Lost,
        user: Duration::ZERO,
        system: Duration::ZERO,
        wall: Duration::ZERO,
        unknown_calls: UnknownCalls::NONE,
    };
}

/// How a run ended, by what its init told and what we know besides.
pub(super) const fn seen_end(told: End, acted: Option<Acted>, started: Option<Instant>) -> End {
    match (told, acted, started) {
        // An init that had to be killed with its run cannot say more than we know. At the wall limit that is
        // no end of the program: a run that can be killed is gone long before its init is given up.
        (End::Lost, Some(Acted::Cpu | Acted::Output | Acted::Cancel | Acted::Drain), _) => {
            End::Signaled(libc::SIGKILL)
        }
        (End::Lost, None, None) => End::Unstarted,
        (end, _, _) => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_run_that_was_lost_before_its_start_is_told_apart_from_one_that_ran() {
        let started = Some(clock::now());
        assert_eq!(seen_end(End::Lost, None, None), End::Unstarted);
        assert_eq!(seen_end(End::Lost, None, started), End::Lost);
        let killed = End::Signaled(libc::SIGKILL);
        assert_eq!(seen_end(End::Lost, Some(Acted::Cpu), started), killed);
        let at_the_wall = seen_end(End::Lost, Some(Acted::Wall), started);
        assert_eq!(at_the_wall, End::Lost);
        assert_eq!(seen_end(End::Exited(0), None, started), End::Exited(0));
    }
}
