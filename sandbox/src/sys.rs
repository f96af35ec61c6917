//! System calls that the crates we use do not wrap: one call a function, owned descriptors in and
//! out, `io::Result` back.

pub mod clone;
pub mod exec;
pub mod message;
pub mod map;
pub mod shared;
pub mod restrict;
pub mod notify;
pub mod caps;
pub mod signals;
pub mod mount;
pub mod ipc;
pub mod landlock;
