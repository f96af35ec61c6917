//! The stranger's bytes are read here for the first time, by a process that can do nothing with
//! root's power but give it up, and that sees no folder but the jail's.

use crate::jail::{Identity, Run};
use crate::payload::{Item, Unpacker};
use crate::sys::caps::{Caps, set_capabilities};
use jailfleet::runtime::Cwd;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{setfsgid, setfsuid, write};
use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

/// Writes the payload's files into the working directory and gathers arguments and environment.
pub(super) fn write_files(run: &mut Run<'_>) -> io::Result<()> {
    own_what_is_written(run)?;
    let mut payload = Unpacker::open(run.payload.as_bytes()).map_err(|_bad| Errno::EBADMSG)?;
    let whole = !run.argv.push(&run.launch.program);
    let mut fits = !whole && run.launch.args.iter().all(|arg| run.argv.push(arg));
    let main_at = payload;
    fits = fits && name_the_main_file(run, main_at)?;
    while let Some(item) = payload.next().map_err(|_bad| Errno::EBADMSG)? {
        match item {
            Item::Argument(text) => fits = fits && run.argv.push(text),
            Item::Variable(text) => fits = fits && run.env.push(text),
            Item::Directory(path) => make_folder(run.cwd, path)?,
            Item::File {
                path,
                content,
                executable,
            } => {
                let mode = if executable { 0o755 } else { 0o644 };
                make_file(run.cwd, path, content, mode)?;
            }
            Item::Main(content) => {
                let mode = if run.launch.main_is_program {
                    0o755
                } else {
                    0o644
                };
                make_file(run.cwd, &run.launch.main_file, content, mode)?;
            }
        }
    }
    if fits {
        Ok(())
    } else {
        Err(Errno::E2BIG.into())
    }
}

/// The main file stands before the job's arguments, though its content comes at the payload's end.
fn name_the_main_file(run: &mut Run<'_>, mut payload: Unpacker<'_>) -> io::Result<bool> {
    if run.launch.main_is_program {
        return Ok(true);
    }
    while let Some(item) = payload.next().map_err(|_bad| Errno::EBADMSG)? {
        if let Item::Main(_) = item {
            return Ok(run.argv.push(&run.launch.main_file));
        }
    }
    Ok(true)
}

/// Keeps only the power to change identity. In a writable working directory the files belong to the
/// slot, so they are written in its name.
fn own_what_is_written(run: &Run<'_>) -> io::Result<()> {
    match (run.identity, run.launch.cwd) {
        (Identity::Leased { .. }, Cwd::ReadOnly) => {
            set_capabilities(Caps::NONE, Caps::IDENTITY)?;
        }
        (Identity::Leased { uid, gid }, Cwd::Writable) => {
            set_capabilities(Caps::IDENTITY, Caps::IDENTITY)?;
            setfsgid(gid);
            setfsuid(uid);
        }
        (Identity::Mapped { .. }, Cwd::ReadOnly | Cwd::Writable) => {
            set_capabilities(Caps::NONE, Caps::NONE)?;
        }
    }
    Ok(())
}

fn make_folder(cwd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // mkdirat knows no RESOLVE_BENEATH: the folder above is opened beneath the working directory,
    // and the last part is a plain name in it.
    let (above, name) = split(path)?;
    let made = match above {
        None => mkdirat(cwd, name, FOLDER),
        Some(above) => {
            let above = openat2(
                cwd,
                above.as_path(),
                beneath(OFlag::O_PATH | OFlag::O_DIRECTORY),
            )?;
            mkdirat(&above, name, FOLDER)
        }
    };
    match made {
        Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

const FOLDER: Mode = Mode::from_bits_truncate(0o755);

/// A path without its last part, in a buffer of its own since it needs a NUL where the slash was.
struct Above {
    bytes: [u8; crate::payload::MAX_PATH_BYTES],
    length: usize,
}

impl Above {
    fn as_path(&self) -> &CStr {
        let bytes = self.bytes.get(..=self.length).unwrap_or(b"\0");
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }
}

fn split(path: &CStr) -> io::Result<(Option<Above>, &CStr)> {
    let bytes = path.to_bytes_with_nul();
    let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/') else {
        return plain(path).map(|name| (None, name));
    };
    let name = bytes.get(slash.saturating_add(1)..).unwrap_or_default();
    let name = CStr::from_bytes_with_nul(name).map_err(|_inner_nul| Errno::EINVAL)?;
    let mut above = Above {
        bytes: [0; crate::payload::MAX_PATH_BYTES],
        length: slash,
    };
    let folder = bytes.get(..slash).unwrap_or_default();
    let place = above.bytes.get_mut(..slash).ok_or(Errno::ENAMETOOLONG)?;
    place.copy_from_slice(folder);
    Ok((Some(above), plain(name)?))
}

fn plain(name: &CStr) -> io::Result<&CStr> {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(Errno::EINVAL.into()),
        _ => Ok(name),
    }
}

fn beneath(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(resolve)
}

fn make_file(cwd: BorrowedFd<'_>, path: &CStr, mut content: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let how = beneath(flags).mode(Mode::from_bits_truncate(mode));
    let file = openat2(cwd, path, how)?;
    while !content.is_empty() {
        let written = write(&file, content)?;
        content = content.get(written..).unwrap_or_default();
    }
    Ok(())
}
