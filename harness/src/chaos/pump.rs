//! One direction of one connection: frames in, mischief, frames out.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::frame::Frame;
use super::line::{Condition, Ends, Line, end};
use super::rule::{Mischief, Passing, Release, Way};
use super::{Shared, Speech, State};

/// How often a slow direction carries something.
const BEAT: Duration = Duration::from_millis(50);
const BEATS_A_SECOND: u32 = 20;
/// Longer than any test holds a frame.
const HELD: Duration = Duration::from_secs(600);

/// Carries frames until one side ends or somebody cuts the connection.
pub(super) fn pump(shared: &Shared, id: u64, ends: Arc<Ends>, way: Way) {
    let mut pump = Pump {
        shared,
        id,
        way,
        ends,
        pace: None,
    };
    while let Flow::On = pump.next() {}
    let Pump { ends, .. } = pump;
    // Before the line goes: whoever drops the last hold on a cut connection resets it.
    drop(ends);
    let mut state = shared.state();
    if let Some(line) = state.lines.get_mut(&id) {
        line.broker_ended |= way == Way::ToClient;
        line.pumps -= 1;
        if line.pumps == 0 {
            state.lines.remove(&id);
        }
    }
    drop(state);
    shared.changed.notify_all();
}

struct Pump<'a> {
    shared: &'a Shared,
    id: u64,
    way: Way,
    ends: Arc<Ends>,
    /// Bytes in each beat, once it is slow.
    pace: Option<usize>,
}

/// Whether there is more to carry.
enum Flow {
    On,
    Ended,
}

impl Pump<'_> {
    fn from(&self) -> &TcpStream {
        match self.way {
            Way::ToBroker => &self.ends.client,
            Way::ToClient => &self.ends.broker,
        }
    }

    fn to(&self) -> &TcpStream {
        match self.way {
            Way::ToBroker => &self.ends.broker,
            Way::ToClient => &self.ends.client,
        }
    }

    fn next(&mut self) -> Flow {
        let read = match self.shared.speech {
            Speech::Amqp => Frame::read(&mut self.from()),
            Speech::Tls => Frame::read_record(&mut self.from()),
        };
        match read {
            Ok(Some(frame)) => self.pass(frame),
            Ok(None) => {
                if self.condition() == Condition::Through {
                    end(self.to(), Shutdown::Write);
                }
                Flow::Ended
            }
            // A side that broke off, or speaks something else: the other one sees it the same way.
            Err(_broken) => self.break_off(),
        }
    }

    fn condition(&self) -> Condition {
        let state = self.shared.state();
        let line = state.lines.get(&self.id);
        line.map_or(Condition::Cut, |line| line.condition)
    }

    /// What befalls this frame, by which rule, and the name of the connection.
    fn meet(&self, frame: &Frame) -> (Option<(usize, Mischief)>, Condition, String) {
        let mut state = self.shared.state();
        let State {
            lines, rules, seen, ..
        } = &mut *state;
        let Some(line) = lines.get_mut(&self.id) else {
            return (None, Condition::Cut, String::new());
        };
        if let Some(name) = frame
            .connection_name()
            .filter(|_| self.way == Way::ToBroker)
        {
            name.clone_into(&mut line.name);
        }
        let key = (line.name.clone(), self.way, frame.kind());
        *seen.entry(key).or_default() += 1;
        let passing = Passing {
            connection: &line.name,
            way: self.way,
            frame,
        };
        let mut met = None;
        for (at, rule) in rules.iter_mut().enumerate() {
            // Each counts the frame, also behind one that strikes.
            let strike = rule.strike(&passing).map(|mischief| (at, mischief));
            met = met.or(strike);
        }
        (met, line.condition, line.name.clone())
    }

    fn mark(&self, at: usize, name: String) {
        if let Some(rule) = self.shared.state().rules.get_mut(at) {
            rule.struck = Some(name);
        }
        self.shared.changed.notify_all();
    }

    fn pass(&mut self, frame: Frame) -> Flow {
        let (met, condition, name) = self.meet(&frame);
        match condition {
            Condition::Through => {}
            // It goes nowhere, as on a network that lost the other side.
            Condition::HalfOpen => return Flow::On,
            Condition::Cut => return Flow::Ended,
        }
        let Some((at, mischief)) = met else {
            return self.send(frame.bytes());
        };
        if mischief == Mischief::Watch {
            let flow = self.send(frame.bytes());
            self.mark(at, name);
            return flow;
        }
        if let Mischief::Tear { after } = mischief {
            let bytes = frame.bytes();
            // An end that comes meanwhile is the same end.
            if let Flow::On = self.send(bytes.get(..after).unwrap_or(bytes)) {
                self.break_off();
            }
            self.mark(at, name);
            return Flow::Ended;
        }
        if mischief == Mischief::Cut {
            let flow = self.break_off();
            self.mark(at, name);
            return flow;
        }
        // Whoever hears that it struck finds it in force.
        if mischief == Mischief::HalfOpen
            && let Some(line) = self.shared.state().lines.get_mut(&self.id)
        {
            line.condition = Condition::HalfOpen;
        }
        self.mark(at, name);
        match mischief {
            Mischief::Watch
            | Mischief::Cut
            | Mischief::Tear { .. }
            | Mischief::Swallow
            | Mischief::HalfOpen => Flow::On,
            Mischief::Hold => match self.hold(at) {
                Some(Release::GoOn) => self.send(frame.bytes()),
                Some(Release::Cut) => self.break_off(),
                None => Flow::Ended,
            },
            Mischief::Stall(time) => match self.nap(time) {
                Flow::On => self.send(frame.bytes()),
                Flow::Ended => Flow::Ended,
            },
            Mischief::Slow { bytes_per_second } => {
                let pace = (bytes_per_second / BEATS_A_SECOND).max(1);
                self.pace = Some(usize::try_from(pace).unwrap_or(usize::MAX));
                self.send(frame.bytes())
            }
            Mischief::Corrupt { at } => {
                let frame = frame.corrupted(at);
                self.send(frame.bytes())
            }
        }
    }

    /// Waits until somebody says what becomes of the frame; `None` when the connection ends first.
    fn hold(&self, at: usize) -> Option<Release> {
        let release = |state: &State| state.rules.get(at).and_then(|rule| rule.release);
        let waits = |state: &State| release(state).is_none() && !state.is_over(self.id);
        self.shared.wait_while(HELD, waits);
        release(&self.shared.state())
    }

    /// Lets time pass.
    fn nap(&self, time: Duration) -> Flow {
        let id = self.id;
        if self.shared.wait_while(time, |state| !state.is_over(id)) {
            Flow::Ended
        } else {
            Flow::On
        }
    }

    fn send(&self, bytes: &[u8]) -> Flow {
        let Some(pace) = self.pace else {
            return self.send_now(bytes);
        };
        for piece in bytes.chunks(pace) {
            if let Flow::Ended = self.send_now(piece) {
                return Flow::Ended;
            }
            if let Flow::Ended = self.nap(BEAT) {
                return Flow::Ended;
            }
        }
        Flow::On
    }

    fn send_now(&self, mut bytes: &[u8]) -> Flow {
        let mut to = self.to();
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if no_room_yet(error.kind()) => {
                    if self.shared.state().is_over(self.id) {
                        return Flow::Ended;
                    }
                }
                Err(_broken) => return self.break_off(),
            }
        }
        Flow::On
    }

    /// Has both sides see a reset, unless neither may notice anything.
    fn break_off(&self) -> Flow {
        let mut state = self.shared.state();
        let line = state.lines.get_mut(&self.id);
        let through = line.filter(|line| line.condition == Condition::Through);
        through.map(Line::cut);
        drop(state);
        self.shared.changed.notify_all();
        Flow::Ended
    }
}

fn no_room_yet(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
