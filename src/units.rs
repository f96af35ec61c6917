//! Numbers that carry their unit, so that no limit can be confused with another one.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::time::Duration;

/// A span of time in whole milliseconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(NonZeroU64);

/// A number of bytes, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(NonZeroU64);

/// A number of things (processes, files, descriptors), at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(NonZeroU64);

/// How large one file may grow, in bytes. Zero has a meaning here: no file may grow at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileBytes(u64);

macro_rules! at_least_one {
    ($name:ident) => {
        impl $name {
            /// The largest that can be said.
            pub const MAX: Self = Self(NonZeroU64::MAX);

            /// Wraps `value`; `None` for zero, which never means "unlimited" here.
            #[must_use]
            pub const fn new(value: u64) -> Option<Self> {
                match NonZeroU64::new(value) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0.get()
            }
        }
    };
}
at_least_one!(Millis);
at_least_one!(ByteCount);
at_least_one!(Count);

impl Millis {
    /// The same span as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.get())
    }
}

impl FileBytes {
    /// Wraps `value`, zero included.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A measured span of time in whole microseconds. On the wire: milliseconds with up to 3 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Elapsed(u64);

impl Elapsed {
    /// A span of that many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The span in microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl From<Duration> for Elapsed {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }
}

/// How many characters of a stranger's text a message repeats.
const QUOTED_CHARS: usize = 64;

/// A stranger's text as a message may repeat it: quoted, escaped, and at most 64 characters of it.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", clipped(text))
}

/// The same without the quotes.
#[must_use]
pub fn clipped(text: &str) -> String {
    let mut shown = String::new();
    let mut room = QUOTED_CHARS;
    for character in text.chars() {
        let escaped = character.escape_debug();
        // An escape is never cut in two.
        let Some(left) = room.checked_sub(escaped.len()) else {
            shown.push('…');
            break;
        };
        room = left;
        shown.extend(escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m\"\n"), r#""a\u{1b}[31m\"\n""#);
        assert_eq!(clipped(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(clipped(&"\u{202e}".repeat(1000)).chars().count(), 65);
    }
}
