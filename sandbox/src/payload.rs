//! What a stranger sent along with a job, in one flat spelling: arguments, environment and files.
//!
//! # Shape
//! The magic bytes, then items until the end. An item is a tag (one byte), the lengths of its
//! strings (four bytes each, little-endian), then each string's bytes; arguments, variables and
//! paths carry a final NUL that counts as part of them, so that they can be handed to the kernel
//! where they lie. The reader allocates nothing, since it runs between fork and exec.

use jailfleet::job::{JobFile, JobFileKind};
use std::collections::BTreeSet;
use std::ffi::CStr;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"JFP\x01";
/// Arguments of a job at most.
pub const MAX_ARGUMENTS: usize = 4096;
/// Environment variables of a job at most.
pub const MAX_VARIABLES: usize = 1024;
/// Files and folders of a job at most, the folders above files included.
pub const MAX_ENTRIES: usize = 65_536;
/// One argument or variable with its NUL at most: the kernel's own bound (MAX_ARG_STRLEN).
pub const MAX_STRING_BYTES: usize = 131_072;
/// One path with its NUL at most: the kernel's own bound (PATH_MAX).
pub const MAX_PATH_BYTES: usize = 4096;

/// Everything that a payload carries.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    /// Content of the runtime's main file.
    pub main: Option<&'a [u8]>,
    /// The job's own files.
    pub files: &'a [JobFile],
    /// Arguments after the main file.
    pub argv: &'a [String],
    /// Environment on top of the clean one.
    pub env: &'a [(String, String)],
}

/// Why a payload could not be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A NUL byte within an argument, a variable or a path.
    #[error("encode the job: {0} holds a NUL byte")]
    Nul(&'static str),
    /// An empty name, or one with `=` in it.
    #[error("encode the job: an environment name is empty or holds '='")]
    BadName,
    /// More, or longer, than the bound.
    #[error("encode the job: {what} above {max}")]
    TooMany {
        /// What.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The bytes are not a payload.
    #[error("read the payload: byte {at} is not what belongs there")]
    Malformed {
        /// Where.
        at: usize,
    },
}

/// One piece of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// An argument of the program.
    Argument(&'a CStr),
    /// `NAME=value`.
    Variable(&'a CStr),
    /// The main file's content.
    Main(&'a [u8]),
    /// A folder; folders come before what is in them.
    Directory(&'a CStr),
    /// A file.
    File {
        /// Its path, relative to the working directory.
        path: &'a CStr,
        /// Its bytes.
        content: &'a [u8],
        /// Whether it may be executed.
        executable: bool,
    },
}

const ARGUMENT: u8 = 1;
const VARIABLE: u8 = 2;
const MAIN: u8 = 3;
const DIRECTORY: u8 = 4;
const FILE: u8 = 5;
const EXECUTABLE: u8 = 6;

/// Writes a payload.
///
/// # Errors
/// [`PayloadError`] naming what is too large or holds a NUL byte.
pub fn encode(payload: &Payload<'_>) -> Result<Vec<u8>, PayloadError> {
    within("arguments", payload.argv.len(), MAX_ARGUMENTS)?;
    within("environment variables", payload.env.len(), MAX_VARIABLES)?;
    let mut bytes = MAGIC.to_vec();
    for argument in payload.argv {
        put(
            &mut bytes,
            ARGUMENT,
            &[&string("an argument", argument, MAX_STRING_BYTES)?],
        )?;
    }
    for (name, value) in payload.env {
        if name.is_empty() || name.contains('=') {
            return Err(PayloadError::BadName);
        }
        let variable = format!("{name}={value}");
        put(
            &mut bytes,
            VARIABLE,
            &[&string("a variable", &variable, MAX_STRING_BYTES)?],
        )?;
    }
    encode_files(payload.files, &mut bytes)?;
    if let Some(content) = payload.main {
        put(&mut bytes, MAIN, &[content])?;
    }
    Ok(bytes)
}

fn encode_files(files: &[JobFile], bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
    let mut folders = BTreeSet::new();
    let mut entries = 0_usize;
    for file in files {
        let path = file.path.as_str().trim_end_matches('/');
        let above = path
            .match_indices('/')
            .map(|(at, _)| path.get(..at).unwrap_or_default());
        let own = match file.kind {
            JobFileKind::Directory => Some(path),
            JobFileKind::File { .. } => None,
        };
        for folder in above.chain(own) {
            if folders.insert(folder) {
                entries = entries.saturating_add(1);
                put(
                    bytes,
                    DIRECTORY,
                    &[&string("a path", folder, MAX_PATH_BYTES)?],
                )?;
            }
        }
        if let JobFileKind::File {
            content,
            executable,
        } = &file.kind
        {
            entries = entries.saturating_add(1);
            let tag = if *executable { EXECUTABLE } else { FILE };
            put(
                bytes,
                tag,
                &[&string("a path", path, MAX_PATH_BYTES)?, content.as_bytes()],
            )?;
        }
        within("files and folders", entries, MAX_ENTRIES)?;
    }
    Ok(())
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), PayloadError> {
    if count > max {
        Err(PayloadError::TooMany { what, max })
    } else {
        Ok(())
    }
}

fn string(what: &'static str, text: &str, max: usize) -> Result<Vec<u8>, PayloadError> {
    if text.as_bytes().contains(&0) {
        return Err(PayloadError::Nul(what));
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    within(what, bytes.len(), max)?;
    Ok(bytes)
}

fn put(bytes: &mut Vec<u8>, tag: u8, strings: &[&[u8]]) -> Result<(), PayloadError> {
    const TOO_LONG: PayloadError = PayloadError::TooMany {
        what: "bytes",
        max: u32::MAX as usize,
    };
    bytes.push(tag);
    for string in strings {
        let length = u32::try_from(string.len()).map_err(|_too_long| TOO_LONG)?;
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    for string in strings {
        bytes.extend_from_slice(string);
    }
    Ok(())
}

/// Reads a payload item by item, without allocating. Every length is checked against what is left.
#[derive(Debug, Clone, Copy)]
pub struct Unpacker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Unpacker<'a> {
    /// Starts at the first item.
    ///
    /// # Errors
    /// [`PayloadError::Malformed`] when the bytes do not begin like a payload.
    pub fn open(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        if bytes.starts_with(&MAGIC) {
            Ok(Self {
                bytes,
                at: MAGIC.len(),
            })
        } else {
            Err(PayloadError::Malformed { at: 0 })
        }
    }

    /// The next item; `None` at the end. Nothing after an error is worth reading.
    ///
    /// # Errors
    /// [`PayloadError::Malformed`] with the place.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot stop at an error"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'a>>, PayloadError> {
        let Some(tag) = self.bytes.get(self.at).copied() else {
            return Ok(None);
        };
        self.at = self.at.saturating_add(1);
        let item = match tag {
            ARGUMENT => Item::Argument(self.text(MAX_STRING_BYTES)?),
            VARIABLE => Item::Variable(self.text(MAX_STRING_BYTES)?),
            MAIN => {
                let length = self.length()?;
                Item::Main(self.take(length)?)
            }
            DIRECTORY => Item::Directory(self.text(MAX_PATH_BYTES)?),
            FILE | EXECUTABLE => {
                let path_bytes = self.length()?;
                let content_bytes = self.length()?;
                Item::File {
                    path: self.text_of(path_bytes, MAX_PATH_BYTES)?,
                    content: self.take(content_bytes)?,
                    executable: tag == EXECUTABLE,
                }
            }
            _ => {
                return Err(PayloadError::Malformed {
                    at: self.at.saturating_sub(1),
                });
            }
        };
        Ok(Some(item))
    }

    fn length(&mut self) -> Result<usize, PayloadError> {
        let at = self.at;
        let bytes = self
            .take(4)?
            .first_chunk()
            .ok_or(PayloadError::Malformed { at })?;
        usize::try_from(u32::from_le_bytes(*bytes))
            .map_err(|_narrow_host| PayloadError::Malformed { at })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PayloadError> {
        let malformed = PayloadError::Malformed { at: self.at };
        let end = self.at.checked_add(length).ok_or(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn text(&mut self, max: usize) -> Result<&'a CStr, PayloadError> {
        let length = self.length()?;
        self.text_of(length, max)
    }

    fn text_of(&mut self, length: usize, max: usize) -> Result<&'a CStr, PayloadError> {
        let malformed = PayloadError::Malformed { at: self.at };
        if length > max {
            return Err(malformed);
        }
        CStr::from_bytes_with_nul(self.take(length)?).map_err(|_inner_nul| malformed)
    }
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
