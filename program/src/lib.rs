//! What worker and producer have as programs, beside their work: a clock, a log, settings by flag, a
//! standard output, the pages of an admin port.
//!
//! Neither the words nor the doors may have these: the words read no clock, and a library does not
//! decide where its lines go.

#![forbid(unsafe_code)]

pub mod clock;
pub mod flag;
pub mod logging;
pub mod output;
pub mod probes;

pub use clock::{Clock, Moment};
