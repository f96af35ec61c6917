//! How a worker asks for files that a run left, and how they come out of a jail: two flat spellings, each
//! written by one side and read by the other.
//!
//! # Shape
//! What is wanted travels in a sealed memfd: magic bytes, three bounds (eight bytes each), then items: a
//! tag (one byte), a length (four bytes), a path with its final NUL. What comes back is a stream: magic
//! bytes, then pieces: a tag, the number of the item that it answers (four bytes), the length of a path
//! below that item (four), the length of the content (eight), then both; and at the end a tag alone.
//! All numbers are little-endian. The stream is written inside the jail, and read as a stranger's word.

mod gathered;

pub use gathered::{Gathered, read};

use jailfleet::artifact::{ArtifactCaps, ArtifactKind, ArtifactPath, LeftOutReason};
use std::ffi::CStr;

/// The first four bytes of what is wanted.
pub const WANTED_MAGIC: [u8; 4] = *b"JFC\x01";
/// The first four bytes of the stream.
pub const STREAM_MAGIC: [u8; 4] = *b"JFA\x01";
/// Paths that may be wanted at most.
pub const MOST_WANTED: usize = 1000;
/// One path at most, with its slash or NUL.
pub const MOST_PATH_BYTES: usize = 1025;
/// What a piece of the stream has before path and content.
pub const HEAD_BYTES: usize = 17;

const A_FILE: u8 = 1;
const A_FOLDER: u8 = 2;

/// What the pieces of the stream begin with.
pub(crate) mod tag {
    /// A file.
    pub(crate) const FILE: u8 = 1;
    /// A file that its owner may execute.
    pub(crate) const EXECUTABLE: u8 = 2;
    /// Something that is not delivered: the content's length is the number of the reason.
    pub(crate) const LEFT_OUT: u8 = 3;
    /// Nothing follows.
    pub(crate) const END: u8 = 4;
}

/// Writes what is wanted.
#[must_use]
pub fn wanted(paths: &[ArtifactPath], caps: &ArtifactCaps) -> Vec<u8> {
    let mut bytes = WANTED_MAGIC.to_vec();
    for bound in [caps.entries, caps.file_bytes, caps.all_bytes] {
        bytes.extend_from_slice(&u64::try_from(bound).unwrap_or(u64::MAX).to_le_bytes());
    }
    for path in paths {
        let text = path.path().as_str().as_bytes();
        bytes.push(match path.kind() {
            ArtifactKind::File => A_FILE,
            ArtifactKind::Folder => A_FOLDER,
        });
        // A path is never longer than a few KiB, and holds no NUL.
        let length = u32::try_from(text.len().saturating_add(1)).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

/// The most bytes that the stream of an honest collector can have.
#[must_use]
pub fn most_stream_bytes(wanted: usize, caps: &ArtifactCaps) -> usize {
    // A piece for each entry of a folder, one for each path, and one more for each that says why its
    // folder goes no further.
    let pieces = caps.entries.saturating_add(wanted.saturating_mul(2));
    let each = HEAD_BYTES.saturating_add(MOST_PATH_BYTES);
    STREAM_MAGIC
        .len()
        .saturating_add(pieces.saturating_mul(each))
        .saturating_add(caps.all_bytes)
        .saturating_add(1)
}

/// The bytes are not what [`wanted`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read what is wanted of a run: byte {at} is not what belongs there")]
pub struct Malformed {
    /// Where.
    pub at: usize,
}

/// What is wanted, read item by item without allocating.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    /// The bounds.
    pub caps: ArtifactCaps,
}

impl<'a> Wanted<'a> {
    /// Starts at the first item.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes do not begin as they should.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let magic = bytes.strip_prefix(&WANTED_MAGIC);
        let (bounds, _) = magic
            .and_then(|rest| rest.split_first_chunk::<24>())
            .ok_or(Malformed { at: 0 })?;
        let bound = |place: usize| {
            let (number, _) = bounds.get(place..)?.split_first_chunk::<8>()?;
            usize::try_from(u64::from_le_bytes(*number)).ok()
        };
        let caps = bound(0).zip(bound(8)).zip(bound(16));
        let ((entries, file_bytes), all_bytes) = caps.ok_or(Malformed { at: 4 })?;
        Ok(Self {
            bytes,
            at: 28,
            items: 0,
            caps: ArtifactCaps {
                entries,
                file_bytes,
                all_bytes,
            },
        })
    }

    /// The next item; `None` at the end. Nothing after an error is worth reading.
    ///
    /// # Errors
    /// [`Malformed`] with the place.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot stop at an error"
    )]
    pub fn next(&mut self) -> Result<Option<(ArtifactKind, &'a CStr)>, Malformed> {
        let malformed = Malformed { at: self.at };
        let rest = self.bytes.get(self.at..).ok_or(malformed)?;
        let Some((tag, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let kind = match *tag {
            A_FILE => ArtifactKind::File,
            A_FOLDER => ArtifactKind::Folder,
            _ => return Err(malformed),
        };
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_narrow| malformed)?;
        if length > MOST_PATH_BYTES || self.items >= MOST_WANTED {
            return Err(malformed);
        }
        let path = rest.get(..length).ok_or(malformed)?;
        let path = CStr::from_bytes_with_nul(path).map_err(|_no_end| malformed)?;
        self.at = self.at.saturating_add(5).saturating_add(length);
        self.items = self.items.saturating_add(1);
        Ok(Some((kind, path)))
    }
}

/// What stands before a piece of the stream.
#[must_use]
pub(crate) fn head(tag: u8, item: u32, path_bytes: usize, content: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let path_bytes = u32::try_from(path_bytes).unwrap_or(u32::MAX);
    let numbers = item
        .to_le_bytes()
        .into_iter()
        .chain(path_bytes.to_le_bytes())
        .chain(content.to_le_bytes());
    for (place, byte) in head.iter_mut().zip(std::iter::once(tag).chain(numbers)) {
        *place = byte;
    }
    head
}

/// What stands before the words that something is left out.
#[must_use]
pub(crate) fn left_out_head(
    item: u32,
    path_bytes: usize,
    reason: LeftOutReason,
) -> [u8; HEAD_BYTES] {
    head(tag::LEFT_OUT, item, path_bytes, u64::from(reason.number()))
}

#[cfg(test)]
mod tests;
