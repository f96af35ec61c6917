//! What the host and the first process of its guest say to each other.
//!
//! The host writes a [`Plan`] into a folder that both see and boots the guest. The guest does one
//! errand after the other, leaves what each wrote in that folder, and says on its second serial port
//! how far it is: an [`Event`] a line.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The 9p tag of the folder that host and guest both write.
pub const DESK_TAG: &str = "desk";
/// Where the guest mounts that folder.
pub const DESK: &str = "/desk";
/// The plan's file in it.
pub const PLAN: &str = "plan.json";
/// The uid and gid of [`User::Plain`].
pub const PLAIN_ID: u32 = 1000;

/// Everything that one guest is booted for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Folders of the host.
    pub shares: Vec<Share>,
    /// What is done, one after the other.
    pub errands: Vec<Errand>,
}

/// A folder of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its 9p tag.
    pub tag: String,
    /// Where the guest mounts it.
    pub path: PathBuf,
    /// What the guest may do with it.
    pub access: Access,
}

/// What may be done with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read and execute.
    Read,
    /// Write as well.
    Write,
}

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Variables beside the few that every errand has.
    pub env: Vec<(String, String)>,
    /// Who runs it.
    pub user: User,
    /// How long it may take by the guest's clock, in milliseconds.
    pub limit_ms: u64,
}

/// Who runs an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum User {
    /// The superuser, with every capability.
    Root,
    /// A user with none, whose control group is delegated to it.
    Plain,
}

/// How far the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Everything is mounted.
    Ready,
    /// An errand starts.
    Began {
        /// Its place in the plan.
        errand: usize,
    },
    /// An errand is over.
    Ended {
        /// Its place in the plan.
        errand: usize,
        /// How its program ended.
        end: End,
        /// Whether processes were there a while after its end, which the guest has killed.
        left: Left,
    },
    /// The guest gives up.
    Trouble {
        /// Why.
        words: String,
    },
}

/// How the program of an errand ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was killed at its limit.
    TimedOut,
    /// It could not be started.
    NotStarted(String),
}

/// What an errand left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// No process.
    Nothing,
    /// At least one process, killed by now.
    Processes,
}

/// The names, in the shared folder, of what an errand writes on its standard output and error.
#[must_use]
pub fn output_names(errand: usize) -> [String; 2] {
    [format!("{errand}.out"), format!("{errand}.err")]
}

#[cfg(test)]
mod tests {
    use super::{End, Event, Left};

    #[test]
    fn an_event_is_one_line_and_comes_back_as_it_was() {
        let event = Event::Ended {
            errand: 7,
            end: End::NotStarted("no such\nfile".to_owned()),
            left: Left::Processes,
        };
        let line = serde_json::to_string(&event).expect("it is plain");
        assert!(!line.contains('\n'), "{line}");
        let back: Event = serde_json::from_str(&line).expect("we wrote it");
        assert_eq!(back, event);
    }
}
