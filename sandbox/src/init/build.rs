//! From a fork of the warden to a standing init: namespaces are there, everything else is made here.

use super::{Init, Service};
use crate::cgroup::Entry;
use crate::jail::Identity;
use crate::launch::{CleanEnvironment, Launch};
use crate::link::{Counting, Word};
use crate::marks::Marks;
use crate::protocol::{SIDE_DESCRIPTORS, SIDE_PLACES};
use crate::root::{Root, RootPlan};
use crate::sys::caps::drop_bounding_set;
use crate::sys::exec::exit_now;
use crate::sys::notify::seccomp_listen;
use crate::sys::restrict::close_all_but;
use crate::sys::signals::default_dispositions;
use crate::without::stands;
use jailfleet::wall::Wall;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, dup2_stdin, dup2_stdout, sethostname};
use rustix::io::fcntl_dupfd_cloexec;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What holds a run to a limit that counts for all of its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// The slot's cgroup.
    Cgroup,
    /// The nearest resource limit, on a host without that cgroup: RLIMIT_NPROC counts all tasks of
    /// the uid, RLIMIT_DATA the memory of one process.
    Rlimit,
}

/// Everything that an init is made from. The warden makes it; the fork copies it.
#[derive(Debug)]
pub struct Blueprint<'a> {
    /// Who the program will be.
    pub identity: Identity,
    /// How many runs this init serves.
    pub service: Service,
    /// The runtimes, by their index.
    pub launches: &'a [Launch],
    /// The system call filter, under a listener of ours.
    pub filter: &'a [libc::sock_filter],
    /// The system call filter where there is none of ours.
    pub filter_alone: &'a [libc::sock_filter],
    /// The filter that has us asked about calls that the policy does not name.
    pub listener: &'a [libc::sock_filter],
    /// The system call filter of what brings out what a run left.
    pub collector: &'a [libc::sock_filter],
    /// What limits tasks.
    pub tasks: HeldBy,
    /// What limits memory.
    pub memory: HeldBy,
    /// How to enter the slot's cgroups.
    pub cgroup: Option<&'a Entry>,
    /// The private root to build.
    pub root: &'a RootPlan,
    /// In a user namespace: the ids outside that the mapped ones stand for.
    pub maps: Option<(Uid, Gid)>,
}

impl Blueprint<'_> {
    pub(super) fn launch(&self, runtime: u16) -> io::Result<&Launch> {
        self.launches
            .get(usize::from(runtime))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Makes this fresh fork the init of a slot and serves until the warden is gone.
pub fn become_init(blueprint: &Blueprint<'_>, link: OwnedFd) -> ! {
    let (link, built) = match above_the_places(&link) {
        Ok(above) => {
            // The build closes every other number, and may then get this one for something else.
            drop(link);
            let built = build(blueprint, above.as_fd());
            (above, built)
        }
        Err(error) => (link, Err(error)),
    };
    match built {
        Ok(built) => {
            let init = built.with(blueprint, link);
            init.say(&Word::Built {
                landlock_abi: crate::landlock::abi(),
                counting: match init.listener {
                    Some(_) => Counting::Works,
                    None => Counting::Prevented,
                },
            });
            init.serve()
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
            let word = Word::BuildFailed { errno }.encode();
            // The warden sees our end anyway; this only tells it why.
            let _told: io::Result<()> = crate::client::send_datagram(link.as_fd(), &word, &[]);
            exit_now(1)
        }
    }
}

/// What an init consists of, but for what it was given.
struct Built {
    children: SignalFd,
    places: [OwnedFd; SIDE_DESCRIPTORS],
    root: Root,
    clean: CleanEnvironment,
    marks: Marks,
    listener: Option<OwnedFd>,
}

impl Built {
    fn with<'a>(self, blueprint: &'a Blueprint<'a>, link: OwnedFd) -> Init<'a> {
        let Self {
            children,
            places,
            root,
            clean,
            marks,
            listener,
        } = self;
        Init {
            blueprint,
            link,
            children,
            places,
            root,
            clean,
            ruleset: None,
            marks,
            listener,
        }
    }
}

fn build(blueprint: &Blueprint<'_>, link: BorrowedFd<'_>) -> io::Result<Built> {
    let told_of = own_signals()?;
    set_pdeathsig(Signal::SIGKILL)?;
    if let Some((uid, gid)) = blueprint.maps {
        map_one_user(blueprint.identity, uid, gid)?;
    }
    if let Some(cgroup) = blueprint.cgroup {
        // But for the one that we were born in.
        cgroup.enter()?;
        if stands(Wall::Cgroupns) {
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
        }
    }
    let null = open(
        c"/dev/null",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // Descriptor 0 was the worker's socket: no copy of it may stay in a jail.
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    drop(null);
    close_all_but(&[link])?;
    let places = hold_the_places()?;
    let children = SignalFd::with_flags(&told_of, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    if stands(Wall::Utsns) {
        sethostname("jail")?;
    }
    umask(Mode::from_bits_truncate(0o022));
    let root = Root::build(blueprint.root, blueprint.identity)?;
    set_dumpable(false)?;
    if stands(Wall::Caps) {
        drop_bounding_set()?;
    }
    let clean = CleanEnvironment::of(root.working_path())?;
    Ok(Built {
        children,
        places,
        root,
        clean,
        marks: Marks::new()?,
        listener: listen(blueprint.listener)?,
    })
}

/// The descriptor at which unknown calls wait, unless somebody outside listens: a container's runtime,
/// for example. The kernel allows one listener alone.
fn listen(filter: &[libc::sock_filter]) -> io::Result<Option<OwnedFd>> {
    match seccomp_listen(filter) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The link under a number above those that a harness will want.
fn above_the_places(link: &OwnedFd) -> io::Result<OwnedFd> {
    let [.., last] = SIDE_PLACES;
    Ok(fcntl_dupfd_cloexec(link, last.saturating_add(1))?)
}

/// Takes the numbers at which a harness finds its descriptors, so that nothing of ours ever has one
/// of them and the child of a run can put others there.
fn hold_the_places() -> io::Result<[OwnedFd; SIDE_DESCRIPTORS]> {
    let null = || {
        open(
            c"/dev/null",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    };
    // The lowest free number is what an open gets: nothing but the link is open above 2.
    let places = [null()?, null()?];
    let held = places.iter().map(AsRawFd::as_raw_fd).eq(SIDE_PLACES);
    if held {
        Ok(places)
    } else {
        Err(Errno::EBADFD.into())
    }
}

/// Default actions for everything, as pid 1 is protected by the kernel; ends of children will arrive
/// through a descriptor.
fn own_signals() -> io::Result<SigSet> {
    default_dispositions();
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_set_mask()?;
    Ok(children)
}

/// Maps one uid and one gid, which needs no privilege: the program will be that user inside.
pub(crate) fn map_one_user(identity: Identity, outer_uid: Uid, outer_gid: Gid) -> io::Result<()> {
    let (Identity::Leased { uid, gid } | Identity::Mapped { uid, gid }) = identity;
    // The map of a process that cannot be dumped belongs to root; `build` shuts this again.
    set_dumpable(true)?;
    put("/proc/self/setgroups", "deny")?;
    put("/proc/self/uid_map", &format!("{uid} {outer_uid} 1"))?;
    put("/proc/self/gid_map", &format!("{gid} {outer_gid} 1"))
}

fn put(path: &str, text: &str) -> io::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let written = nix::unistd::write(&file, text.as_bytes())?;
    if written == text.len() {
        Ok(())
    } else {
        Err(Errno::EIO.into())
    }
}
