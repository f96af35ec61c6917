//! Standard output of a program that may stand in the middle of a pipe.

use std::io::{self, Write};

/// Writes data to standard output, at once and whole. A reader that is gone has had enough of it, as `head` has:
/// that is neither a failure nor anybody's concern, and whatever the program does besides goes on.
///
/// # Errors
/// What the kernel answered, for example that a disk is full.
pub fn print(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(data).and_then(|()| out.flush());
    unless_nobody_reads(written)
}

/// The same answer, but that nobody reads any more is no failure.
///
/// # Errors
/// Any other one.
pub fn unless_nobody_reads(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
