//! The producer's mistakes: why a job was refused, in a closed list of codes.

use crate::units::quoted;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a job was refused. The text of each code is part of the wire format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RejectionCode {
            $($(#[$doc])* $name,)*
        }

        impl RejectionCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it travels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The body is not one JSON object in UTF-8.
    NotJson = "not_json",
    /// The body, or one part of it, has more bytes or entries than allowed.
    TooLarge = "too_large",
    /// Arrays and objects are nested deeper than allowed.
    TooDeep = "too_deep",
    /// `v` is not the version that this worker speaks.
    WrongVersion = "wrong_version",
    /// `minor` is newer than this worker's.
    UnsupportedMinor = "unsupported_minor",
    /// A field has another JSON type than it should have.
    WrongType = "wrong_type",
    /// A field that this version does not know.
    UnknownField = "unknown_field",
    /// A field that must be there is not.
    MissingField = "missing_field",
    /// A field is there twice.
    DuplicateField = "duplicate_field",
    /// A blob's base64 is not valid.
    BadBase64 = "bad_base64",
    /// The id has characters or a length that ids do not have.
    BadId = "bad_id",
    /// The body's `id` and the message's `message_id` differ.
    IdMismatch = "id_mismatch",
    /// The name of a runtime, pool or profile is not a name.
    BadName = "bad_name",
    /// The lane is neither `interactive` nor `bulk`.
    BadLane = "bad_lane",
    /// `slug` or `batch` is empty, too long, or holds control characters.
    BadLabel = "bad_label",
    /// This worker has no runtime of that name.
    UnknownRuntime = "unknown_runtime",
    /// This worker has no limit profile of that name.
    UnknownProfile = "unknown_profile",
    /// A file's path is absolute, leaves the folder, or is no path.
    BadPath = "bad_path",
    /// Two files have the same path, or one is a folder of the other.
    DuplicatePath = "duplicate_path",
    /// A limit is zero, negative, fractional or no number.
    BadLimit = "bad_limit",
    /// A limit is more than this worker grants.
    AboveCeiling = "above_ceiling",
    /// The limits are too small for the runtime to start at all.
    LimitsTooSmall = "limits_too_small",
    /// The files do not fit into the job's disk limits.
    FilesTooLarge = "files_too_large",
    /// An environment variable may not be set, or is not well-formed.
    BadEnv = "bad_env",
    /// An argument holds a NUL byte, or there are too many bytes of them.
    BadArgv = "bad_argv",
    /// The reply queue's name is not one that a job may ask for.
    BadReplyTo = "bad_reply_to",
    /// The body names another pool or lane than the queue that it came from.
    WrongQueue = "wrong_queue",
    /// `deadline` is not an RFC 3339 moment.
    BadDeadline = "bad_deadline",
    /// `globals` is not the text of a JSON object.
    BadGlobals = "bad_globals",
    /// An entry of `python_path` is not among `files`, or there are no `globals`.
    BadPythonPath = "bad_python_path",
    /// Neither `code` nor an `argv` that names one of `files`.
    NoCode = "no_code",
    /// The program that the job brought cannot be executed.
    BadProgram = "bad_program",
    /// Grading is not built yet.
    GradeUnsupported = "grade_unsupported",
    /// The runtime cannot run code with globals.
    GlobalsUnsupported = "globals_unsupported",
}

impl RejectionCode {
    /// The code that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl std::fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The producer's mistake: a code for programs and a message for people.
///
/// The message names the field and what to do. It repeats at most 64 characters of what the
/// producer sent, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// Which mistake.
    pub code: RejectionCode,
    /// The field, what is wrong with it, and what to do.
    pub message: String,
}

impl Rejection {
    /// A rejection with that code and message.
    #[must_use]
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The same rejection with the field's name in front of its message.
    #[must_use]
    pub fn in_field(self, field: &str) -> Self {
        Self {
            code: self.code,
            message: format!("{field}: {}", self.message),
        }
    }

    /// A rejection that shows the offending text: `"<value>" <complaint>`.
    #[must_use]
    pub fn about(code: RejectionCode, value: &str, complaint: &str) -> Self {
        Self {
            code,
            message: format!("{} {complaint}", quoted(value)),
        }
    }
}
