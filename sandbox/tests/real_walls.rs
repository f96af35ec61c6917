//! What each wall is worth: with that one wall taken down, the attacks that it alone stops must succeed.
//! Where none does, the table says what else stands in their way, and that is looked at, too.
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

use catalogue::AttackFile;
use fleet::Fleet;
use jailfleet::evidence::{End, Stage};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use jailfleet_sandbox::without::why_never;
use job::python;
use programs::Programs;
use std::path::PathBuf;
use trial::Trial;

/// What comes of it when a wall is down.
enum Worth {
    /// These attacks succeed: it alone stops them.
    Alone(&'static [&'static str]),
    /// None of those that name it succeeds, for this reason.
    Backed(&'static str),
    /// No program starts at all: this stage fails.
    NothingStarts(Stage),
    /// One jail finds what another one left.
    TwoSlots,
    /// Only a kernel that enforces AppArmor could show it; where that is shown.
    Elsewhere(&'static str),
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
        Worth::Alone(&["096_reads_the_hosts_network.py"]),
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
        Worth::Elsewhere("locks on files of the system, `closed_by` in real_leaks/traces.rs"),
    ),
    (
        Wall::Landlock,
        Worth::Alone(&[
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

const SEARCH: &str = "JAILFLEET_WALLS_SEARCH";

/// A warden without this wall: its own name says which.
fn warden(folder: &tempfile::TempDir, wall: Wall) -> PathBuf {
    let name = format!("jailfleet-warden-without-{wall}");
    let path = folder.path().join(name);
    let program = env!("CARGO_BIN_EXE_jailfleet-warden-without");
    std::os::unix::fs::symlink(program, &path).expect("a new name");
    path
}

/// The names of these files' attacks that succeed without this wall.
fn broken(wall: Wall, programs: &Programs, wanted: impl Fn(&AttackFile) -> bool) -> Vec<&str> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trial = Trial::behind(warden(&folder, wall));
    let mut broken = Vec::new();
    let files = programs.of(&(1..=catalogue::ITEMS));
    for file in files.filter(|file| wanted(file)) {
        if trial.run(programs, file).is_err() {
            broken.push(file.name.as_str());
        }
    }
    trial.stop();
    broken
}

fn fleet_without(wall: Wall, slots: usize) -> Fleet {
    let folder = tempfile::tempdir().expect("a folder");
    let state = tempfile::tempdir().expect("a folder");
    Fleet::behind(&warden(&folder, wall), state, slots, "")
}

/// Looks at one row; what is written into the table of the report, or what is wrong.
fn look(wall: Wall, worth: &Worth, programs: &Programs) -> Result<String, String> {
    match worth {
        Worth::Alone(names) => {
            let found = broken(wall, programs, |file| names.contains(&file.name.as_str()));
            let held = names.iter().filter(|name| !found.contains(name));
            let held: Vec<&&str> = held.collect();
            if held.is_empty() {
                Ok(found.join(" "))
            } else {
                Err(format!("{held:?} are stopped without it, too"))
            }
        }
        Worth::Backed(reason) => {
            let found = broken(wall, programs, |file| file.walls.contains(&wall));
            if found.is_empty() {
                Ok(format!("nothing: {reason}"))
            } else {
                Err(format!("it alone stops {found:?}: the table must say so"))
            }
        }
        Worth::NothingStarts(stage) => {
            let mut fleet = fleet_without(wall, 1);
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
        Worth::Elsewhere(place) => Ok(format!("not looked at here: {place}")),
        Worth::Never => why_never(wall)
            .map(|reason| format!("never taken down: {reason}"))
            .ok_or_else(|| "it can be taken down: the table must say what comes of it".to_owned()),
    }
}

/// What one jail leaves and another one finds; it is the host's own then, so the finder removes it.
fn between_two_slots(wall: Wall) -> Result<String, String> {
    let mut fleet = fleet_without(wall, 2);
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
        return eprintln!("{wall}: {:?}", broken(wall, &programs, |_| true));
    }
    let mut report = String::new();
    let mut wrong = Vec::new();
    for (wall, worth) in TABLE {
        match look(*wall, worth, &programs) {
            Ok(alone) => report += &format!("| {wall} | {alone} |\n"),
            Err(words) => wrong.push(format!("{wall}: {words}")),
        }
    }
    eprintln!("| wall | what it alone stops |\n|---|---|\n{report}");
    assert!(wrong.is_empty(), "{wrong:#?}");
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
