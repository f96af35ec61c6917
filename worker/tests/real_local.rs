//! Jobs through the embedded door and the real warden.

#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that have a broker")]
mod worker;

use std::collections::BTreeMap;

use jailfleet_harness::require;
use jailfleet_worker::cli::Exit;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use worker::{
    Worker, doctor_of_a_plain_user, doctor_that_nobody_reads, file_of, local,
    local_of_a_plain_user, local_says, local_until_nobody_reads, processes_with,
};

fn job(id: &str, runtime: &str, code: &str) -> Value {
    json!({ "v": 1, "id": id, "runtime": runtime, "code": code })
}

fn result<'a>(results: &'a [Value], id: &str) -> &'a Value {
    let mut found = results.iter().filter(|result| result["job_id"] == id);
    let result = found
        .next()
        .unwrap_or_else(|| panic!("no result of {id} in {results:?}"));
    assert!(found.next().is_none(), "two results of {id}");
    result
}

#[test]
fn each_job_of_a_file_gets_the_outcome_that_it_brought_about() {
    let mut slow = job("wall", "bash", "sleep 60");
    slow["limits"] = json!({ "wall_ms": 300 });
    let mut busy = job("cpu", "bash", "while :; do :; done");
    busy["limits"] = json!({ "cpu_ms": 300 });
    // It would sleep into its wall limit, if passing the output limit did not end it.
    let loud = "for i in {1..500}; do echo 0123456789; done; exec sleep 60";
    let mut loud = job("output", "bash", loud);
    loud["limits"] = json!({ "output_bytes": 1000, "wall_ms": 5000 });
    // It is gone before anybody can end it, and has passed the limit all the same.
    let mut burst = job("burst", "bash", "printf %02000d 1");
    burst["limits"] = json!({ "output_bytes": 1000 });
    let mut late = job("late", "bash", "echo too late");
    late["deadline"] = json!("2001-01-01T00:00:00Z");
    let mut fed = job("fed", "bash", "cat; cat d/f; echo \"$1-$X\"");
    fed["stdin"] = json!("in ");
    fed["files"] = json!([{ "path": "d/f", "content": "file " }]);
    fed["argv"] = json!(["arg"]);
    fed["env"] = json!({ "X": "env" });
    let jobs = [
        job("exit", "bash", "echo out; echo err >&2; exit 3"),
        job("signal", "bash", "kill -USR1 $$"),
        job("unknown", "cobol", ""),
        slow,
        busy,
        loud,
        burst,
        late,
        fed,
    ];
    let lines: Vec<String> = jobs.iter().map(Value::to_string).collect();
    let (code, results) = local(&lines, &[]);
    assert_eq!(code, 0);
    assert_eq!(results.len(), jobs.len());
    let exit = result(&results, "exit");
    assert_eq!(exit["outcome"], "exited");
    assert_eq!(
        (&exit["exit_code"], &exit["stdout"], &exit["stderr"]),
        (&json!(3), &json!("out\n"), &json!("err\n"))
    );
    for part in ["usage", "limits", "timing", "walls", "worker"] {
        assert!(!exit[part].is_null(), "{part} is missing in {exit}");
    }
    assert_eq!(exit["worker"]["attempt"], 1);
    let signal = result(&results, "signal");
    assert_eq!(
        (&signal["outcome"], &signal["signal"]),
        (&json!("signaled"), &json!(10))
    );
    for (id, outcome) in [
        ("wall", "wall_limit"),
        ("cpu", "cpu_limit"),
        ("output", "output_limit"),
        ("burst", "output_limit"),
        ("unknown", "rejected"),
        ("late", "expired"),
    ] {
        assert_eq!(
            result(&results, id)["outcome"],
            outcome,
            "{}",
            result(&results, id)
        );
    }
    let loud = result(&results, "output");
    assert_eq!(loud["stdout"].as_str().map(str::len), Some(1000));
    assert_eq!(loud["truncated"], json!(["stdout"]));
    assert_eq!(result(&results, "fed")["stdout"], "in file arg-env\n");
}

#[test]
fn lines_that_are_no_jobs_are_answered_each_with_its_code_and_the_rest_still_runs() {
    let lines = [
        "nonsense".to_owned(),
        r#"{"v":1,"runtime":"bash","code":"echo yes"}"#.to_owned(),
        r#"{"v":2,"id":"new","runtime":"bash","code":""}"#.to_owned(),
        r#"{"v":1,"minor":9,"id":"newer","runtime":"bash","code":""}"#.to_owned(),
        format!(
            r#"{{"v":1,"id":"large","runtime":"bash","code":"{}"}}"#,
            "x".repeat(9 << 20)
        ),
        r#"{"v":1,"id":"globals","runtime":"bash","code":"","globals":"{}"}"#.to_owned(),
    ];
    let (code, results) = local(&lines, &[]);
    assert_eq!(code, 0);
    let code = |id| result(&results, id)["error"]["code"].clone();
    assert_eq!(code("line-1"), "not_json");
    assert_eq!(result(&results, "line-2")["stdout"], "yes\n");
    assert_eq!(code("new"), "wrong_version");
    assert_eq!(code("newer"), "unsupported_minor");
    // A line as long as that is cut while it is read, so that its id is never seen.
    assert_eq!(code("line-5"), "too_large");
    assert_eq!(code("globals"), "globals_unsupported");
}

#[test]
fn a_results_file_appears_whole_and_nothing_goes_to_stdout() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("results.jsonl");
    let lines = [
        job("a", "bash", "echo 1").to_string(),
        job("b", "bash", "echo 2").to_string(),
    ];
    let (code, on_stdout) = local(&lines, &["--results", path.to_str().expect("a plain path")]);
    assert_eq!((code, on_stdout.len()), (0, 0));
    let written = std::fs::read_to_string(&path).expect("it is there");
    assert_eq!(written.lines().count(), 2);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("readable").count(),
        1,
        "nothing beside it"
    );
}

#[test]
fn when_the_warden_is_killed_every_jail_dies_and_the_worker_says_so_by_its_exit_code() {
    let jobs = file_of(&format!("{}\n", job("a", "bash", "exec sleep 86411")));
    let worker = Worker::start(&["local", jobs.path().to_str().expect("a plain path")], &[]);
    worker.says("job received");
    while processes_with("86411").is_empty() {
        std::thread::yield_now();
    }
    kill(worker.warden(), Signal::SIGKILL).expect("it is alive");
    assert_eq!(worker.ends().code(), Some(4));
    while !processes_with("86411").is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn worker_and_warden_are_not_what_the_kernel_ends_first_when_the_hosts_memory_runs_out() {
    require!(Root, SysResource);
    let jobs = file_of(&format!("{}\n", job("a", "bash", "exec sleep 86414")));
    let worker = Worker::start(&["local", jobs.path().to_str().expect("a plain path")], &[]);
    worker.says("job received");
    for (pid, expected) in [(worker.pid(), "-800\n"), (worker.warden(), "-900\n")] {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        assert_eq!(score.expect("it lives"), expected, "{pid}");
    }
    worker.signal(Signal::SIGTERM);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(5));
}

#[test]
fn a_run_that_outlasts_the_drain_is_killed_and_its_job_handed_back() {
    let jobs = file_of(&format!("{}\n", job("a", "bash", "exec sleep 86412")));
    let path = jobs.path().to_str().expect("a plain path");
    let worker = Worker::start(&["local", path, "--set", "worker.drain_ms=100"], &[]);
    while processes_with("86412").is_empty() {
        std::thread::yield_now();
    }
    worker.signal(Signal::SIGTERM);
    worker.says("draining");
    worker.says("handed back");
    assert_eq!(worker.ends().code(), Some(5));
    assert!(processes_with("86412").is_empty());
}

#[test]
fn a_second_signal_does_not_wait_for_the_drain() {
    let jobs = file_of(&format!("{}\n", job("a", "bash", "exec sleep 86413")));
    let path = jobs.path().to_str().expect("a plain path");
    let worker = Worker::start(&["local", path, "--set", "worker.drain_ms=600000"], &[]);
    while processes_with("86413").is_empty() {
        std::thread::yield_now();
    }
    worker.signal(Signal::SIGINT);
    worker.says("draining");
    worker.signal(Signal::SIGINT);
    assert_eq!(worker.ends().code(), Some(5));
}

#[test]
fn slots_that_cannot_fit_into_memory_are_refused_with_the_way_out() {
    let (code, said) = local_says(&["--set", "worker.slots=1024"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("fit 1024 slots"), "{said}");
    assert!(said.contains("worker.overcommit_memory"), "{said}");
}

#[test]
fn a_plain_user_runs_jobs_in_user_namespaces_and_is_told_what_is_missing() {
    // It becomes a plain user, which only root can.
    require!(Root);
    let lines = [
        job("python", "python", "print(6 * 7)"),
        job("bash", "bash", "id -u"),
    ];
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let (code, results) = local_of_a_plain_user(&lines);
    assert_eq!((code, results.len()), (0, 2));
    assert_eq!(result(&results, "python")["stdout"], "42\n");
    let walls = result(&results, "bash")["walls"]
        .as_array()
        .expect("a list");
    assert!(walls.contains(&json!("userns")), "{walls:?}");
    assert!(!walls.contains(&json!("uid")), "{walls:?}");

    let report = doctor_of_a_plain_user();
    let rows = report["walls"].as_array().expect("a list");
    let uid = rows.iter().find(|row| row["wall"] == "uid");
    let uid = uid.expect("a row for each wall");
    assert_eq!(uid["state"], "missing");
    let fix = uid["fix"].as_str().expect("advice");
    assert!(fix.contains("as root"), "{fix}");
}

/// What a program finds in its environment, without what differs from run to run.
fn environment(result: &Value) -> BTreeMap<String, String> {
    let text = result["stdout"].as_str().expect("text");
    let folder = text.lines().next().expect("the working directory");
    let pairs = text.lines().skip(1).map(|pair| {
        let (name, value) = pair.split_once('=').expect("NAME=VALUE");
        (name.to_owned(), value.replace(folder, "HERE"))
    });
    pairs.collect()
}

#[test]
fn a_program_finds_the_variables_of_its_runtime_and_its_job_and_no_other() {
    require!(Root);
    let code = "import os\nprint(os.getcwd())\n\
        print(open('/proc/self/environ').read().replace('\\0', '\\n'), end='')";
    let mut own = job("own", "python", code);
    own["env"] = json!({ "COURSE": "6.00", "LANG": "C", "COLOUR": "red" });
    let lines = [job("plain", "python", code).to_string(), own.to_string()];
    let config = file_of("[runtimes.python.env]\nCOLOUR = \"blue\"\n");
    let config = config.path().to_str().expect("a plain path");
    let (code, results) = local(&lines, &["--config", config]);
    assert_eq!(code, 0);
    let mut expected: BTreeMap<String, String> = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "HERE/tmp"),
        ("TMPDIR", "HERE/tmp"),
        ("LANG", "C.UTF-8"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("NUMEXPR_NUM_THREADS", "1"),
        ("VECLIB_MAXIMUM_THREADS", "1"),
        ("COLOUR", "blue"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(environment(result(&results, "plain")), expected);
    for (name, value) in [("COURSE", "6.00"), ("LANG", "C"), ("COLOUR", "red")] {
        expected.insert(name.to_owned(), value.to_owned());
    }
    assert_eq!(environment(result(&results, "own")), expected);
}

#[test]
fn a_reader_that_has_had_enough_ends_a_batch_or_an_examination_without_a_word_of_failure() {
    let jobs: Vec<String> = (0..40)
        .map(|number| job(&format!("n{number}"), "bash", "sleep 0.1; echo x").to_string())
        .collect();
    let (code, said) = local_until_nobody_reads(&jobs);
    assert!(
        !said.contains("failed to") && !said.contains("roken pipe"),
        "{said}"
    );
    // Some results were never read: the code of a batch that is not whole.
    assert_eq!(code, i32::from(Exit::Incomplete.code()), "{said}");
    let (code, said) = doctor_that_nobody_reads();
    assert_eq!(
        (code, said.as_str()),
        (Some(0), ""),
        "fit for the set laptop"
    );
}
