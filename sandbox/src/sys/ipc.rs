//! System V objects of an IPC namespace.

use std::io;

/// The kernel's answer to SEM_INFO and MSG_INFO, and the like of it to SHM_INFO, fits in here.
const ROOM_WORDS: usize = 32;
const SHM_INFO: i32 = 14;

/// System V objects of the caller's IPC namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemV {
    /// Shared memory segments.
    pub segments: u32,
    /// Semaphore sets.
    pub semaphore_sets: u32,
    /// Message queues.
    pub queues: u32,
}

/// Counts them, whoever owns them.
///
/// # Errors
/// `ENOSYS` on a kernel without System V IPC.
///
/// # Source
/// shmctl(2), semctl(2), msgctl(2): the `_INFO` commands
pub fn system_v_objects() -> io::Result<SystemV> {
    const SEM_INFO: i32 = 19;
    const MSG_INFO: i32 = 12;
    // struct shm_info begins with used_ids; struct seminfo holds the sets in semusz, its eighth
    // int; struct msginfo the queues in msgpool, its first.
    let mut shm = [0_u32; ROOM_WORDS];
    // SAFETY: the kernel writes one shm_info, 48 bytes, into the array of 128.
    let done = unsafe { libc::syscall(libc::SYS_shmctl, 0, SHM_INFO, shm.as_mut_ptr()) };
    answer(done)?;
    let mut sem = [0_u32; ROOM_WORDS];
    // SAFETY: the kernel writes one seminfo, ten ints, into the array of 32.
    let done = unsafe { libc::syscall(libc::SYS_semctl, 0, 0, SEM_INFO, sem.as_mut_ptr()) };
    answer(done)?;
    let mut msg = [0_u32; ROOM_WORDS];
    // SAFETY: the kernel writes one msginfo, 32 bytes, into the array of 128.
    let done = unsafe { libc::syscall(libc::SYS_msgctl, 0, MSG_INFO, msg.as_mut_ptr()) };
    answer(done)?;
    let [segments, ..] = shm;
    let [_, _, _, _, _, _, _, semaphore_sets, ..] = sem;
    let [queues, ..] = msg;
    Ok(SystemV {
        segments,
        semaphore_sets,
        queues,
    })
}

/// Removes every shared memory segment, whoever owns it. The memory of one that nobody has attached is
/// free when this returns; that of a namespace which is left is freed later, by a worker of the kernel's.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the namespace.
///
/// # Source
/// shmctl(2): SHM_INFO answers with the highest index in use, SHM_STAT_ANY with the number behind an
/// index
pub fn remove_shared_memory() -> io::Result<()> {
    const SHM_STAT_ANY: i32 = 15;
    let mut room = [0_u32; ROOM_WORDS];
    // SAFETY: the kernel writes one shm_info, 48 bytes, into the array of 128.
    let highest = unsafe { libc::syscall(libc::SYS_shmctl, 0, SHM_INFO, room.as_mut_ptr()) };
    answer(highest)?;
    for index in 0..=highest {
        // SAFETY: the kernel writes one shmid64_ds, 112 bytes, into the array of 128.
        let number =
            unsafe { libc::syscall(libc::SYS_shmctl, index, SHM_STAT_ANY, room.as_mut_ptr()) };
        if number < 0 {
            // Nothing has this index.
            continue;
        }
        // SAFETY: IPC_RMID looks at no buffer.
        let done = unsafe { libc::syscall(libc::SYS_shmctl, number, libc::IPC_RMID, 0) };
        answer(done)?;
    }
    Ok(())
}

impl SystemV {
    /// Whether there is none at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.segments == 0 && self.semaphore_sets == 0 && self.queues == 0
    }
}

fn answer(done: libc::c_long) -> io::Result<()> {
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
