//! What is to go wrong, and at which frame. Pure.

use std::fmt;
use std::time::Duration;

use super::frame::{Frame, Kind, Method};

/// The way that a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From a client to the broker.
    ToBroker,
    /// From the broker to a client.
    ToClient,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToBroker => "to the broker",
            Self::ToClient => "to the client",
        })
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// Nothing: the frame passes, and whoever asks hears of it then.
    Watch,
    /// The frame, and all behind it, waits until somebody says what becomes of it.
    Hold,
    /// Both sides see their connection reset; the frame reaches nobody.
    Cut,
    /// The same, within the frame.
    Tear {
        /// How many bytes of it pass.
        after: usize,
    },
    /// From this frame on nothing passes in either direction, and no side is told.
    HalfOpen,
    /// The frame, and all behind it, waits for this long.
    Stall(Duration),
    /// From this frame on its direction carries so many bytes a second.
    Slow {
        /// At least one.
        bytes_per_second: u32,
    },
    /// Every bit of one byte of the frame is turned: of the last one, which marks its end, where the frame
    /// is shorter.
    Corrupt {
        /// Which byte: 0 is the frame's kind, 1 to 2 its channel, 3 to 6 its size, 7 to 10 its method.
        at: usize,
    },
    /// The frame does not pass, and all others do.
    Swallow,
}

type Predicate = Box<dyn Fn(&Frame) -> bool + Send>;

/// A place in the conversations that pass.
pub struct Spot {
    way: Way,
    kind: Kind,
    connection: Option<String>,
    predicate: Option<Predicate>,
    nth: u32,
}

impl Spot {
    /// The next such method from a client.
    #[must_use]
    pub fn to_broker(method: Method) -> Self {
        Self::of(Way::ToBroker, Kind::Method(method))
    }

    /// The next such method from the broker.
    #[must_use]
    pub fn to_client(method: Method) -> Self {
        Self::of(Way::ToClient, Kind::Method(method))
    }

    /// The next such frame that goes this way.
    #[must_use]
    pub fn of(way: Way, kind: Kind) -> Self {
        Self {
            way,
            kind,
            connection: None,
            predicate: None,
            nth: 1,
        }
    }

    /// Only on connections whose name contains `part`.
    #[must_use]
    pub fn on(self, part: &str) -> Self {
        Self {
            connection: Some(part.to_owned()),
            ..self
        }
    }

    /// Only frames of which `predicate` holds.
    #[must_use]
    pub fn that(self, predicate: impl Fn(&Frame) -> bool + Send + 'static) -> Self {
        Self {
            predicate: Some(Box::new(predicate)),
            ..self
        }
    }

    /// Not the next one, which is the first, but the `nth`.
    #[must_use]
    pub fn nth(self, nth: u32) -> Self {
        Self { nth, ..self }
    }

    fn fits(&self, passing: &Passing<'_>) -> bool {
        let Passing {
            connection,
            way,
            frame,
        } = passing;
        self.way == *way
            && self.kind == frame.kind()
            && self
                .connection
                .as_ref()
                .is_none_or(|part| connection.contains(part.as_str()))
            && self
                .predicate
                .as_ref()
                .is_none_or(|predicate| predicate(frame))
    }
}

/// A frame on its way.
pub(super) struct Passing<'a> {
    /// The name of its connection; empty before the client gave one.
    pub(super) connection: &'a str,
    pub(super) way: Way,
    pub(super) frame: &'a Frame,
}

/// What becomes of a frame that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    GoOn,
    Cut,
}

/// A rule, and what came of it.
pub(super) struct Armed {
    spot: Spot,
    mischief: Mischief,
    left: u32,
    /// The name of the connection that it struck on.
    pub(super) struck: Option<String>,
    pub(super) release: Option<Release>,
}

impl Armed {
    pub(super) fn new(spot: Spot, mischief: Mischief) -> Self {
        let left = spot.nth.max(1);
        Self {
            spot,
            mischief,
            left,
            struck: None,
            release: None,
        }
    }

    /// Counts the frame, and says what to do about it if it is the one. Each rule strikes once.
    pub(super) fn strike(&mut self, passing: &Passing<'_>) -> Option<Mischief> {
        if self.left == 0 || !self.spot.fits(passing) {
            return None;
        }
        self.left -= 1;
        (self.left == 0).then_some(self.mischief)
    }
}

#[cfg(test)]
mod tests {
    use super::{Armed, Mischief, Passing, Spot, Way};
    use crate::chaos::frame::tests::publish;
    use crate::chaos::frame::{Frame, Method};

    fn frame(bytes: &[u8]) -> Frame {
        let read = Frame::read(&mut &*bytes);
        read.expect("whole").expect("there")
    }

    #[test]
    fn a_rule_strikes_once_at_the_nth_frame_that_fits() {
        let spot = Spot::to_broker(Method::BASIC_PUBLISH).on("publish");
        let spot = spot
            .that(|frame| frame.routing_key() == Some("here"))
            .nth(2);
        let mut rule = Armed::new(spot, Mischief::Swallow);
        let (here, there) = (frame(&publish("here")), frame(&publish("there")));
        let mut strikes = |connection, way, frame| {
            let passing = Passing {
                connection,
                way,
                frame,
            };
            rule.strike(&passing) == Some(Mischief::Swallow)
        };
        assert!(
            !strikes("jailfleet publish 1", Way::ToBroker, &here),
            "the first"
        );
        assert!(!strikes("jailfleet consume 1", Way::ToBroker, &here));
        assert!(!strikes("jailfleet publish 1", Way::ToClient, &here));
        assert!(!strikes("jailfleet publish 1", Way::ToBroker, &there));
        assert!(
            strikes("jailfleet publish 2", Way::ToBroker, &here),
            "the second"
        );
        assert!(
            !strikes("jailfleet publish 2", Way::ToBroker, &here),
            "once"
        );
    }
}
