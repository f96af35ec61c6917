//! The limits that codejail's users know, by way of `import-codejail`, in real jails.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing from a result has to fail the test"
)]

#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that have a broker")]
mod worker;

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// A worker's file made from a `CODE_JAIL` of these limits and overrides.
fn imported(limits: &Value, overrides: &Value) -> tempfile::NamedTempFile {
    let settings = json!({ "user": "sandbox", "limits": limits, "limit_overrides": overrides });
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(file, "{settings}").expect("writable");
    let mut import = worker::producer("amqp://none");
    let output = import.arg("import-codejail").arg(file.path()).output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    std::fs::write(file.path(), &output.stdout).expect("writable");

    let mut check = worker::command(worker::executable());
    let check = check
        .args(["check-config", "--config"])
        .arg(file.path())
        .status();
    assert!(check.expect("it starts").success());
    file
}

/// Runs each code as codejail would, by its name, with what else is in its job.
fn run(site: &tempfile::NamedTempFile, jobs: &[(&str, &str, Value)]) -> BTreeMap<String, Value> {
    let lines = jobs.iter().map(|(id, code, more)| {
        let mut job =
            json!({ "v": 1, "id": id, "runtime": "python", "code": code, "globals": "{}" });
        for (name, value) in more.as_object().expect("members") {
            job[name.as_str()] = value.clone();
        }
        job.to_string()
    });
    let site = site.path().to_str().expect("a plain path");
    let (code, results) = worker::local(&lines.collect::<Vec<_>>(), &["--config", site]);
    assert_eq!(code, 0);
    let named = |result: Value| (result["job_id"].as_str().expect("an id").to_owned(), result);
    results.into_iter().map(named).collect()
}

fn left(result: &Value) -> Value {
    let text = result["globals"].as_str();
    let text = text.unwrap_or_else(|| panic!("no globals in {result}"));
    serde_json::from_str(text).expect("an object")
}

#[test]
fn a_file_size_of_0_lets_nothing_be_written_by_any_door() {
    let site = imported(&json!({ "CPU": 3, "REALTIME": 10 }), &json!({}));
    let code = r#"
import os
said = {}
def tried(name, write):
    try:
        write()
        said[name] = "written"
    except OSError as error:
        said[name] = error.errno
def opened():
    return os.open("tmp/f", os.O_RDWR | os.O_CREAT)
tried("write", lambda: os.write(opened(), b"x"))
tried("pwrite", lambda: os.pwrite(opened(), b"x", 1 << 20))
tried("truncate", lambda: os.ftruncate(opened(), 1))
tried("allocate", lambda: os.posix_fallocate(opened(), 0, 1))
tried("python", lambda: open("tmp/g", "wb").write(b"x" * 100000))
if hasattr(os, "memfd_create"):
    tried("memory", lambda: os.write(os.memfd_create("m"), b"x"))
size = os.stat("tmp/f").st_size
kept = sum(os.stat(os.path.join("tmp", name)).st_size for name in os.listdir("tmp"))
del os, tried, opened
print("x" * 100000)
"#;
    let result = &run(&site, &[("a", code, json!({}))])["a"];
    let left = left(result);
    assert_eq!(left["kept"], 0, "{left}");
    for door in ["write", "pwrite", "truncate", "allocate", "python"] {
        assert_eq!(left["said"][door], 27, "{door}: {left}");
    }
    assert_ne!(left["said"]["memory"], "written", "{left}");
    // Pipes are no files: output and globals come as ever.
    assert_eq!(result["stdout"].as_str().map(str::len), Some(100_001));
    assert_eq!(result["limits"]["file_bytes"], 0);
}

#[test]
fn a_file_size_bounds_each_file_and_the_scratch_bounds_them_all() {
    let site = imported(
        &json!({ "FSIZE": 1000, "CPU": 3, "REALTIME": 10 }),
        &json!({}),
    );
    let small = "with open('tmp/a', 'w') as f:\n  f.write('x' * 1000)\nwith open('tmp/a') as f:\n  n = f.read().count('x')\ndel f";
    let large =
        "with open('tmp/a', 'w') as f:\n  f.write('.'.join('%05d' % i for i in range(1000)))";
    let many = "i = 0\ntry:\n  while True:\n    with open('tmp/%d' % i, 'w') as f:\n      f.write('x' * 1000)\n    \
                i += 1\nexcept OSError as e:\n  why = e.errno\ndel f";
    let jobs = [
        ("small", small, json!({})),
        ("large", large, json!({})),
        ("many", many, json!({})),
    ];
    let results = run(&site, &jobs);
    assert_eq!(left(&results["small"]), json!({ "n": 1000 }));
    let large = &results["large"];
    assert_eq!(large["exit_code"], 1, "{large}");
    let said = large["stderr"].as_str().expect("text");
    assert!(
        said.contains("OSError: [Errno 27] File too large"),
        "{said}"
    );
    // No space (28), in bytes or in inodes: here codejail fills the host's disk.
    assert_eq!(left(&results["many"])["why"], 28);
}

#[test]
fn python_raises_memory_error_where_vmem_is_set_and_nobody_is_killed() {
    let limits = json!({ "VMEM": 160 * MIB, "CPU": 10, "REALTIME": 20, "FSIZE": MIB });
    let site = imported(&limits, &json!({ "off": { "VMEM": 0 } }));
    let at_once = "x = bytearray(200_000_000)\ndel x";
    let in_pieces = "a = []\nfor i in range(32768):\n  a.append(bytes(bytearray(b'1') * 32768))";
    let enough = "x = bytearray(100_000_000)\ndel x\nok = 1";
    let caught = "n = 0\ntry:\n  a = []\n  while True:\n    a.append(bytes(bytearray(b'1') * 65536))\nexcept \
                  MemoryError:\n  n = len(a)\n  del a";
    let children = "import os\ncodes = []\nfor i in range(3):\n  pid = os.fork()\n  if pid == 0:\n    try:\n      \
                    bytearray(200_000_000)\n    except MemoryError:\n      os._exit(7)\n    os._exit(0)\n  \
                    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\ndel os, pid";
    let off = json!({ "limit_profile": "off" });
    let results = run(
        &site,
        &[
            ("at_once", at_once, json!({})),
            ("pieces", in_pieces, json!({})),
            ("enough", enough, json!({})),
            ("caught", caught, json!({})),
            ("children", children, json!({})),
            ("off", at_once, off),
        ],
    );
    for name in ["at_once", "pieces"] {
        let result = &results[name];
        assert_eq!(result["outcome"], "exited", "{result}");
        assert_eq!(result["exit_code"], 1, "{result}");
        let said = result["stderr"].as_str().expect("text");
        assert!(said.ends_with("MemoryError\n"), "{said}");
    }
    assert_eq!(left(&results["enough"]), json!({ "ok": 1 }));
    let pieces = left(&results["caught"])["n"].as_u64().expect("a number");
    assert!((1000..2560).contains(&pieces), "{pieces} pieces of 64 KiB");
    assert_eq!(left(&results["children"])["codes"], json!([7, 7, 7]));
    assert_eq!(left(&results["off"]), json!({}), "{}", results["off"]);
}

#[test]
fn a_context_has_its_overrides_and_an_unknown_one_the_default_limits() {
    let limits = json!({ "CPU": 2, "REALTIME": 1 });
    let course = "course-v1:edX+Demo.X+2026";
    let site = imported(&limits, &json!({ course: { "REALTIME": 8, "NPROC": 30 } }));
    let slow = "import time\ntime.sleep(1.6)\ndel time\nok = 1";
    let in_course = json!({ "limit_profile": course });
    let unknown = json!({ "limit_profile": "course-v1:edX+Other+2026" });
    let results = run(
        &site,
        &[
            ("none", slow, json!({})),
            ("course", slow, in_course),
            ("unknown", slow, unknown),
            (
                "busy",
                "while True: pass",
                json!({ "limit_profile": course }),
            ),
        ],
    );
    assert_eq!(results["none"]["outcome"], "wall_limit");
    assert_eq!(results["unknown"]["outcome"], "wall_limit");
    assert!(results["unknown"]["limits"].get("profile").is_none());
    assert_eq!(left(&results["course"]), json!({ "ok": 1 }));
    let course_limits = &results["course"]["limits"];
    assert_eq!(course_limits["profile"], course);
    assert_eq!(
        (&course_limits["processes"], &course_limits["cpu_ms"]),
        (&json!(30), &json!(2000))
    );
    assert_eq!(results["busy"]["outcome"], "cpu_limit");
}

#[test]
fn a_number_of_processes_counts_this_run_alone_and_its_threads() {
    let site = imported(
        &json!({ "NPROC": 1, "CPU": 3, "REALTIME": 10 }),
        &json!({ "more": { "NPROC": 15 } }),
    );
    let fork = "import os\nif os.fork() == 0: os._exit(0)";
    let threads = "import threading\nend = threading.Event()\nn = 1\ntry:\n  while True:\n    \
                   threading.Thread(target=end.wait).start()\n    n += 1\nexcept RuntimeError:\n  end.set()\n\
                   del threading, end";
    let more = json!({ "limit_profile": "more" });
    let results = run(
        &site,
        &[("fork", fork, json!({})), ("threads", threads, more)],
    );
    let fork = &results["fork"];
    assert_eq!(fork["exit_code"], 1, "{fork}");
    let said = fork["stderr"].as_str().expect("text");
    assert!(said.contains("BlockingIOError: [Errno 11]"), "{said}");
    assert_eq!(left(&results["threads"]), json!({ "n": 15 }));
}

#[test]
fn what_is_off_there_runs_under_the_ceiling() {
    let off = json!({ "CPU": 0, "REALTIME": 0, "VMEM": 0, "NPROC": 0 });
    let site = imported(&off, &json!({}));
    let result = &run(&site, &[("a", "x = 1", json!({}))])["a"];
    assert_eq!(left(result), json!({ "x": 1 }));
    let limits = &result["limits"];
    let named = ["cpu_ms", "wall_ms", "memory_bytes", "processes"].map(|name| limits[name].clone());
    assert_eq!(
        named.to_vec(),
        [60_000, 120_000, 768 * MIB, 128].map(Value::from)
    );
    assert!(
        limits.get("address_space_bytes").is_none_or(Value::is_null),
        "{limits}"
    );
}
