//! `import-codejail` of the built producer, as an operator runs it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use jailfleet::settings::{SourceText, worker_settings};

const SETTINGS: &str = r#"{"CODE_JAIL": {
    "python_bin": "/edx/venvs/edxapp-sandbox/bin/python", "user": "sandbox", "limitz": 1,
    "limits": {"CPU": 1, "REALTIME": 3, "VMEM": 536870912},
    "limit_overrides": {"course-v1:edX+DemoX+2026": {"CPU": 5}}
}}"#;

#[expect(
    clippy::disallowed_methods,
    reason = "the test starts the built producer"
)]
fn import(arguments: &[&str], stdin: &str) -> Output {
    let mut producer = Command::new(env!("CARGO_BIN_EXE_jailfleet-producer"))
        .arg("import-codejail")
        .args(arguments)
        // What has nothing to do with it must not get into its way.
        .env("JAILFLEET__AMQP__URI_FILE", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = producer.stdin.take().expect("a pipe");
    // One that does not ask for its stdin may be gone by now.
    if let Err(error) = pipe.write_all(stdin.as_bytes()) {
        eprintln!("not read: {error}");
    }
    drop(pipe);
    producer.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it writes UTF-8")
}

#[test]
fn settings_become_a_file_that_a_worker_reads_and_that_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("lms.json");
    let site = folder.path().join("site.toml");
    fs::write(&settings, SETTINGS).expect("written");
    let arguments = [&settings, &site].map(|path| path.to_str().expect("a plain path"));
    let [settings, site] = arguments;

    let printed = import(&[settings], "");
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    let kept = import(&[settings, "--output", site], "");
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept.stderr));
    assert_eq!(text(&kept.stdout), "");
    for said in [&printed, &kept] {
        let said = text(&said.stderr);
        assert!(said.contains("CODE_JAIL.limitz: dropped"), "{said}");
    }
    let written = fs::read_to_string(site).expect("it is there");
    assert_eq!(written, text(&printed.stdout));
    let source = SourceText {
        name: "site.toml",
        text: &written,
    };
    let read = worker_settings(Some(source), &[], &[]).expect("a good configuration");
    assert_eq!(
        read.profiles.len(),
        2,
        "the embedded one and that of the course"
    );

    fs::write(site, "mine").expect("written");
    let refused = import(&[settings, "--output", site], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("it is there already"));
    assert_eq!(fs::read_to_string(site).expect("it stays"), "mine");

    let piped = import(&["-"], SETTINGS);
    assert_eq!(piped.status.code(), Some(0));
    // The first lines say where it came from.
    let sections = |page: &str| page.split_once("\n\n").map(|(_, rest)| rest.to_owned());
    assert_eq!(sections(text(&piped.stdout)), sections(&written));
}

#[test]
fn wrong_settings_are_told_all_at_once_with_exit_code_2_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site.toml");
    let site = site.to_str().expect("a plain path");
    let wrong = r#"{"limits": {"CPU": "1", "NPROC": -3}, "user": 7}"#;
    for arguments in [&["-"][..], &["-", "--output", site]] {
        let refused = import(arguments, wrong);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(text(&refused.stdout), "");
        let said: Vec<&str> = text(&refused.stderr).lines().collect();
        assert_eq!(said[0], "jailfleet-producer: failed to read the settings:");
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(!std::path::Path::new(site).exists());
    }
    for (arguments, words) in [
        (&["/nonexistent"][..], "read /nonexistent: No such file"),
        (&[], "SETTINGS.json"),
        (&["-", "--outptu", "x"], "--output"),
    ] {
        let refused = import(arguments, "{}");
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&refused.stderr).contains(words),
            "{}",
            text(&refused.stderr)
        );
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts the built producer"
)]
fn a_reader_that_has_had_enough_is_no_failure() {
    let mut producer = Command::new(env!("CARGO_BIN_EXE_jailfleet-producer"))
        .args(["import-codejail", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(producer.stdout.take());
    let mut pipe = producer.stdin.take().expect("a pipe");
    pipe.write_all(SETTINGS.as_bytes()).expect("it reads");
    drop(pipe);
    let ended = producer.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a shell sets the limit, then becomes the built producer"
)]
fn a_file_that_cannot_be_written_to_its_end_is_not_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("lms.json");
    let site = folder.path().join("site.toml");
    fs::write(&settings, SETTINGS).expect("written");
    // One block: the configuration has more, and the signal for that is ignored, so that a write fails.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let ended = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_jailfleet-producer")])
        .arg("import-codejail")
        .arg(&settings)
        .arg("--output")
        .arg(&site)
        .output()
        .expect("it starts");
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("site.toml") && said.contains("File too large"),
        "{said}"
    );
    assert!(!site.exists(), "half a configuration is there");
}
