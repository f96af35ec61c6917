//! A job: what a producer asks for. A `Job` that exists is valid.

use crate::artifact::ArtifactPath;
use crate::blob::Blob;
use crate::limits::LimitsRequest;
use crate::rejection::{Rejection, RejectionCode};

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

impl JobId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`RejectionCode::BadId`] for another length or other characters.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let complaint = "is no id: use 1 to 128 characters of A-Z a-z 0-9 . _ : -";
        Err(Rejection::about(RejectionCode::BadId, text, complaint))
    }
}

word! {
    /// A lower-case name of a runtime, pool, profile: 1..64 of `[a-z0-9_-]`, a letter first.
    Name
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// [`RejectionCode::BadName`] for another length or other characters.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if starts_well && text.len() <= 64 && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let complaint = "is no name: use 1 to 64 characters of a-z 0-9 _ -, a letter first";
        Err(Rejection::about(RejectionCode::BadName, text, complaint))
    }
}

word! {
    /// The name of a limit profile: 1..255 bytes without control characters. Wider than [`Name`],
    /// because codejail's users name their limits by course runs (`course-v1:edX+DemoX+2026`).
    ProfileName
}

impl ProfileName {
    /// Reads a profile's name.
    ///
    /// # Errors
    /// [`RejectionCode::BadName`] for another length or control characters.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        let complaint = "names no profile: use 1 to 255 bytes without control characters";
        Err(Rejection::about(RejectionCode::BadName, text, complaint))
    }
}

/// How long a slug or batch may be: they appear in logs.
const LABEL_BYTES: usize = 256;

/// Whether `text` can be a slug or a batch.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=LABEL_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Which of a pool's two queues a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody waits: exam nights, regrades.
    Bulk,
}

impl Lane {
    /// Both lanes.
    pub const ALL: &'static [Self] = &[Self::Interactive, Self::Bulk];

    /// The lane as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    /// Reads a lane.
    ///
    /// # Errors
    /// [`RejectionCode::BadLane`] for anything but `interactive` and `bulk`.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let complaint = "is no lane: use interactive or bulk";
        let lane = Self::ALL.iter().copied().find(|lane| lane.as_str() == text);
        lane.ok_or_else(|| Rejection::about(RejectionCode::BadLane, text, complaint))
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
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

/// How long a path may be, and each of its parts: what the kernel takes below a folder of ours.
const PATH_BYTES: usize = 1024;
const PATH_PART_BYTES: usize = 255;

impl RelativePath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`RejectionCode::BadPath`] for a path that is absolute, too long, or has an empty part, `.`,
    /// `..` or a NUL byte.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let refuse =
            |complaint: &str| Err(Rejection::about(RejectionCode::BadPath, text, complaint));
        if text.is_empty() || text.len() > PATH_BYTES {
            return refuse("must have 1 to 1024 bytes");
        }
        if text.starts_with('/') {
            return refuse("is absolute: give a path below the job's folder");
        }
        if text.contains('\0') {
            return refuse("holds a NUL byte: leave it out");
        }
        for part in text.split('/') {
            match part {
                "" => {
                    return refuse("has an empty part: write single slashes, and none at the end");
                }
                "." | ".." => {
                    return refuse("has a part . or ..: give a plain path below the job's folder");
                }
                part if part.len() > PATH_PART_BYTES => {
                    return refuse("has a part of more than 255 bytes: shorten it");
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
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
    /// Files that the run leaves behind and the requester wants.
    pub artifacts: Vec<ArtifactPath>,
    /// Limits that it asks for.
    pub limits: LimitsRequest,
    /// The named profile that it asks for.
    pub limit_profile: Option<ProfileName>,
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
    /// Grading instructions, a JSON object as text. Not yet understood: a job with them is refused
    /// when it is decoded.
    pub grade: Option<String>,
}
