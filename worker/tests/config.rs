//! `check-config` and `print-config` of the built worker, as an operator runs them.

use std::process::{Command, Output};

use tempfile::NamedTempFile;

/// A file of many mistakes, and a variable and a flag with one each.
const WRONG: &str = r#"
[worker]
slots = 0
wals = "full"
drain_ms = 2.5
[amqp]
heartbeat_s = "15"
[runtimes.node.limits]
cpu_ms = 90000
[profiles.huge]
memory_bytes = 1
"#;
const WRONG_VARIABLE: (&str, &str) = ("JAILFLEET__ADMIN__LISTEN", "everywhere");
const WRONG_FLAG: [&str; 2] = ["--set", "caps.depth=3"];

/// What must be said of them, each on a line of its own; `{file}` stands for the file's name.
const SAID: [&str; 8] = [
    "{file}: worker.slots = 0: expected \"auto\" or a whole number of slots from 1 to 1024",
    "{file}: worker.wals: unknown key: did you mean worker.walls?",
    "{file}: worker.drain_ms = 2.5: expected a whole number of milliseconds from 1 to 86400000",
    "{file}: amqp.heartbeat_s = \"15\": expected a whole number of seconds from 1 to 600",
    "{file}: runtimes.node.limits.cpu_ms = 90000: runtime node: above its ceiling, \
     runtime_defaults.ceiling.cpu_ms = 60000",
    "{file}: profiles.huge.memory_bytes = 1: expected a whole number of bytes from 1048576 to \
     1099511627776",
    "variable JAILFLEET__ADMIN__LISTEN: admin.listen = \"everywhere\": expected an IP address and a \
     port, such as 127.0.0.1:9464",
    "flag caps.depth: caps.depth = \"3\": expected a whole number of levels from 4 to 128",
];

/// Runs the worker with these arguments and no variables but these.
#[expect(
    clippy::disallowed_methods,
    reason = "these tests run the built program"
)]
fn worker(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jailfleet-worker"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the worker starts")
}

fn file_of(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("writable");
    file
}

fn name(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the worker writes UTF-8")
}

/// What `print-config` says is in force, as TOML.
fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = worker(&[arguments, &["print-config"]].concat(), variables);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

#[test]
fn a_good_configuration_is_called_so_on_stderr_and_the_exit_code_is_0() {
    let file = file_of("[worker]\nslots = 2\n[profiles.simulation]\ncpu_ms = 30000");
    for arguments in [
        &["check-config"][..],
        &["check-config", "--config", name(&file)],
        &["--config", name(&file), "check-config"],
    ] {
        let output = worker(arguments, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "the configuration is good\n");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn all_mistakes_of_all_layers_are_told_at_once_and_the_exit_code_is_2() {
    let file = file_of(WRONG);
    // Whoever takes jobs with such a configuration hears the same, before anything else happens.
    for command in [
        &["check-config"][..],
        &["print-config"],
        &["doctor"],
        &["local", "-"],
        &[],
    ] {
        let arguments = [&["--config", name(&file)], &WRONG_FLAG[..], command].concat();
        let output = worker(&arguments, &[WRONG_VARIABLE]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{command:?}");
        let (first, lines) = said.split_once('\n').expect("several lines");
        assert_eq!(first, "jailfleet-worker failed to read the configuration:");
        let lines: Vec<&str> = lines.lines().collect();
        for mistake in SAID {
            let mistake = mistake.replace("{file}", name(&file));
            assert!(
                lines.contains(&mistake.as_str()),
                "{mistake}\nis not among\n{said}"
            );
        }
        assert_eq!(lines.len(), SAID.len(), "{said}");
    }
}

#[test]
fn what_is_in_force_is_the_flag_over_the_variable_over_the_file_over_the_default() {
    let file = file_of("[worker]\nslots = 2\npool = \"exams\"\nhost = \"h1\"\nwalls = \"laptop\"");
    let arguments = [
        "--config",
        name(&file),
        "--set",
        "worker.slots=4",
        "--walls",
        "container",
    ];
    let variables = [
        ("JAILFLEET__WORKER__SLOTS", "3"),
        ("JAILFLEET__WORKER__POOL", "labs"),
        ("JAILFLEET__WORKER__WALLS", "full"),
        ("JAILFLEETX__WORKER__HOST", "not ours"),
    ];
    let shown = printed(&arguments, &variables);
    for line in [
        "slots = 4",
        "walls = \"container\"",
        "pool = \"labs\"",
        "host = \"h1\"",
        "user = \"nobody\"",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
    }
    // As a file it gives the same again, with none of the layers that made it.
    let again = file_of(&shown);
    assert_eq!(printed(&["--config", name(&again)], &[]), shown);
}

#[test]
fn no_password_or_token_is_printed_whatever_is_wrong_beside_it() {
    let shown = printed(
        &[],
        &[("JAILFLEET__AMQP__URI", "amqp://grader:hunter2@broker/%2f")],
    );
    let expected = "uri = \"amqp://grader:***@broker/%2f\"";
    assert!(shown.lines().any(|line| line == expected), "{shown}");
    let token = "amqp.uri=amqps://broker/exams?token=hunter2";
    let shown = printed(&["--set", token], &[]);
    let expected = "uri = \"amqps://broker/exams?***\"";
    assert!(shown.lines().any(|line| line == expected), "{shown}");

    // A mounted secret wins over the URI, and is as secret.
    let mounted = file_of("amqp://grader:hunter2@broker/%2f");
    let named = format!("amqp.uri_file={}", name(&mounted));
    let shown = printed(&["--set", &named], &[]);
    let expected = "uri = \"amqp://grader:***@broker/%2f\"";
    assert!(shown.lines().any(|line| line == expected), "{shown}");

    let mounted = file_of("grader:hunter2@broker");
    for (file, variable, code) in [
        ("[amqp]\nuri = \"amqp://g:hunter2@h/%2f\"", "", 0),
        ("[amqp]\nuri = \"http://g:hunter2@h/\"", "", 2),
        ("[amqp]\nurl = \"amqp://g:hunter2@h/\"", "", 2),
        ("[amqp]\nuri = \"amqp://g:hunter2@h/\nprefix = 1", "", 2),
        ("worker.slots = 0", "amqp://g:hunter2@h/%2f", 2),
        ("", "hunter2", 2),
        (&format!("amqp.uri_file = \"{}\"", name(&mounted)), "", 2),
    ] {
        let file = file_of(file);
        let variables = [("JAILFLEET__AMQP__URI", variable)];
        let variables = if variable.is_empty() {
            &[]
        } else {
            &variables[..]
        };
        for command in ["check-config", "print-config"] {
            let output = worker(&["--config", name(&file), command], variables);
            let said = [text(&output.stdout), text(&output.stderr)].concat();
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(!said.contains("hunter2"), "{command}: {said}");
        }
    }
}

#[test]
fn the_producers_sections_and_variables_are_none_of_the_workers_business() {
    let file = file_of("[producer]\nwindow = 0\nwindw = 1\n[worker]\nslots = 3");
    let variables = [("JAILFLEET__PRODUCER__WINDOW", "many")];
    let shown = printed(&["--config", name(&file)], &variables);
    assert!(shown.contains("slots = 3\n"), "{shown}");
    assert!(!shown.contains("[producer]"), "{shown}");
}

#[test]
fn what_is_found_before_or_after_the_layers_are_read_ends_with_2_as_well() {
    for (arguments, words) in [
        (
            &["check-config", "--config", "/nonexistent/site.toml"][..],
            "read /nonexistent/site.toml: No such file",
        ),
        (
            &["check-config", "--set", "amqp.uri_file=/nonexistent/uri"],
            "read amqp.uri_file /nonexistent/uri: No such file",
        ),
        (
            &["check-config", "--set", "slots=3"],
            "expected SECTION.KEY=VALUE",
        ),
        (&["check-config", "--walls", "none"], "laptop"),
        (
            &["check-config", "--set", "log.level=jailfleet=loud"],
            "read log.level \"jailfleet=loud\": expected error, warn",
        ),
        (&["check-confg"], "check-config"),
    ] {
        let output = worker(arguments, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "");
    }
}
