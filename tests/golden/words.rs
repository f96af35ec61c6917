//! The words that the golden messages say.

use jailfleet::artifact::{Artifact, ArtifactPath, LeftOut, LeftOutReason};
use jailfleet::blob::Blob;
use jailfleet::cancel::{Cancel, Target};
use jailfleet::job::{
    EpochMs, Job, JobFile, JobFileKind, JobId, Lane, Name, ProfileName, RelativePath,
};
use jailfleet::limits::LimitsRequest;
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::RejectionCode;
use jailfleet::result::{JobResult, LimitsInForce, Stream, Timing, Usage, WorkerStamp};
use jailfleet::units::Elapsed;
use jailfleet::wall::{HeldWall, Wall};

fn id(text: &str) -> JobId {
    JobId::parse(text).expect("an id")
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).expect("a path")
}

fn wanted(text: &str) -> ArtifactPath {
    ArtifactPath::parse(text).expect("a path")
}

/// The least that a job says.
fn plain_job() -> Job {
    Job {
        id: id("0199c0de-0001-7000-8000-000000000001"),
        runtime: name("python"),
        code: Some(Blob::new("print(6 * 7)")),
        files: Vec::new(),
        argv: Vec::new(),
        env: Vec::new(),
        stdin: None,
        globals: None,
        python_path: Vec::new(),
        artifacts: Vec::new(),
        limits: LimitsRequest::default(),
        limit_profile: None,
        slug: None,
        pool: name("default"),
        lane: Lane::Bulk,
        batch: None,
        deadline: None,
        grade: None,
    }
}

fn all_limits() -> LimitsRequest {
    LimitsRequest {
        cpu_ms: Some(2000),
        wall_ms: Some(5000),
        memory_bytes: Some(268_435_456),
        address_space_bytes: Some(536_870_912),
        file_bytes: Some(0),
        disk_bytes: Some(8_388_608),
        disk_files: Some(200),
        processes: Some(16),
        open_files: Some(64),
        output_bytes: Some(65_536),
        stack_bytes: Some(8_388_608),
    }
}

fn files() -> Vec<JobFile> {
    let file = |name, content, executable| JobFile {
        path: path(name),
        kind: JobFileKind::File {
            content,
            executable,
        },
    };
    vec![
        file("data/in.csv", Blob::new("a,b\n1,2\n"), false),
        file("run", Blob::new([0_u8, 255, 16]), true),
        JobFile {
            path: path("lib"),
            kind: JobFileKind::Directory,
        },
        file("lib/rows.py", Blob::new("def read(x): return x\n"), false),
    ]
}

/// A job that says everything.
fn full_job() -> Job {
    Job {
        id: id("exam-7:alice.1"),
        code: Some(Blob::new("import rows\nprint('\u{e4}\u{1f600}\\', x)")),
        files: files(),
        argv: vec!["--verbose".to_owned(), String::new()],
        env: vec![
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ],
        stdin: Some(Blob::new("first line\n")),
        globals: Some("{\"x\": [1, NaN, \"\\ud800\"]}".to_owned()),
        python_path: vec![path("lib")],
        limits: all_limits(),
        limit_profile: Some(ProfileName::parse("course-v1:Org+Algo+2026").expect("a name")),
        slug: Some("exercise 7, alice".to_owned()),
        pool: name("gpu_2"),
        lane: Lane::Interactive,
        batch: Some("exam-7".to_owned()),
        deadline: Some(EpochMs(1_795_456_800_123)),
        ..plain_job()
    }
}

/// Every golden job by the name of its file.
pub(crate) fn jobs() -> Vec<(String, Job)> {
    let binary = Job {
        id: id("b"),
        runtime: name("native"),
        code: Some(Blob::new(*b"\x7fELF\x02\x01\x01\x00\xff")),
        stdin: Some(Blob::new([0_u8, 255])),
        ..plain_job()
    };
    let arguments = Job {
        id: id("a"),
        runtime: name("bash"),
        code: None,
        files: files(),
        argv: vec!["run".to_owned()],
        ..plain_job()
    };
    let artifacts = Job {
        id: id("left"),
        artifacts: vec![wanted("tmp/report.json"), wanted("tmp/plots/")],
        ..plain_job()
    };
    let jobs = [
        ("artifacts", artifacts),
        ("plain", plain_job()),
        ("full", full_job()),
        ("binary", binary),
        ("arguments", arguments),
    ];
    jobs.map(|(name, job)| (name.to_owned(), job)).into()
}

fn stamp() -> WorkerStamp {
    WorkerStamp {
        host: "grader-3".to_owned(),
        version: "0.1.0".to_owned(),
        slot: Some(2),
        attempt: 1,
        last_canary: Some("2026-11-23T16:59:30Z".to_owned()),
    }
}

/// The result of a job that ran.
fn ran(outcome: Outcome, exit_code: Option<i32>, signal: Option<i32>) -> JobResult {
    JobResult {
        slug: Some("exercise 7, alice".to_owned()),
        batch: Some("exam-7".to_owned()),
        exit_code,
        signal,
        stdout: Some(Blob::new("2\n")),
        stderr: Some(Blob::default()),
        usage: Some(Usage {
            cpu: Elapsed::from_micros(41_207),
            user: Elapsed::from_micros(33_000),
            system: Elapsed::from_micros(8207),
            wall: Elapsed::from_micros(44_100),
            peak_memory_bytes: Some(9_437_184),
            processes_peak: Some(1),
        }),
        limits: Some(LimitsInForce {
            limits: all_limits().complete().expect("all are named"),
            profile: Some(ProfileName::parse("course-v1:Org+Algo+2026").expect("a name")),
            config_digest: "ab".repeat(32),
        }),
        timing: Some(Timing {
            queued: Some(Elapsed::from_micros(12_000)),
            setup: Elapsed::from_micros(2250),
            run: Elapsed::from_micros(44_100),
            total: Elapsed::from_micros(47_002),
        }),
        walls: Wall::ALL
            .iter()
            .map(|wall| {
                if *wall == Wall::Landlock {
                    HeldWall::detailed(*wall, "7")
                } else {
                    HeldWall::plain(*wall)
                }
            })
            .collect(),
        ..JobResult::without_run(Some(id("exam-7:alice.1")), outcome, None, stamp())
    }
}

fn told(outcome: Outcome, code: ErrorCode) -> JobResult {
    let worker = WorkerStamp {
        slot: None,
        last_canary: None,
        ..stamp()
    };
    let detail = ErrorDetail::new(code, "what a person should know");
    JobResult::without_run(Some(id("told")), outcome, Some(detail), worker)
}

/// What of a run's artifacts came, and what was left out.
fn with_artifacts() -> [JobResult; 2] {
    let file = |name, content, executable| Artifact {
        path: path(name),
        content,
        executable,
    };
    let artifacts = JobResult {
        artifacts: vec![
            file("tmp/report.json", Blob::new("{\"ok\": true}\n"), false),
            file("tmp/plots/a.png", Blob::new([137_u8, 80, 0]), false),
            file("tmp/plots/again", Blob::default(), true),
        ],
        ..ran(Outcome::Exited, Some(0), None)
    };
    let left_out = LeftOutReason::ALL.iter().map(|reason| LeftOut {
        path: wanted(&format!("tmp/{}/", reason.as_str())),
        reason: *reason,
    });
    let nothing_left = JobResult {
        artifacts_left_out: left_out.collect(),
        ..ran(Outcome::WallLimit, None, Some(9))
    };
    [artifacts, nothing_left]
}

/// Every golden result by the name of its file.
pub(crate) fn results() -> Vec<(String, JobResult)> {
    let flood = JobResult {
        stdout: Some(Blob::new([b'y', 255])),
        truncated: vec![Stream::Stdout, Stream::Stderr],
        ..ran(Outcome::OutputLimit, None, Some(9))
    };
    let globals = JobResult {
        globals: Some("{\"x\": NaN}".to_owned()),
        ..ran(Outcome::Exited, Some(0), None)
    };
    let graded = JobResult {
        grade: Some("{\"cases\":[]}".to_owned()),
        ..ran(Outcome::Exited, Some(3), None)
    };
    let [artifacts, nothing_left] = with_artifacts();
    let bare = JobResult::without_run(None, Outcome::WorkerLost, None, stamp());
    let mut results: Vec<(String, JobResult)> = [
        ("exited", ran(Outcome::Exited, Some(0), None)),
        ("exited-artifacts", artifacts),
        ("wall_limit-nothing-left", nothing_left),
        ("exited-globals", globals),
        ("exited-graded", graded),
        ("signaled", ran(Outcome::Signaled, None, Some(11))),
        ("cpu_limit", ran(Outcome::CpuLimit, None, Some(9))),
        ("wall_limit", ran(Outcome::WallLimit, None, Some(9))),
        ("memory_limit", ran(Outcome::MemoryLimit, Some(0), None)),
        ("output_limit", flood),
        ("nothing", bare),
    ]
    .map(|(name, result)| (name.to_owned(), result))
    .into();
    for code in ErrorCode::OWN {
        let outcome = match code {
            ErrorCode::NoGlobals | ErrorCode::ResultTooLarge => Outcome::Exited,
            ErrorCode::WorkerLost | ErrorCode::TooManyDeliveries => Outcome::WorkerLost,
            ErrorCode::DeadlinePassed => Outcome::Expired,
            ErrorCode::Cancelled => Outcome::Cancelled,
            ErrorCode::Unrouted => Outcome::Rejected,
            ErrorCode::StageFailed
            | ErrorCode::JailLost
            | ErrorCode::CpuWithheld
            | ErrorCode::MemoryWithheld
            | ErrorCode::SlotFault
            | ErrorCode::WorkerStopping
            | ErrorCode::Rejected(_)
            | ErrorCode::Other => Outcome::EngineFault,
        };
        results.push((format!("told-{}", code.as_str()), told(outcome, *code)));
    }
    for code in RejectionCode::ALL {
        let result = told(Outcome::Rejected, ErrorCode::Rejected(*code));
        results.push((format!("rejected-{}", code.as_str()), result));
    }
    results.sort_by(|one, other| one.0.cmp(&other.0));
    results
}

/// Every golden cancel by the name of its file.
pub(crate) fn cancels() -> Vec<(String, Cancel)> {
    let sent = EpochMs(1_795_454_645_123);
    let jobs = Cancel {
        targets: vec![
            Target::Job(id("exam-7:alice.1")),
            Target::Job(id("exam-7:bob.1")),
        ],
        pool: None,
        sent,
    };
    let batch = Cancel {
        targets: vec![Target::batch("exam-7").expect("a name")],
        pool: Some(name("default")),
        sent,
    };
    vec![("jobs".to_owned(), jobs), ("batch".to_owned(), batch)]
}

/// What this version reads of results of an invented newer worker.
pub(crate) fn newer_results() -> Vec<(&'static str, JobResult)> {
    let known = JobResult {
        exit_code: Some(0),
        stdout: Some(Blob::new("2\n")),
        usage: Some(Usage {
            cpu: Elapsed::from_micros(41_207),
            user: Elapsed::from_micros(33_000),
            system: Elapsed::from_micros(8207),
            wall: Elapsed::from_micros(44_100),
            peak_memory_bytes: None,
            processes_peak: None,
        }),
        timing: Some(Timing {
            queued: None,
            setup: Elapsed::from_micros(1000),
            run: Elapsed::from_micros(44_100),
            total: Elapsed::from_micros(46_000),
        }),
        walls: vec![HeldWall::plain(Wall::Netns)],
        truncated: vec![Stream::Stdout],
        ..JobResult::without_run(Some(id("new")), Outcome::Exited, None, stamp())
    };
    let detail = ErrorDetail::new(ErrorCode::Other, "the network quota is used up");
    let other = JobResult {
        signal: Some(9),
        ..JobResult::without_run(Some(id("new")), Outcome::Other, Some(detail), stamp())
    };
    vec![("new-fields", known), ("new-outcome", other)]
}
