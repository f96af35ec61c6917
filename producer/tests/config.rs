//! `check-config` and `print-config` of the built producer, as an operator runs them.

use std::path::Path;

use jailfleet_harness::settings_cli::{SettingsCli, Site, assert_line};

const PRODUCER: SettingsCli = SettingsCli::of(env!("CARGO_BIN_EXE_jailfleet-producer"));

/// A file of many mistakes, and a variable and a flag with one each.
const WRONG: &str = r#"
[producer]
window = 0
widow = 1
lane = "fast"
idle_timeout_ms = -1
[amqp]
heartbeat_s = "15"
backoff_min_ms = 500000
"#;
const WRONG_VARIABLE: (&str, &str) = ("JAILFLEET__PRODUCER__PREFETCH", "0");
const WRONG_FLAG: [&str; 2] = ["--set", "log.format=xml"];

/// What must be said of them, each on a line of its own; `{file}` stands for the file's name.
const SAID: [&str; 8] = [
    "{file}: producer.window = 0: expected a whole number of messages from 1 to 10000",
    "{file}: producer.widow: unknown key: did you mean producer.window?",
    "{file}: producer.lane = \"fast\": expected one of interactive, bulk",
    "{file}: producer.idle_timeout_ms = -1: expected a whole number of milliseconds from 1000 to \
     604800000",
    "{file}: amqp.heartbeat_s = \"15\": expected a whole number of seconds from 1 to 600",
    "{file}: amqp.backoff_min_ms = 500000: expected at most amqp.backoff_max_ms",
    "variable JAILFLEET__PRODUCER__PREFETCH: producer.prefetch = \"0\": expected a whole number of \
     results from 1 to 2000",
    "flag log.format: log.format = \"xml\": expected one of text, json",
];

/// What `print-config` says is in force, as TOML.
fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    PRODUCER.printed(&[&["print-config"], arguments].concat(), variables)
}

#[test]
fn a_good_configuration_is_called_so_on_stderr_and_the_exit_code_is_0() {
    PRODUCER.assert_good("[producer]\nwindow = 64");
}

#[test]
fn all_mistakes_of_all_layers_are_told_at_once_and_nothing_is_begun() {
    let site = Site::of(WRONG);
    let results = Path::new(site.name()).with_extension("results");
    let results = results.to_str().expect("a plain path");
    // The exit code of submit is the program's: 125 says that there is none.
    for (command, code) in [
        (&["check-config"][..], 2),
        (&["print-config"], 2),
        (&["bulk", "/dev/null", "--results", results], 2),
        (&["submit", "--code", "/dev/null"], 125),
        (&["dead", "list"], 2),
        (&["lost", "list"], 2),
    ] {
        let arguments = [&["--config", site.name()], &WRONG_FLAG[..], command].concat();
        let said = PRODUCER.run(&arguments, &[WRONG_VARIABLE]);
        let first = "jailfleet-producer: failed to read the configuration:";
        said.assert_all_told(code, first, &SAID, &site);
        assert!(!Path::new(results).exists(), "{command:?}");
    }
}

#[test]
fn what_is_in_force_is_the_flag_over_the_variable_over_the_file_over_the_default() {
    let site = Site::of("[producer]\nwindow = 2\nprefetch = 20\nlane = \"interactive\"");
    let arguments = ["--config", site.name(), "--set", "producer.window=4"];
    let variables = [
        ("JAILFLEET__PRODUCER__WINDOW", "3"),
        ("jailfleet__producer__prefetch", "30"),
        ("JAILFLEETX__PRODUCER__LANE", "not ours"),
    ];
    let shown = printed(&arguments, &variables);
    for line in [
        "window = 4",
        "prefetch = 30",
        "lane = \"interactive\"",
        "pool = \"default\"",
    ] {
        assert_line(&shown, line);
    }
    // The other place for settings, and both places at one time.
    let early = ["--set", "producer.window=5"];
    let late = ["print-config", "--set", "producer.prefetch=6"];
    let both = PRODUCER.run(&[&early[..], &late].concat(), &[]).stdout;
    for line in ["window = 5", "prefetch = 6"] {
        assert_line(&both, line);
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
        ("[amqp]\nuri = \"http://g:hunter2@h/\"", "", 2),
        ("[amqp]\nurl = \"amqp://g:hunter2@h/\"", "", 2),
        ("[amqp]\nuri = \"amqp://g:hunter2@h/\nprefix = 1", "", 2),
        ("producer.window = 0", good, 2),
        ("", "hunter2", 2),
        (&format!("amqp.uri_file = \"{}\"", mounted.name()), "", 2),
        ("", good, 0),
    ] {
        PRODUCER.assert_untold("hunter2", case);
    }
}

#[test]
fn the_workers_sections_and_variables_are_none_of_the_producers_business() {
    let site = Site::of(
        "[worker]\nslots = 0\n[runtimes.x]\ny = 1\n[profiles.z]\ncpu_ms = 0\n[producer]\nwindow = 7",
    );
    let variables = [
        ("JAILFLEET__WORKER__SLOTS", "many"),
        ("JAILFLEET__CAPS__DEPTH", "0"),
    ];
    let shown = printed(&["--config", site.name()], &variables);
    assert_line(&shown, "window = 7");
    for section in ["[worker]", "[runtimes", "[profiles", "[caps]"] {
        assert!(!shown.contains(section), "{section}: {shown}");
    }
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
            "read /nonexistent/uri: No such file",
        ),
        (
            &["check-config", "--set", "window=3"],
            "expected SECTION.KEY=VALUE",
        ),
        (
            &["check-config", "--set", "log.level=jailfleet=loud"],
            "read log.level \"jailfleet=loud\": expected error, warn",
        ),
        (&["check-confg"], "check-config"),
    ] {
        PRODUCER.assert_refused(arguments, words);
    }
}

#[test]
fn what_nobody_reads_to_its_end_is_no_failure_and_is_not_spoken_of() {
    PRODUCER.assert_quiet_in_a_closed_pipe(&[&["print-config"], &["completion", "bash"]]);
}
