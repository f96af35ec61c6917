//! From what is wanted to the stream: which file is opened how, and what is left out for which reason.

use crate::artifacts::{MOST_PATH_BYTES, STREAM_MAGIC, Wanted, head, left_out_head, tag};
use jailfleet::artifact::{ArtifactCaps, ArtifactKind, LeftOutReason, MOST_LEVELS};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use rustix::fs::RawDir;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much is read or written at once; a pipe holds as much.
const PIECE_BYTES: usize = 64 * 1024;
/// Room for what the kernel tells of a folder at once.
const NAMES_BYTES: usize = 16 * 1024;

/// Writes the stream for `wanted` to `out`.
pub(super) fn bring_out(wanted: &[u8], cwd: BorrowedFd<'_>, out: File) -> io::Result<()> {
    let mut wanted = Wanted::open(wanted).map_err(io::Error::other)?;
    let mut stream = Stream {
        out: BufWriter::with_capacity(PIECE_BYTES, out),
        left: wanted.caps,
        item: 0,
        item_path_bytes: 0,
        piece: vec![0; PIECE_BYTES],
    };
    stream.out.write_all(&STREAM_MAGIC)?;
    while let Some((kind, path)) = wanted.next().map_err(io::Error::other)? {
        stream.item_path_bytes = path.to_bytes().len();
        match kind {
            ArtifactKind::File => stream.bring_file(cwd, path)?,
            ArtifactKind::Folder => stream.bring_folder(cwd, path)?,
        }
        stream.item = stream.item.saturating_add(1);
    }
    stream.out.write_all(&[tag::END])?;
    stream.out.flush()
}

struct Stream {
    out: BufWriter<File>,
    /// What may still come, of each bound.
    left: ArtifactCaps,
    /// The number of what is answered.
    item: u32,
    /// How long its path is.
    item_path_bytes: usize,
    piece: Vec<u8>,
}

/// What a path turned out to be.
enum Found {
    File(Whole),
    Folder(OwnedFd),
    LeftOut(LeftOutReason),
}

/// A file to deliver.
struct Whole {
    file: OwnedFd,
    executable: bool,
    bytes: u64,
}

/// Whether a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    GoesOn,
    /// No more entries are looked at.
    IsFull,
}

/// A place in a folder's tree.
struct Place<'a> {
    folder: &'a OwnedFd,
    /// How many folders deep below the one that was asked for.
    level: usize,
}

impl Stream {
    fn bring_file(&mut self, cwd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
        match self.find(cwd, path)? {
            Found::File(whole) => self.deliver(b"", whole),
            Found::Folder(_) => self.leave_out(b"", LeftOutReason::NotARegularFile),
            Found::LeftOut(reason) => self.leave_out(b"", reason),
        }
    }

    fn bring_folder(&mut self, cwd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
        let folder = match self.find(cwd, path)? {
            Found::Folder(folder) => folder,
            Found::LeftOut(
                reason @ (LeftOutReason::Missing
                | LeftOutReason::Link
                | LeftOutReason::Unreadable
                | LeftOutReason::BadName
                | LeftOutReason::Lost),
            ) => return self.leave_out(b"", reason),
            // Whatever else it is: it was found.
            Found::File(_) | Found::LeftOut(_) => {
                return self.leave_out(b"", LeftOutReason::NotAFolder);
            }
        };
        let mut told = false;
        let place = Place {
            folder: &folder,
            level: 0,
        };
        match self.walk(&place, &mut Vec::new(), &mut told)? {
            Walk::GoesOn if told => Ok(()),
            Walk::GoesOn => self.leave_out(b"", LeftOutReason::Empty),
            Walk::IsFull => self.leave_out(b"", LeftOutReason::TooMany),
        }
    }

    /// Goes through a folder whose path is `below` the one that was asked for; it ends in a slash, if it
    /// is not empty.
    fn walk(
        &mut self,
        place: &Place<'_>,
        below: &mut Vec<u8>,
        told: &mut bool,
    ) -> io::Result<Walk> {
        let names = match names_in(place.folder, self.left.entries) {
            Ok(names) => names,
            Err(reason) => {
                *told = true;
                self.leave_out(below, reason)?;
                return Ok(Walk::GoesOn);
            }
        };
        let mut unnameable = false;
        for name in &names {
            let Some(left) = self.left.entries.checked_sub(1) else {
                return Ok(Walk::IsFull);
            };
            self.left.entries = left;
            let length = below.len();
            below.extend_from_slice(name.to_bytes());
            let walk = if self.can_be_told(name, below) {
                self.entry(place, name, below, told)?
            } else {
                unnameable = true;
                Walk::GoesOn
            };
            below.truncate(length);
            if walk == Walk::IsFull {
                return Ok(walk);
            }
        }
        if unnameable {
            *told = true;
            self.leave_out(below, LeftOutReason::BadName)?;
        }
        Ok(Walk::GoesOn)
    }

    /// One name in a folder; its path below the one that was asked for is `below`.
    fn entry(
        &mut self,
        place: &Place<'_>,
        name: &CStr,
        below: &mut Vec<u8>,
        told: &mut bool,
    ) -> io::Result<Walk> {
        match self.find(place.folder.as_fd(), name)? {
            Found::Folder(folder) => {
                below.push(b'/');
                let level = place.level.saturating_add(1);
                if level <= MOST_LEVELS {
                    let place = Place {
                        folder: &folder,
                        level,
                    };
                    return self.walk(&place, below, told);
                }
                self.leave_out(below, LeftOutReason::TooDeep)?;
            }
            Found::File(whole) => self.deliver(below, whole)?,
            Found::LeftOut(reason) => self.leave_out(below, reason)?,
        }
        *told = true;
        Ok(Walk::GoesOn)
    }

    /// Opens a path, and looks at what was opened: of the descriptor, and of no path again.
    fn find(&self, folder: BorrowedFd<'_>, path: &CStr) -> io::Result<Found> {
        let file = match open(folder, path) {
            Ok(file) => file,
            Err(errno) => return Ok(Found::LeftOut(reason_of(errno))),
        };
        let stat = fstat(&file)?;
        Ok(
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => Found::Folder(file),
                SFlag::S_IFREG if stat.st_nlink != 1 => Found::LeftOut(LeftOutReason::SeveralNames),
                SFlag::S_IFREG => {
                    let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
                    let room = self.left.file_bytes.min(self.left.all_bytes);
                    if usize::try_from(bytes).is_ok_and(|bytes| bytes <= room) {
                        let executable = stat.st_mode & libc::S_IXUSR != 0;
                        Found::File(Whole {
                            file,
                            executable,
                            bytes,
                        })
                    } else {
                        Found::LeftOut(LeftOutReason::TooLarge)
                    }
                }
                _ => Found::LeftOut(LeftOutReason::NotARegularFile),
            },
        )
    }

    /// Writes exactly as many bytes as were told, or fails.
    fn deliver(&mut self, below: &[u8], whole: Whole) -> io::Result<()> {
        let Whole {
            file,
            executable,
            bytes,
        } = whole;
        let tag = if executable {
            tag::EXECUTABLE
        } else {
            tag::FILE
        };
        let head = head(tag, self.item, below.len(), bytes);
        self.out.write_all(&head)?;
        self.out.write_all(below)?;
        let mut file = File::from(file).take(bytes);
        let mut left = bytes;
        while left > 0 {
            let read = file.read(&mut self.piece)?;
            let piece = self.piece.get(..read).unwrap_or_default();
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.out.write_all(piece)?;
            left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.left.all_bytes = self.left.all_bytes.saturating_sub(bytes);
        Ok(())
    }

    fn leave_out(&mut self, below: &[u8], reason: LeftOutReason) -> io::Result<()> {
        let head = left_out_head(self.item, below.len(), reason);
        self.out.write_all(&head)?;
        self.out.write_all(below)
    }

    /// Whether the worker would take this name: UTF-8, and short enough with all that is above it.
    fn can_be_told(&self, name: &CStr, below: &[u8]) -> bool {
        // Two more: the slash between the two paths, and that of a folder.
        let whole = self.item_path_bytes.saturating_add(below.len());
        name.to_str().is_ok() && whole.saturating_add(2) <= MOST_PATH_BYTES
    }
}

/// Opens for reading what lies beneath `folder`, whatever it is, without waiting for anybody.
fn open(folder: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY
        | OFlag::O_NONBLOCK
        | OFlag::O_NOFOLLOW
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    openat2(folder, path, OpenHow::new().flags(flags).resolve(resolve))
}

/// Why a path does not open. All else is trouble of ours.
const REASONS: &[(Errno, LeftOutReason)] = &[
    (Errno::ENOENT, LeftOutReason::Missing),
    // Below what is no folder there is nothing.
    (Errno::ENOTDIR, LeftOutReason::Missing),
    (Errno::ELOOP, LeftOutReason::Link),
    (Errno::EXDEV, LeftOutReason::Link),
    (Errno::EACCES, LeftOutReason::Unreadable),
    (Errno::EPERM, LeftOutReason::Unreadable),
    // A socket, or a device without a driver.
    (Errno::ENXIO, LeftOutReason::NotARegularFile),
    (Errno::ENODEV, LeftOutReason::NotARegularFile),
    (Errno::ENAMETOOLONG, LeftOutReason::BadName),
];

fn reason_of(errno: Errno) -> LeftOutReason {
    let found = REASONS.iter().find(|(known, _)| *known == errno);
    found.map_or(LeftOutReason::Lost, |(_, reason)| *reason)
}

/// The names in a folder in the order of their bytes, or why they are not told.
fn names_in(folder: &OwnedFd, most: usize) -> Result<Vec<CString>, LeftOutReason> {
    let mut room = vec![MaybeUninit::uninit(); NAMES_BYTES];
    let mut entries = RawDir::new(folder, &mut room);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|_errno| LeftOutReason::Lost)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if names.len() >= most {
            return Err(LeftOutReason::TooMany);
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests;
