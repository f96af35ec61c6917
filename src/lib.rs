//! The words of jailfleet: what a job, its limits, its evidence and its outcome are.
//!
//! Nothing here performs I/O, reads a clock or spawns a task: text goes in, values come out, and
//! whoever has effects to perform asks this crate what they should be.

#![forbid(unsafe_code)]

pub mod units;
pub mod blob;
pub mod job;
pub mod artifact;
pub mod limits;
pub mod wall;
pub mod evidence;
pub mod outcome;
pub mod verdict;
pub mod retry;
pub mod cancel;
pub mod clocks;
pub mod reply;
pub mod result;
pub mod rejection;
pub mod runtime;
pub mod settings;
#[cfg(feature = "wire")]
pub mod wire;
