//! `check-config` and `print-config` of the built worker, as an operator runs them.

use jailfleet_harness::settings_cli::{SettingsCli, Site, assert_line};

const WORKER: SettingsCli = SettingsCli::of(env!("CARGO_BIN_EXE_jailfleet-worker"));

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

/// What `print-config` says is in force, as TOML.
fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    WORKER.printed(&[arguments, &["print-config"]].concat(), variables)
}

#[test]
fn a_good_configuration_is_called_so_on_stderr_and_the_exit_code_is_0() {
    WORKER.assert_good("[worker]\nslots = 2\n[profiles.simulation]\ncpu_ms = 30000");
}

#[test]
fn a_good_configuration_that_holds_jobs_for_too_long_is_called_so_with_a_caution() {
    let site = Site::of("[runtime_defaults.ceiling]\nwall_ms = 3600000");
    let said = WORKER.run(&["check-config", "--config", site.name()], &[]);
    let said = format!("{said:?}");
    for part in [
        "caution: a job may be held for 300 minutes",
        "the configuration is good",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn all_mistakes_of_all_layers_are_told_at_once_and_the_exit_code_is_2() {
    let site = Site::of(WRONG);
    // Whoever takes jobs with such a configuration hears the same, before anything else happens.
    for command in [
        &["check-config"][..],
        &["print-config"],
        &["doctor"],
        &["local", "-"],
        &[],
    ] {
        let arguments = [&["--config", site.name()], &WRONG_FLAG[..], command].concat();
        let said = WORKER.run(&arguments, &[WRONG_VARIABLE]);
        let first = "jailfleet-worker failed to read the configuration:";
        said.assert_all_told(2, first, &SAID, &site);
    }
}

#[test]
fn what_is_in_force_is_the_flag_over_the_variable_over_the_file_over_the_default() {
    let site = Site::of("[worker]\nslots = 2\npool = \"exams\"\nhost = \"h1\"\nwalls = \"laptop\"");
    let arguments = [
        "--config",
        site.name(),
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
        assert_line(&shown, line);
    }
    // As a file it gives the same again, with none of the layers that made it.
    let again = Site::of(&shown);
    assert_eq!(printed(&["--config", again.name()], &[]), shown);
}

#[test]
fn no_password_or_token_is_printed_whatever_is_wrong_beside_it() {
    let good = "amqp://grader:hunter2@broker/%2f";
    let redacted = "uri = \"amqp://grader:***@broker/%2f\"";
    let shown = printed(&[], &[("JAILFLEET__AMQP__URI", good)]);
    assert_line(&shown, redacted);
    let token = "amqps://broker/exams?token=hunter2";
    let shown = printed(&[], &[("JAILFLEET__AMQP__URI", token)]);
    assert_line(&shown, "uri = \"amqps://broker/exams?***\"");

    // A mounted secret wins over the URI, and is as secret.
    let mounted = Site::of(good);
    let named = format!("amqp.uri_file={}", mounted.name());
    let shown = printed(&["--set", &named], &[]);
    assert_line(&shown, redacted);

    let mounted = Site::of("grader:hunter2@broker");
    for case in [
        ("[amqp]\nuri = \"amqp://g:hunter2@h/%2f\"", "", 0),
        ("[amqp]\nuri = \"http://g:hunter2@h/\"", "", 2),
        ("[amqp]\nurl = \"amqp://g:hunter2@h/\"", "", 2),
        ("[amqp]\nuri = \"amqp://g:hunter2@h/\nprefix = 1", "", 2),
        ("worker.slots = 0", "amqp://g:hunter2@h/%2f", 2),
        ("", "hunter2", 2),
        (&format!("amqp.uri_file = \"{}\"", mounted.name()), "", 2),
    ] {
        WORKER.assert_untold("hunter2", case);
    }
}

#[test]
fn the_producers_sections_and_variables_are_none_of_the_workers_business() {
    let site = Site::of("[producer]\nwindow = 0\nwindw = 1\n[worker]\nslots = 3");
    let variables = [("JAILFLEET__PRODUCER__WINDOW", "many")];
    let shown = printed(&["--config", site.name()], &variables);
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
        WORKER.assert_refused(arguments, words);
    }
}

#[test]
fn what_nobody_reads_to_its_end_is_no_failure_and_is_not_spoken_of() {
    WORKER.assert_quiet_in_a_closed_pipe(&[
        &["print-config"],
        &["topology"],
        &["topology", "--json"],
        &["topology", "--definitions"],
        &["topology", "--policies"],
        &["topology", "--rights"],
        &["completion", "bash"],
    ]);
}
