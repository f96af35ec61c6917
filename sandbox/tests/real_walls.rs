//! What each wall is worth: with that one wall taken down, the attacks that it alone stops must succeed.
//! Where none does, the table says what else stands in their way, and that is looked at, too. What each wall
//! was worth is told in the account of the run.
//!
//! `JAILFLEET_WALLS_SEARCH=landlock` makes the test go through the whole catalogue without that wall
//! instead, and print what gets through.

#[path = "support/catalogue.rs"]
mod catalogue;
#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "real_catalogue/programs.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod programs;
#[path = "real_catalogue/trial.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod trial;
#[path = "real_walls/sweep.rs"]
mod sweep;

use catalogue::AttackFile;
use fleet::Fleet;
use jailfleet::evidence::{End, Stage};
use jailfleet::wall::Wall;
use jailfleet_harness::noted::tell;
use jailfleet_harness::require;
use jailfleet_sandbox::without::why_never;
use job::{bash, job, python};
use programs::Programs;
use std::path::PathBuf;
use trial::{Proof, Trial};

/// What comes of it when a wall is down.
enum Worth {
    /// These attacks succeed: it alone stops them.
    Alone(&'static [&'static str]),
    /// The same, and where the kernel enforces AppArmor a profile stops them as well.
    AloneButProfiles(&'static [&'static str]),
    /// None of those that name it succeeds, for this reason.
    Backed(&'static str),
    /// No program starts at all: this stage fails.
    NothingStarts(Stage),
    /// One jail finds what another one left.
    TwoSlots,
    /// Only some kernels could show it; the test below that says so where it cannot.
    Apart(&'static str),
    /// No test takes it down; `without.rs` says why.
    Never,
}

const TABLE: &[(Wall, Worth)] = &[
    (
        Wall::Rlimits,
        Worth::Alone(&[
            "007_raises_its_limits.py",
            "012_storm_of_timers.c",
            "020_pipes_and_sockets_full_of_bytes.py",
            "021_floods_of_descriptors.c",
            "022_locks_memory.c",
            "055_one_huge_file.py",
        ]),
    ),
    (Wall::NoNewPrivs, Worth::NothingStarts(Stage::Landlock)),
    (
        Wall::Descriptors,
        Worth::Backed("whatever warden and init open closes by itself at the exec"),
    ),
    (Wall::Uid, Worth::Alone(&["091_has_no_privilege.py"])),
    (Wall::Caps, Worth::Alone(&["091_has_no_privilege.py"])),
    (Wall::Userns, Worth::Never),
    (Wall::Pidns, Worth::Never),
    (Wall::Mountns, Worth::Never),
    (
        Wall::Netns,
        Worth::AloneButProfiles(&["096_reads_the_hosts_network.py"]),
    ),
    (Wall::Ipcns, Worth::TwoSlots),
    (Wall::Utsns, Worth::Alone(&["108_names_of_the_host.py"])),
    (
        Wall::Cgroupns,
        Worth::Alone(&["103_looks_for_other_processes.py"]),
    ),
    (Wall::Root, Worth::Never),
    (
        Wall::Scratch,
        Worth::Alone(&["055_one_huge_file.py", "056_many_small_files.py"]),
    ),
    (
        Wall::CgroupMemory,
        Worth::Alone(&[
            "015_touches_memory.py",
            "016_huge_static_array.c",
            "017_files_of_the_scratch.py",
            "017_memory_behind_a_descriptor.py",
            "017_shared_anonymous_memory.py",
            "018_system_v_memory.c",
            "019_page_tables.c",
            "025_child_dies_of_memory_and_parent_says_well.py",
            "026_small_program_fills_the_scratch.c",
        ]),
    ),
    (
        Wall::CgroupPids,
        Worth::Alone(&["029_thread_bomb.c", "032_flood_of_zombies.c"]),
    ),
    (
        Wall::CgroupCpu,
        Worth::Alone(&["003_children_burn_together.sh"]),
    ),
    (
        Wall::Apparmor,
        Worth::Apart("apparmor_alone_keeps_a_lock_of_one_jail_from_another"),
    ),
    (
        Wall::Landlock,
        Worth::AloneButProfiles(&[
            "026_lowers_its_oom_score.py",
            "038_descriptors_of_the_init.py",
            "072_reads_the_hosts_files.py",
            "079_turns_the_kernels_knobs.py",
        ]),
    ),
    (
        Wall::Seccomp,
        Worth::Alone(&[
            "013_takes_a_better_priority.py",
            "037_looks_into_others.c",
            "076_changes_mounts.c",
            "084_makes_namespaces.c",
            "086_calls_at_the_surface.c",
            "091_lifts_its_own_walls.c",
            "095_makes_sockets.py",
        ]),
    ),
];

/// No profile is entered, also where the kernel has them.
const NO_PROFILES: &str = "
warden.apparmor = \"\"
runtimes.bash.apparmor = \"\"
runtimes.native.apparmor = \"\"
runtimes.node.apparmor = \"\"
runtimes.python.apparmor = \"\"
";

const SEARCH: &str = "JAILFLEET_WALLS_SEARCH";

/// A warden without this wall: its own name says which.
fn warden(folder: &tempfile::TempDir, wall: Wall) -> PathBuf {
    let name = format!("jailfleet-warden-without-{wall}");
    let path = folder.path().join(name);
    let program = env!("CARGO_BIN_EXE_jailfleet-warden-without");
    std::os::unix::fs::symlink(program, &path).expect("a new name");
    path
}

/// What came of attacks without a wall.
#[derive(Default)]
struct Without<'a> {
    /// Those that succeed.
    broken: Vec<&'a str>,
    /// How many ran at all.
    ran: usize,
}

/// Runs these files' attacks without this wall, after plain programs that must do well without it: where
/// nothing works any more, every attack would seem to succeed.
fn without<'a>(
    wall: Wall,
    config: &'static str,
    programs: &'a Programs,
    wanted: impl Fn(&AttackFile) -> bool,
) -> Result<Without<'a>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trial = Trial::behind(warden(&folder, wall), config);
    let controls = [
        python("print('up')"),
        bash("echo up"),
        job("native", "#!/bin/sh\necho up\n"),
    ];
    for control in &controls {
        let seen = trial.control(control);
        if seen.evidence.end != End::Exited(0) || seen.out() != "up\n" {
            trial.stop();
            return Err(format!(
                "a plain {} fails without it: {seen:?}",
                control.runtime
            ));
        }
    }
    let mut without = Without::default();
    let files = programs.of(&(1..=catalogue::ITEMS));
    for file in files.filter(|file| wanted(file)) {
        match trial.run(programs, file) {
            Ok(Proof::NotHere) => continue,
            Ok(Proof::Ran) => {}
            Err(_) => without.broken.push(file.name.as_str()),
        }
        without.ran += 1;
    }
    trial.stop();
    Ok(without)
}

fn fleet_without(wall: Wall, slots: usize, config: &str) -> Fleet {
    let folder = tempfile::tempdir().expect("a folder");
    let state = tempfile::tempdir().expect("a folder");
    Fleet::behind(&warden(&folder, wall), state, slots, config)
}

/// The jail's child raises its score. Where it does so with CAP_SYS_RESOURCE, as root of a whole machine has
/// it and root of a container does not, the kernel itself lets nobody without it lower the score again.
const PINNED_BY_ROOT: &str = "026_lowers_its_oom_score.py";

fn has_sys_resource() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").expect("our own");
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = u64::from_str_radix(effective.expect("a line"), 16).expect("a mask");
    effective & SYS_RESOURCE != 0
}

/// All of these attacks must succeed without this wall.
fn alone(
    wall: Wall,
    config: &'static str,
    programs: &Programs,
    names: &[&str],
) -> Result<String, String> {
    let wanted = |file: &AttackFile| names.contains(&file.name.as_str());
    let found = without(wall, config, programs, wanted)?.broken;
    let pinned = has_sys_resource();
    let may = |name: &&str| !(pinned && *name == PINNED_BY_ROOT);
    let must = names.iter().copied().filter(may);
    let held: Vec<&str> = must.filter(|name| !found.contains(name)).collect();
    if held.is_empty() {
        Ok(found.join(" "))
    } else {
        Err(format!("{held:?} are stopped without it, too"))
    }
}

/// None of these attacks may succeed without this wall, since profiles stop them, too.
fn held_by_profiles(wall: Wall, programs: &Programs, names: &[&str]) -> Result<(), String> {
    let wanted = |file: &AttackFile| names.contains(&file.name.as_str());
    let Without { broken, ran } = without(wall, "", programs, wanted)?;
    if broken.is_empty() && ran == names.len() {
        Ok(())
    } else {
        Err(format!("{broken:?} of {ran} get past the profiles"))
    }
}

/// Looks at one row; what is written into the table of the report, or what is wrong.
fn look(wall: Wall, worth: &Worth, programs: &Programs) -> Result<String, String> {
    match worth {
        Worth::Alone(names) => alone(wall, "", programs, names),
        Worth::AloneButProfiles(names) => {
            if jailfleet_sandbox::apparmor::enforced() {
                held_by_profiles(wall, programs, names)?;
            }
            alone(wall, NO_PROFILES, programs, names)
        }
        Worth::Backed(reason) => {
            let Without { broken, ran } =
                without(wall, "", programs, |file| file.walls.contains(&wall))?;
            match (ran, broken.is_empty()) {
                (0, _) => Err("no file that names it ran".to_owned()),
                (_, true) => Ok(format!("nothing: {reason}")),
                (_, false) => Err(format!("it alone stops {broken:?}: the table must say so")),
            }
        }
        Worth::NothingStarts(stage) => {
            let mut fleet = fleet_without(wall, 1, "");
            let end = fleet.run(&python("print('started')")).evidence.end;
            fleet.stop();
            match end {
                End::StageFailed { stage: failed, .. } if failed == *stage => {
                    Ok(format!("everything: {stage:?} fails without it"))
                }
                End::Exited(_)
                | End::Signaled(_)
                | End::StageFailed { .. }
                | End::Lost
                | End::Unstarted => Err(format!("a run ended with {end:?}")),
            }
        }
        Worth::TwoSlots => between_two_slots(wall),
        Worth::Apart(test) => Ok(format!("a test of its own: {test}")),
        Worth::Never => why_never(wall)
            .map(|reason| format!("never taken down: {reason}"))
            .ok_or_else(|| "it can be taken down: the table must say what comes of it".to_owned()),
    }
}

/// What one jail leaves and another one finds; it is the host's own then, so the finder removes it.
fn between_two_slots(wall: Wall) -> Result<String, String> {
    let mut fleet = fleet_without(wall, 2, "");
    let key = std::process::id();
    let libc = "import ctypes\nlibc = ctypes.CDLL(None)\n";
    let leave = format!("{libc}print(libc.shmget({key}, 4096, 0o1666) >= 0)");
    let left = fleet.run_in(0, &python(&leave));
    // A segment belongs to the first slot's uid: the second one may look at it, and not remove it.
    let look = format!("{libc}print(libc.shmget({key}, 0, 0) >= 0)");
    let found = fleet.run_in(1, &python(&look));
    let remove = format!("{libc}print(libc.shmctl(libc.shmget({key}, 0, 0), 0, None))");
    let removed = fleet.run_in(0, &python(&remove));
    fleet.stop();
    let words = [left.out(), found.out(), removed.out()];
    match words.each_ref().map(String::as_str) {
        ["True\n", "True\n", "0\n"] => Ok("System V memory of another slot".to_owned()),
        _ => Err(format!("System V memory: {words:?}")),
    }
}

#[test]
fn each_wall_alone_stops_what_the_table_says() {
    // What a plain user's jails lack, and what a cgroup would count, is not seen without root.
    require!(Root);
    let programs = Programs::find();
    let search = std::env::var(SEARCH).ok();
    if let Some(wall) = search.and_then(|name| Wall::parse(&name)) {
        let found = without(wall, "", &programs, |_| true).map(|without| without.broken);
        return eprintln!("{wall}: {found:?}");
    }
    let mut wrong = Vec::new();
    for (wall, worth) in TABLE {
        match look(*wall, worth, &programs) {
            Ok(alone) => tell(&format!("the wall {wall} alone stops: {alone}")),
            Err(words) => wrong.push(format!("{wall}: {words}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a run sees of a lock that a neighbour holds on a program of the system.
fn lock_of_a_neighbour(mut fleet: Fleet) -> String {
    let open = "import fcntl\nshared = open('/usr/bin/python3', 'rb')\n";
    let take = format!(
        "{open}import signal
try: fcntl.flock(shared, fcntl.LOCK_EX); print('taken', flush=True)
except PermissionError: print('refused', flush=True)
signal.pause()"
    );
    let going = fleet.order(1, &python(&take));
    fleet.wait_for_output(&going);
    let look = format!(
        "{open}
try: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')
except PermissionError: print('refused')
except BlockingIOError: print('seen')"
    );
    let seen = fleet.run(&python(&look));
    let stayed = fleet.cancel(going);
    fleet.stop();
    format!("{}{}", stayed.out(), seen.out())
}

#[test]
fn apparmor_alone_keeps_a_lock_of_one_jail_from_another() {
    require!(Root, AppArmor);
    let fleet = Fleet::start(2);
    assert_eq!(lock_of_a_neighbour(fleet), "refused\nrefused\n");
    // A warden in its own profile would give it to the jails that enter none, and no program may be
    // executed in that one.
    let config = "warden.apparmor = \"\"\n";
    let fleet = fleet_without(Wall::Apparmor, 2, config);
    assert_eq!(lock_of_a_neighbour(fleet), "taken\nseen\n");
}

#[test]
fn every_wall_of_the_closed_list_has_one_row() {
    let walls: Vec<Wall> = TABLE.iter().map(|(wall, _)| *wall).collect();
    assert_eq!(walls, Wall::ALL);
}

#[test]
fn a_wall_that_must_stand_cannot_be_taken_down_by_any_name() {
    for wall in Wall::ALL.iter().filter(|wall| why_never(**wall).is_some()) {
        let refused = jailfleet_sandbox::without::take_down(*wall);
        assert_eq!(refused, Err(*wall));
    }
}
