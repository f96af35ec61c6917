//! The producer of jailfleet: submit jobs, collect results.
//!
//! [`client::Client`] is the library; the subcommands are programs on top of it.

#![forbid(unsafe_code)]

pub mod cli;
pub mod configure;
pub mod client;
pub mod artifacts;
pub mod submit;
pub mod bulk;
pub mod cancel;
pub mod serve;
pub mod api;
pub mod dead;
pub mod lost;
mod kept;
pub mod import;
pub mod compare;
pub mod input;
pub mod journal;
pub mod results;
pub mod dedupe;
pub mod summary;
pub mod progress;
mod stop;
pub mod correlation;

pub use jailfleet_program::{Clock, Moment};
