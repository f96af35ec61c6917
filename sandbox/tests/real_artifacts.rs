//! What a run leaves is brought out of a real jail, however it was left: nothing hangs, nothing escapes,
//! and the slot takes the next run as if nothing had been.
#![expect(
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly should fail there"
)]

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
mod job;
#[path = "support/plain.rs"]
mod plain;
#[path = "real_artifacts/hostile.rs"]
mod hostile;
#[path = "real_artifacts/waits.rs"]
mod waits;
#[path = "real_artifacts/collector.rs"]
mod collector;

use fleet::Fleet;
use jailfleet::evidence::{Acted, End};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Millis};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use job::{Job, Seen, bash, file, python};

/// Runs a job, and sees that the slot is as it was.
fn survive(job: &Job<'_>) -> Seen {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(job);
    fleet.is_unharmed();
    fleet.stop();
    seen
}

/// What came, as `path=content`, and what was left out, as `path: reason`.
fn told(seen: &Seen) -> Vec<String> {
    let came = seen.gathered.artifacts.iter().map(|artifact| {
        let content = String::from_utf8_lossy(artifact.content.as_bytes()).into_owned();
        let executable = if artifact.executable { "*" } else { "" };
        format!("{}{executable}={content}", artifact.path)
    });
    let left_out = seen.gathered.left_out.iter();
    let left_out = left_out.map(|one| format!("{}: {}", one.path, one.reason.as_str()));
    came.chain(left_out).collect()
}

#[test]
fn files_and_trees_come_out_of_a_jail_and_so_do_the_jobs_own_files() {
    let code = "mkdir -p tmp/out/a tmp/empty; printf 1 >tmp/report.json; printf 2 >tmp/out/b\n\
                printf 3 >tmp/out/a/c; chmod 700 tmp/out/b; printf 4 >/dev/shm/elsewhere; exit 7";
    let job = Job {
        files: vec![file("data/in.txt", "own")],
        ..bash(code)
    };
    let wanted = [
        "tmp/report.json",
        "tmp/out/",
        "data/",
        "tmp/empty/",
        "tmp/no",
        "main.sh",
    ];
    let seen = survive(&job.wanting(&wanted));
    assert_eq!(seen.evidence.end, End::Exited(7), "{}", seen.err());
    let expected = [
        "tmp/report.json=1".to_owned(),
        "tmp/out/a/c=3".to_owned(),
        "tmp/out/b*=2".to_owned(),
        "data/in.txt=own".to_owned(),
        format!("main.sh={code}"),
        "tmp/empty/: empty".to_owned(),
        "tmp/no: missing".to_owned(),
    ];
    assert_eq!(told(&seen), expected);
}

#[test]
fn a_program_with_a_writable_folder_leaves_files_beside_its_own() {
    let config = "[runtimes.bash]\ncwd = \"writable\"\n";
    let mut fleet = Fleet::configured(1, config);
    let job = bash("echo x >report; mkdir d; echo y >d/e").wanting(&["report", "d/"]);
    assert_eq!(told(&fleet.run(&job)), ["report=x\n", "d/e=y\n"]);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn what_was_written_before_a_limit_comes_too_and_the_limit_is_the_outcome() {
    let mut fleet = Fleet::start(1);
    let sleeper = bash("echo partial >tmp/log; sleep 60").limits(|limits| {
        limits.wall_ms = Millis::new(300).expect("above zero");
    });
    let seen = fleet.run(&sleeper.wanting(&["tmp/log", "tmp/report"]));
    assert_eq!(seen.evidence.acted, Some(Acted::Wall));
    assert_eq!(told(&seen), ["tmp/log=partial\n", "tmp/report: missing"]);
    let flood = bash("echo partial >tmp/log; cat /dev/zero").wanting(&["tmp/log"]);
    let seen = fleet.run(&flood);
    assert_eq!(seen.evidence.acted, Some(Acted::Output));
    assert_eq!(told(&seen), ["tmp/log=partial\n"]);
    let spinner = python("open('tmp/log', 'w').write('x')\nwhile True: pass").limits(|limits| {
        limits.cpu_ms = Millis::new(200).expect("above zero");
    });
    let seen = fleet.run(&spinner.wanting(&["tmp/log"]));
    assert_eq!(told(&seen), ["tmp/log=x"]);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_run_that_took_all_its_memory_for_files_still_gets_them() {
    // What it has beside its files is as good as nothing: its end makes no room.
    let fill = "printf 'made it' >tmp/report; exec dd if=/dev/zero of=/dev/shm/full bs=4k";
    let limits = |limits: &mut Limits| {
        limits.memory_bytes = ByteCount::new(64 << 20).expect("above zero");
        limits.disk_bytes = ByteCount::new(128 << 20).expect("above zero");
        limits.file_bytes = jailfleet::units::FileBytes::new(128 << 20);
    };
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let seen = fleet.run(&bash(fill).limits(limits).wanting(&["tmp/report"]));
    assert!(seen.evidence.oom_kills > 0, "{:?}", seen.evidence);
    assert_eq!(told(&seen), ["tmp/report=made it"], "{}", seen.err());
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn where_no_program_ran_everything_is_lost_and_nothing_waits() {
    let mut fleet = Fleet::start(1);
    // The scratch has no room for its own file.
    let job = Job {
        files: vec![file("large", &"x".repeat(100_000))],
        ..bash("echo never")
    };
    let small = job.limits(|limits| limits.disk_bytes = ByteCount::new(4096).expect("above zero"));
    let seen = fleet.run(&small.wanting(&["large", "tmp/"]));
    assert!(
        matches!(seen.evidence.end, End::StageFailed { .. }),
        "{:?}",
        seen.evidence
    );
    // The worker, which knows that nothing ran, does not even look.
    assert_eq!(seen.gathered.left_out.len(), 2, "{:?}", told(&seen));
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_plain_users_jails_bring_out_the_same() {
    // It becomes a plain user, which only root can.
    require!(Root);
    plain::as_a_plain_user(&[
        "files_and_trees_come_out_of_a_jail_and_so_do_the_jobs_own_files",
        "hostile::no_link_leads_a_collector_out_of_the_working_directory",
        "hostile::pipes_sockets_and_locked_files_are_left_out_at_once",
        "what_was_written_before_a_limit_comes_too_and_the_limit_is_the_outcome",
    ]);
}
