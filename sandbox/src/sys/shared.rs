//! Numbers that a process and its forks see alike.

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Shared memory that holds a few numbers, zero at first. An exec lets go of it.
#[derive(Debug)]
pub struct SharedNumbers {
    start: NonNull<c_void>,
    count: usize,
}

impl SharedNumbers {
    /// Room for `count` numbers.
    ///
    /// # Errors
    /// `InvalidInput` for none or far too many, else the kernel's.
    ///
    /// # Source
    /// mmap(2), MAP_SHARED with MAP_ANONYMOUS
    pub fn new(count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(size_of::<AtomicU64>());
        let size = bytes
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
        let start = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_SHARED) }?;
        Ok(Self { start, count })
    }

    /// The numbers.
    ///
    /// # Async-signal-safety
    /// Safe between fork and exec: no call, no allocation.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `count` aligned words that were zero at first, lives until this
        // is dropped, and whoever shares it reads and writes them as atomics only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU64>(), self.count) }
    }
}

impl Drop for SharedNumbers {
    fn drop(&mut self) {
        let bytes = self.count.saturating_mul(size_of::<AtomicU64>());
        // SAFETY: the range was mapped by `new` and every borrow of it has ended.
        let unmapped = unsafe { munmap(self.start, bytes) };
        debug_assert!(unmapped.is_ok(), "a range that was mapped can be unmapped");
    }
}
