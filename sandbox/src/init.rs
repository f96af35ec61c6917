//! A slot's init: pid 1 of its namespaces, and the only process that forks in them.
//!
//! It is a fork of the warden that never executes anything. It makes the private root, then serves
//! one run after the other: fork the child, wait, kill what is left, tell, clean the scratch. It
//! ends when its socket does, and the kernel kills everything in its pid namespace with it.

mod build;
mod collect;
mod watch;

use crate::jail;
use crate::launch::{CleanEnvironment, room_for_arguments, room_for_environment};
use crate::link::{Command, Word};
use crate::marks::Marks;
use crate::protocol::{DATAGRAM_BYTES, Residue, RunDescriptors, SIDE_DESCRIPTORS};
use crate::rlimits::Rlimits;
use crate::root::Root;
use crate::sys::clone::{Cloned, clone_process};
use crate::sys::exec::exit_now;
use crate::sys::map::Mapping;
use crate::sys::message::receive;
use jailfleet::evidence::{End, Stage};
use jailfleet::limits::Limits;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::pipe2;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub(crate) use build::map_one_user;
pub use build::{Blueprint, HeldBy, become_init};

/// How many runs an init serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Any number: the warden proves the slot clean by its leased uid.
    ManyRuns,
    /// One: without a uid of its own, only the end of the pid namespace proves a slot clean.
    OneRun,
}

/// A standing init.
struct Init<'a> {
    blueprint: &'a Blueprint<'a>,
    link: OwnedFd,
    children: SignalFd,
    root: Root,
    /// Hold the numbers at which a harness finds its descriptors.
    places: [OwnedFd; SIDE_DESCRIPTORS],
    clean: CleanEnvironment,
    ruleset: Option<(u16, OwnedFd)>,
    marks: Marks,
    /// Where calls that the policy does not name wait for an answer. `None` where somebody outside
    /// listens already: then they fail without one.
    listener: Option<OwnedFd>,
}

/// One run, as it was ordered.
struct Order {
    run: u64,
    runtime: u16,
    limits: Limits,
    fds: RunDescriptors,
}

impl Init<'_> {
    /// Serves runs until the warden is gone.
    fn serve(mut self) -> ! {
        loop {
            match self.next_order() {
                Ok(Some(order)) => self.serve_one(order),
                Ok(None) | Err(_) => exit_now(0),
            }
            if self.blueprint.service == Service::OneRun {
                exit_now(0);
            }
        }
    }

    /// Waits for the next run; `None` when the warden is gone.
    fn next_order(&self) -> io::Result<Option<Order>> {
        loop {
            let mut waits = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut bytes = [0; DATAGRAM_BYTES];
            let message = match receive(self.link.as_fd(), &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            if message.length == 0 {
                return Ok(None);
            }
            let bytes = bytes.get(..message.length).unwrap_or_default();
            let command = Command::decode(bytes).map_err(io::Error::other)?;
            match command {
                Command::Run {
                    run,
                    runtime,
                    limits,
                    extras,
                } => {
                    let fds = RunDescriptors::of(extras, message.fds);
                    return Ok(Some(Order {
                        run,
                        runtime,
                        limits,
                        fds: fds.ok_or(io::ErrorKind::InvalidData)?,
                    }));
                }
                // A kill that came after its run had ended.
                Command::Kill { .. } => {}
                // Nothing is left of the run that it speaks of.
                Command::Collect { .. } => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn serve_one(&mut self, mut order: Order) {
        let run = order.run;
        let artifacts = order.fds.artifacts.take();
        self.marks.begin();
        let before = watch::children_usage();
        let told = match self.start(order) {
            Ok(child) => self.watch(run, child),
            Err((stage, error)) => {
                let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                watch::Ending::without_a_program(End::StageFailed { stage, errno })
            }
        };
        let (user, system) = watch::children_usage().since(before);
        let watch::Ending {
            end,
            wall,
            unknown_calls,
        } = told;
        self.say(&Word::Ended {
            run,
            end,
            user,
            system,
            wall,
            unknown_calls,
        });
        if let Some(artifacts) = artifacts {
            self.wait_for_the_word(run);
            match end {
                End::Exited(_) | End::Signaled(_) => self.bring_out(artifacts),
                // What lies there is what we began to unpack.
                End::StageFailed { .. } | End::Lost | End::Unstarted => drop(artifacts),
            }
        }
        if self.blueprint.service == Service::OneRun {
            return;
        }
        match self.clean() {
            Ok(()) => self.say(&Word::Cleaned { run }),
            Err((residue, error)) => {
                let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                self.say(&Word::Unclean {
                    run,
                    residue,
                    errno,
                });
            }
        }
    }

    /// Forks the child of one run.
    fn start(&mut self, order: Order) -> Result<watch::Child, (Stage, io::Error)> {
        let namespaces = |error| (Stage::Namespaces, error);
        let launch = self.blueprint.launch(order.runtime).map_err(namespaces)?;
        self.root
            .prepare(launch, &order.limits)
            .map_err(namespaces)?;
        let ruleset = self
            .ruleset_for(order.runtime)
            .map_err(|error| (Stage::Landlock, error))?;
        let fork = |error: io::Error| (Stage::Fork, error);
        let rlimits = Rlimits::of(&order.limits, self.blueprint.tasks, self.blueprint.memory);
        let [payload, stdin, stdout, stderr] = &order.fds.run;
        let payload = map_payload(payload).map_err(fork)?;
        let side = order.fds.side.as_ref().map(|[given, answer]| jail::Side {
            from: [given.as_fd(), answer.as_fd()],
            places: &mut self.places,
        });
        let run = jail::Run {
            launch,
            clean: &self.clean,
            identity: self.blueprint.identity,
            rlimits: &rlimits,
            cwd: self.root.working_directory(),
            stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            side,
            payload: &payload,
            ruleset: ruleset.as_ref().map(AsFd::as_fd),
            filter: match self.listener {
                Some(_) => self.blueprint.filter,
                None => self.blueprint.filter_alone,
            },
            argv: room_for_arguments(launch),
            env: room_for_environment(launch),
            marks: &self.marks,
        };
        self.root.number_processes_anew().map_err(namespaces)?;
        self.marks.note(Stage::Namespaces);
        let (told, failure) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| fork(errno.into()))?;
        match clone_process(0, None).map_err(fork)? {
            Cloned::Child => jail::walk(run, failure.as_fd()),
            Cloned::Parent { pid, pidfd: _ } => {
                drop(failure);
                self.ruleset = ruleset.map(|ruleset| (order.runtime, ruleset));
                Ok(watch::Child {
                    pid,
                    told: Some(told),
                })
            }
        }
    }

    /// The ruleset made ahead, or a new one when this is not the runtime that ran last.
    fn ruleset_for(&mut self, runtime: u16) -> io::Result<Option<OwnedFd>> {
        match self.ruleset.take() {
            Some((of, ruleset)) if of == runtime => Ok(Some(ruleset)),
            _ => self.make_ruleset(runtime),
        }
    }

    fn make_ruleset(&self, runtime: u16) -> io::Result<Option<OwnedFd>> {
        let launch = self.blueprint.launch(runtime)?;
        crate::landlock::ruleset(launch, self.root.working_path())
    }

    /// A new scratch, and all that depends on it, for the run to come.
    fn clean(&mut self) -> Result<(), (Residue, io::Error)> {
        let scratch = |error| (Residue::Scratch, error);
        let last = self.ruleset.take().map(|(runtime, _)| runtime);
        self.root.replace_scratch().map_err(scratch)?;
        crate::sweep::no_ipc_left().map_err(|error| (Residue::Ipc, error))?;
        self.clean =
            CleanEnvironment::of(self.root.working_path()).map_err(|nul| scratch(nul.into()))?;
        if let Some(runtime) = last {
            let ruleset = self.make_ruleset(runtime).map_err(scratch)?;
            self.ruleset = ruleset.map(|ruleset| (runtime, ruleset));
        }
        Ok(())
    }

    fn say(&self, word: &Word) {
        if crate::client::send_datagram(self.link.as_fd(), &word.encode(), &[]).is_err() {
            // Without its warden an init has nothing to guard: its end kills the jail.
            exit_now(1);
        }
    }
}

fn map_payload(payload: &OwnedFd) -> io::Result<Mapping> {
    let size = nix::sys::stat::fstat(payload)?.st_size;
    Mapping::of_sealed(payload.as_fd(), usize::try_from(size).unwrap_or(0))
}
