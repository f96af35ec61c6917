//! A job: what a producer asks for. A `Job` that exists is valid.

use crate::blob::Blob;
use crate::limits::LimitsRequest;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
word! {
    /// A job's id: 1..128 of `[A-Za-z0-9._:-]`.
    JobId
}
word! {
    /// A lower-case name of a runtime, pool, profile: 1..64 of `[a-z0-9_-]`, a letter first.
    Name
}

/// Which of a pool's two queues a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody waits: exam nights, regrades.
    Bulk,
}

/// One file or folder that a job brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// Relative path without `.`, `..`, empty parts or NUL; unique within the job.
    pub path: RelativePath,
    /// What it is.
    pub kind: JobFileKind,
}
word! {
    /// A path that cannot leave the folder that it is relative to.
    RelativePath
}

/// What a job's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobFileKind {
    /// A folder.
    Directory,
    /// A file, with its mode's execute bits.
    File {
        /// Its bytes.
        content: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
}

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochMs(pub u64);

/// A valid job of wire version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The job's id.
    pub id: JobId,
    /// The runtime's name; whether it exists is the worker's to say.
    pub runtime: Name,
    /// The main file's content.
    pub code: Option<Blob>,
    /// Files that it brings.
    pub files: Vec<JobFile>,
    /// Arguments after the main file.
    pub argv: Vec<String>,
    /// Environment on top of the clean one.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Option<Blob>,
    /// A JSON object as text: exec-with-globals run.
    pub globals: Option<String>,
    /// Entries of `sys.path` among `files`.
    pub python_path: Vec<RelativePath>,
    /// Limits that it asks for.
    pub limits: LimitsRequest,
    /// The named profile that it asks for.
    pub limit_profile: Option<Name>,
    /// A name for people.
    pub slug: Option<String>,
    /// The pool.
    pub pool: Name,
    /// The lane.
    pub lane: Lane,
    /// The batch that it belongs to.
    pub batch: Option<String>,
    /// Not started after this moment.
    pub deadline: Option<EpochMs>,
    /// Grading instructions, carried and not yet understood: a job with them is refused.
    pub grade: Option<String>,
}
