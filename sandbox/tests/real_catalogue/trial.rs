//! One attack after the other in one slot, and what every single one must leave as it was.

use crate::catalogue::{AttackFile, Expect, KnownHole, Only};
use crate::fleet::Fleet;
use crate::job::{Job, Seen, bash, job};
use crate::programs::Programs;
use jailfleet::evidence::{Acted, End};
use jailfleet::limits::Limits;
use jailfleet::outcome::Outcome;
use jailfleet::verdict::{Judged, judge};
use jailfleet::wall::Wall;
use jailfleet_harness::noted;
use jailfleet_harness::requirement::{Requirement, found};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether a file that did not go wrong has proved anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It was run.
    Ran,
    /// It was not, aloud, since this machine lacks what it needs.
    NotHere,
}

/// A warden of one slot, replaced by a new one where an attack did harm.
pub(crate) struct Trial {
    fleet: Option<Fleet>,
    /// The warden's program and configuration, where they are not the usual ones.
    warden: Option<(PathBuf, &'static str)>,
}

impl Trial {
    pub(crate) fn start() -> Self {
        Self {
            fleet: None,
            warden: None,
        }
    }

    /// Behind another warden than the usual one.
    pub(crate) fn behind(warden: PathBuf, config: &'static str) -> Self {
        Self {
            fleet: None,
            warden: Some((warden, config)),
        }
    }

    fn new_fleet(&self) -> Fleet {
        match &self.warden {
            None => Fleet::start(1),
            Some((warden, config)) => {
                Fleet::behind(warden, tempfile::tempdir().expect("a folder"), 1, config)
            }
        }
    }

    /// Runs a program of the tests' own.
    pub(crate) fn control(&mut self, job: &Job<'_>) -> Seen {
        let mut fleet = self.fleet.take().unwrap_or_else(|| self.new_fleet());
        let seen = fleet.run(job);
        self.fleet = Some(fleet);
        seen
    }

    pub(crate) fn stop(self) {
        if let Some(fleet) = self.fleet {
            fleet.stop();
        }
    }

    /// Runs one file; the words that a person needs where it did not end as it must.
    pub(crate) fn run(&mut self, programs: &Programs, file: &AttackFile) -> Result<Proof, String> {
        let mut fleet = self.fleet.take().unwrap_or_else(|| self.new_fleet());
        if !is_meaningful(&fleet, file) {
            self.fleet = Some(fleet);
            return Ok(Proof::NotHere);
        }
        let attack = attack(&fleet, programs, file);
        let limits = fleet.limits_of(&attack);
        let (_, runtime) = fleet.runtime(attack.runtime);
        let program = runtime.program.clone();
        let seen = fleet.run(&attack);
        let judged = judge(&seen.evidence, &limits, &program);
        let mut wrong = misses(file, &judged, &seen);
        let open = file.hole.as_ref().filter(|hole| is_open(hole, &fleet));
        if let Some(hole) = open {
            // Whatever it could do to the slot, it shall do to no other file's.
            fleet.stop();
            return tell(hole, file, &wrong).map(|()| Proof::Ran);
        }
        wrong.extend(excesses(&seen, &limits));
        wrong.extend(harm(&mut fleet));
        if wrong.is_empty() {
            self.fleet = Some(fleet);
            return Ok(Proof::Ran);
        }
        let story = story(file, &wrong, &judged, &seen);
        // Said before the fleet is looked at, which may well panic after this.
        eprintln!("{story}");
        fleet.stop();
        Err(story)
    }
}

/// Says aloud why a file proves nothing here.
fn is_meaningful(fleet: &Fleet, file: &AttackFile) -> bool {
    let architecture = file.architecture.as_deref();
    let mut needs: Vec<(Requirement, bool)> = architecture
        .map(|name| (Requirement::X86, name == std::env::consts::ARCH))
        .into_iter()
        .collect();
    needs.extend(file.walls.iter().filter_map(|wall| {
        let holds = fleet.walls.holds(*wall);
        let requirement = may_be_missing(*wall);
        assert!(holds || requirement.is_some(), "{wall} holds on every host");
        requirement.map(|requirement| (requirement, holds))
    }));
    needs
        .into_iter()
        .all(|(requirement, met)| found(requirement, met, &noted_as(file)))
}

/// How a file that proves nothing here is noted: as a part of its test, which then has not all passed.
fn noted_as(file: &AttackFile) -> String {
    let (program, _) = module_path!().split_once("::").expect("this is a module");
    match only_test(std::env::args()) {
        Some(test) => format!("{program}::{test}: {}", file.name),
        None => format!("{program}: {}", file.name),
    }
}

/// The one test that this process was started for, as nextest and the guests start each of them; a
/// thread's name would not do, which is `main` where there is one thread for all tests.
fn only_test(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    arguments.find(|argument| argument == "--exact")?;
    let mut tests = arguments.filter(|argument| !argument.starts_with("--"));
    tests.next().filter(|_| tests.next().is_none())
}

/// What a host lacks that does not have this wall; nothing where every host has it.
const fn may_be_missing(wall: Wall) -> Option<Requirement> {
    match wall {
        Wall::CgroupMemory => Some(Requirement::CgroupMemory),
        // A namespace of cgroups is made where there are cgroups.
        Wall::CgroupPids | Wall::Cgroupns => Some(Requirement::CgroupPids),
        Wall::CgroupCpu => Some(Requirement::CgroupCpu),
        Wall::Landlock => Some(Requirement::Landlock),
        Wall::Apparmor => Some(Requirement::AppArmor),
        Wall::Uid | Wall::Userns => Some(Requirement::SlotUids),
        Wall::Rlimits
        | Wall::NoNewPrivs
        | Wall::Descriptors
        | Wall::Caps
        | Wall::Pidns
        | Wall::Mountns
        | Wall::Netns
        | Wall::Ipcns
        | Wall::Utsns
        | Wall::Root
        | Wall::Scratch
        | Wall::Seccomp => None,
    }
}

fn attack(fleet: &Fleet, programs: &Programs, file: &AttackFile) -> Job<'static> {
    let (runtime, code) = programs.main_file(file);
    let (_, configured) = fleet.runtime(runtime);
    let asked = file.limits.over(&configured.limits, &configured.ceiling);
    let asked = asked.unwrap_or_else(|refused| panic!("{}: {refused:?}", file.name));
    job(runtime, code).limits(move |limits| *limits = asked)
}

/// Where a hole is open, its file has to show it.
fn is_open(hole: &KnownHole, fleet: &Fleet) -> bool {
    match hole.only {
        Only::Everywhere => true,
        Only::InUserNamespaces => !fleet.walls.holds(Wall::Uid),
        Only::InUserNamespacesBeforeLandlock3 => {
            !fleet.walls.holds(Wall::Uid) && jailfleet_sandbox::landlock::abi() < 3
        }
        // A profile closes it there, too.
        Only::BeforeMemfdNoexec => {
            !Path::new("/proc/sys/vm/memfd_noexec").exists() && !fleet.walls.holds(Wall::Apparmor)
        }
    }
}

/// A hole is said aloud each time; one that is closed must not stay marked.
fn tell(hole: &KnownHole, file: &AttackFile, wrong: &[String]) -> Result<(), String> {
    if wrong.is_empty() {
        let reason = &hole.reason;
        return Err(format!(
            "{}: it holds now, take its known_hole away ({reason})\n",
            file.name
        ));
    }
    noted::tell(&format!("known hole: {}: {}", file.name, hole.reason));
    Ok(())
}

/// What the header says and the run did not do.
fn misses(file: &AttackFile, judged: &Judged, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let as_expected = match file.expect {
        Expect::Exited(code) => judged.outcome == Outcome::Exited && judged.exit_code == Some(code),
        Expect::Signaled(signal) => {
            judged.outcome == Outcome::Signaled && judged.signal == Some(signal)
        }
        Expect::CpuLimit => judged.outcome == Outcome::CpuLimit,
        Expect::WallLimit => judged.outcome == Outcome::WallLimit,
        Expect::MemoryLimit => judged.outcome == Outcome::MemoryLimit,
        Expect::OutputLimit => judged.outcome == Outcome::OutputLimit,
    };
    if !as_expected {
        wrong.push(format!("it must end as {:?}", file.expect));
    }
    let line = seen.stdout.strip_suffix(b"\n").unwrap_or(&seen.stdout);
    if let Some(expected) = file.stdout.as_deref().filter(|expected| *expected != line) {
        let expected = String::from_utf8_lossy(expected);
        wrong.push(format!("it must print {expected:?}"));
    }
    wrong
}

/// How late a limit may act on a busy machine; the tests of the clocks themselves are stricter.
const LATE: Duration = Duration::from_millis(1500);
/// What the cgroup counts beyond the program: the init, and pages that came in before the limit.
const BEYOND_MEMORY: u64 = 8 << 20;

/// Whatever an attack does, it gets no more than its limits.
fn excesses(seen: &Seen, limits: &Limits) -> Vec<String> {
    let evidence = &seen.evidence;
    let mut wrong = Vec::new();
    if evidence.wall > limits.wall_ms.duration() + LATE {
        wrong.push(format!("it had {:?} of wall time", evidence.wall));
    }
    // Where nobody counts for the whole tree, only the wall time bounds what all of it burns.
    if evidence.acted == Some(Acted::Cpu) && evidence.cpu > limits.cpu_ms.duration() + LATE {
        wrong.push(format!("it had {:?} of CPU time", evidence.cpu));
    }
    let peak = evidence.processes_peak;
    if let Some(peak) = peak.filter(|peak| *peak > limits.processes.get()) {
        wrong.push(format!("it had {peak} tasks"));
    }
    let most = limits.memory_bytes.get() + BEYOND_MEMORY;
    if let Some(peak) = evidence.peak_memory_bytes.filter(|peak| *peak > most) {
        wrong.push(format!("it had {peak} bytes of memory"));
    }
    wrong
}

/// What an attack left, or broke for the run after it.
fn harm(fleet: &mut Fleet) -> Vec<String> {
    let mut wrong = Vec::new();
    if fleet.quarantined > 0 {
        wrong.push("the slot had to be replaced".to_owned());
    }
    if fleet.walls.holds(Wall::Uid) && fleet.has_processes() {
        wrong.push("a process with the slot's uid is left".to_owned());
    }
    let next = fleet.run(&bash("echo as before; ls -A tmp /dev/shm"));
    let as_before = "as before\n/dev/shm:\n\ntmp:\n";
    if next.evidence.end != End::Exited(0) || next.out() != as_before {
        wrong.push(format!("the next run ended so: {next:?}"));
    }
    wrong
}

fn story(file: &AttackFile, wrong: &[String], judged: &Judged, seen: &Seen) -> String {
    let shown = |text: String| text.chars().take(2000).collect::<String>();
    format!(
        "{}: {}\n  judged: {judged:?}\n  evidence: {:?}\n  stdout: {:?}\n  stderr: {:?}\n",
        file.name,
        wrong.join("; "),
        seen.evidence,
        shown(seen.out()),
        shown(seen.err()),
    )
}
