//! System V objects of an IPC namespace.

use std::io;

/// Room for what the kernel writes: 120 bytes for a queue, and less for all else that is asked here.
const ROOM_WORDS: usize = 32;
type Room = [u32; ROOM_WORDS];

/// What System V has.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Segments,
    SemaphoreSets,
    Queues,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Segments, Self::SemaphoreSets, Self::Queues];

    /// The command that counts, and answers with the highest index in use: the kind's own `_INFO`.
    const fn info(self) -> i32 {
        match self {
            Self::Segments => 14,
            Self::SemaphoreSets => 19,
            Self::Queues => 12,
        }
    }

    /// The command that answers with the number behind an index: the kind's own `_STAT_ANY`.
    const fn number(self) -> i32 {
        match self {
            Self::Segments => 15,
            Self::SemaphoreSets => 20,
            Self::Queues => 13,
        }
    }

    fn control(self, object: libc::c_long, command: i32, room: &mut Room) -> libc::c_long {
        let room = room.as_mut_ptr();
        match self {
            Self::Segments => {
                // SAFETY: the kernel writes one shm_info, 48 bytes, one shmid64_ds, 112 bytes, or
                // nothing into the array of 128.
                unsafe { libc::syscall(libc::SYS_shmctl, object, command, room) }
            }
            Self::SemaphoreSets => {
                // SAFETY: the kernel writes one seminfo, ten ints, one semid64_ds, 104 bytes, or
                // nothing into the array of 128.
                unsafe { libc::syscall(libc::SYS_semctl, object, 0, command, room) }
            }
            Self::Queues => {
                // SAFETY: the kernel writes one msginfo, 32 bytes, one msqid64_ds, 120 bytes, or
                // nothing into the array of 128.
                unsafe { libc::syscall(libc::SYS_msgctl, object, command, room) }
            }
        }
    }
}

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
    let count = |kind: Kind| {
        let mut room = Room::default();
        answer(kind.control(0, kind.info(), &mut room)).map(|_highest| room)
    };
    // struct shm_info begins with used_ids; struct seminfo holds the sets in semusz, its eighth
    // int; struct msginfo the queues in msgpool, its first.
    let [segments, ..] = count(Kind::Segments)?;
    let [_, _, _, _, _, _, _, semaphore_sets, ..] = count(Kind::SemaphoreSets)?;
    let [queues, ..] = count(Kind::Queues)?;
    Ok(SystemV {
        segments,
        semaphore_sets,
        queues,
    })
}

/// Removes every one of them, whoever owns it. Their memory is free when this returns, where nobody has
/// it attached; that of a namespace which is left is freed later, by a worker of the kernel's.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the namespace.
///
/// # Source
/// shmctl(2), semctl(2), msgctl(2): the `_INFO` commands answer with the highest index in use,
/// `_STAT_ANY` with the number behind an index
pub fn remove_system_v_objects() -> io::Result<()> {
    let mut room = Room::default();
    for kind in Kind::ALL {
        let highest = answer(kind.control(0, kind.info(), &mut room))?;
        for index in 0..=highest {
            let number = kind.control(index, kind.number(), &mut room);
            // Below zero nothing has this index.
            if number >= 0 {
                answer(kind.control(number, libc::IPC_RMID, &mut room))?;
            }
        }
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

fn answer(done: libc::c_long) -> io::Result<libc::c_long> {
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(done)
    }
}
