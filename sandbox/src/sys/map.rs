//! Sealed memory mapped for reading.

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// A read-only view of a sealed memfd.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes of a memfd that carries the seals against writing and
    /// shrinking; the caller has checked them.
    ///
    /// # Errors
    /// `InvalidInput` for an empty file, else the kernel's.
    pub fn of_sealed(memfd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
        let start = unsafe {
            mmap(
                None,
                size,
                ProtFlags::PROT_READ,
                MapFlags::MAP_PRIVATE,
                memfd,
                0,
            )
        }?;
        Ok(Self { start, length })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the mapping covers `length` bytes until it is dropped, is readable, and the
        // file's seals keep anybody from changing or shortening what lies under it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<u8>(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `of_sealed` and every borrow of it has ended.
        let unmapped = unsafe { munmap(self.start, self.length) };
        debug_assert!(unmapped.is_ok(), "a range that was mapped can be unmapped");
    }
}
