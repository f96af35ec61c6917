//! What is refused, and in which words.

use crate::{defaults, lines, producer, worker};
use jailfleet::settings::{env_pairs, worker_settings};

#[test]
fn all_mistakes_are_reported_at_once_with_key_value_range_and_source() {
    let file = r#"
        [worker]
        slots = 0
        wals = "full"
        drain_ms = 2.5
        [amqp]
        heartbeat_s = "15"
        backoff_min_ms = 500000
        [runtimes.python]
        cwd = "anywhere"
        main_file = "../x"
        [runtimes.node.limits]
        cpu_ms = 0
        memory_bytes = -1
        [runtimes.bash.limits]
        wall_ms = 120001
        [unheard]
        of = 1
    "#;
    let env = [
        ("JAILFLEET__ADMIN__LISTEN", "everywhere"),
        ("JAILFLEET__WORKER__WALLS", "none"),
    ];
    let said = lines(worker(file, &env, &[("caps.depth", "3")]));
    for part in [
        "site.toml: worker.slots = 0: expected \"auto\" or a whole number of slots from 1 to 1024",
        "site.toml: worker.wals: unknown key: did you mean worker.walls?",
        "site.toml: worker.drain_ms = 2.5: expected a whole number of milliseconds from 1 to 86400000",
        "site.toml: amqp.heartbeat_s = \"15\": expected a whole number of seconds from 1 to 600",
        "site.toml: amqp.backoff_min_ms = 500000: expected at most amqp.backoff_max_ms",
        "site.toml: runtimes.python.cwd = \"anywhere\": expected one of read_only, writable",
        "site.toml: runtimes.python.main_file = \"../x\": expected a relative path without ..",
        "site.toml: runtimes.node.limits.cpu_ms = 0: expected a whole number of milliseconds from 1 to 86400000",
        "site.toml: runtimes.node.limits.memory_bytes = -1: expected a whole number of bytes from 1048576 to 1099511627776",
        "site.toml: runtimes.bash.limits.wall_ms = 120001: runtime bash: above its ceiling, runtime_defaults.ceiling.wall_ms = 120000",
        "site.toml: unheard: unknown key: docs/configuration.md lists all",
        "variable JAILFLEET__ADMIN__LISTEN: admin.listen = \"everywhere\": expected an IP address and a port, such as 127.0.0.1:9464",
        "variable JAILFLEET__WORKER__WALLS: worker.walls = \"none\": expected one of full, container, laptop",
        "flag caps.depth: caps.depth = \"3\": expected a whole number of levels from 4 to 128",
    ] {
        assert!(
            said.iter().any(|line| line == part),
            "{part}\nis not among\n{}",
            said.join("\n")
        );
    }
    assert_eq!(said.len(), 14, "{}", said.join("\n"));
}

#[test]
fn a_section_that_is_no_table_is_one_mistake_and_hides_nothing_else() {
    let said = lines(worker("amqp = 3\nworker = { slots = true }", &[], &[]));
    assert_eq!(
        said,
        [
            "site.toml: amqp: a table: [amqp]",
            "site.toml: worker.slots = true: expected \"auto\" or a whole number of slots from 1 to 1024",
        ]
    );
}

#[test]
fn a_variable_that_names_no_single_value_is_refused() {
    let env = [
        ("JAILFLEET__AMQP", "x"),
        ("JAILFLEET__WORKER__SLOT", "1"),
        ("JAILFLEET__WARDEN__SYSTEM_BINDS", "/usr"),
        ("JAILFLEET__RUNTIMES__PYTHON__PROGRAM", "/bin/sh"),
        ("JAILFLEET__", "x"),
    ];
    let said = lines(worker("", &env, &[]));
    assert_eq!(said.len(), 5, "{}", said.join("\n"));
    for part in [
        "variable JAILFLEET__AMQP: amqp: is a section, not a value",
        "variable JAILFLEET__WORKER__SLOT: worker.slot: unknown key: did you mean worker.slots?",
        "variable JAILFLEET__WARDEN__SYSTEM_BINDS: warden.system_binds: is no single value: set it in the file given with --config",
        "variable JAILFLEET__RUNTIMES__PYTHON__PROGRAM: runtimes.python.program: has no variable: set it in the file given with --config",
    ] {
        assert!(
            said.iter().any(|line| line == part),
            "{part}\nis not among\n{}",
            said.join("\n")
        );
    }
}

#[test]
fn one_key_by_two_spellings_of_a_variable_is_refused_rather_than_guessed() {
    let env = [
        ("JAILFLEET__WORKER__SLOTS", "1"),
        ("Jailfleet__Worker__Slots", "2"),
    ];
    let said = lines(worker("", &env, &[]));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("set twice"), "{said:?}");
}

#[test]
fn each_binary_passes_over_the_sections_of_the_other() {
    let file = "[producer]\nwindow = 0\n[worker]\nslots = 1";
    let env = [("JAILFLEET__PRODUCER__WINDOW", "many")];
    worker(file, &env, &[]).expect("the producer's sections are none of the worker's business");
    let file = "[worker]\nslots = 0\n[runtimes.x]\ny = 1\n[producer]\nwindow = 7";
    let env = [
        ("JAILFLEET__WORKER__SLOTS", "many"),
        ("JAILFLEET__AMQP__PREFIX", "test-7"),
    ];
    let settings = producer(file, &env).expect("the worker's sections are none of its business");
    assert_eq!(settings.producer.window, 7);
    assert_eq!(settings.amqp.prefix, "test-7");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line_and_without_its_secrets() {
    let file = "[amqp]\nuri = \"amqp://u:hunter2@h/\nprefix = 1";
    let said = lines(worker(file, &[("JAILFLEET__WORKER__SLOTS", "0")], &[]));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("site.toml: TOML parse error at line 2"),
        "{said:?}"
    );
    assert!(!said.concat().contains("hunter2"), "{said:?}");
    assert!(said[1].contains("worker.slots"), "{said:?}");
}

#[test]
fn no_secret_shows_in_debug_print_mistakes_or_digest() {
    let env = [("JAILFLEET__AMQP__URI", "amqp://grader:hunter2@broker/%2f")];
    let settings = worker("", &env, &[]).expect("the URI is right");
    assert_eq!(
        settings.amqp.uri.expose(),
        "amqp://grader:hunter2@broker/%2f"
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
    let printed = settings.to_toml_redacted();
    assert!(
        printed.contains("uri = \"amqp://grader:***@broker/%2f\""),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"));
    assert_eq!(settings.digest(), defaults().digest());

    for wrong in ["http://u:hunter2@h/", "hunter2", "amqp://u:hunter2@h/ x"] {
        let said = lines(worker("", &[("JAILFLEET__AMQP__URI", wrong)], &[])).concat();
        assert!(said.contains("amqp.uri = "), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = lines(worker("[amqp]\nurl = \"amqp://u:hunter2@h/\"", &[], &[])).concat();
    assert!(said.contains("did you mean amqp.uri?"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_new_runtime_must_say_its_program_and_its_main_file() {
    let said = lines(worker(
        "[runtimes.r]\nargs = []\n[runtimes.Perl]\n",
        &[],
        &[],
    ));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("runtimes.Perl: a name of"), "{said:?}");
    assert!(
        said[1].contains("runtimes.r.main_file: missing: expected a relative"),
        "{said:?}"
    );
    assert!(
        said[2].contains("runtimes.r.program: missing: expected an absolute"),
        "{said:?}"
    );
}

#[test]
fn a_profile_may_bear_the_name_of_a_course_run_and_its_mistakes_cite_it_in_quotes() {
    let file = "[profiles.\"course-v1:X+Y.Z+1\"]\ncpu_ms = 0\ncpu_sm = 1\n\
                [profiles.\"a\\tb\"]\ncpu_ms = 1\n[profiles.\"\"]\n[profiles.X]\nwall_ms = 9999999";
    let flags = [("profiles.course-v1:X+Y.cpu_ms", "1")];
    let said = lines(worker(file, &[], &flags));
    let course = "site.toml: profiles.\"course-v1:X+Y.Z+1\"";
    for part in [
        format!("{course}.cpu_ms = 0: expected a whole number of milliseconds from 1 to 86400000"),
        format!("{course}.cpu_sm: unknown key: did you mean profiles.\"course-v1:X+Y.Z+1\".cpu_ms?"),
        "site.toml: profiles.X.wall_ms = 9999999: above the ceiling of every runtime: expected at most 120000".to_owned(),
        "site.toml: profiles.\"a\\u0009b\": a name of 1 to 255 bytes without control characters".to_owned(),
        "site.toml: profiles.\"\": a name of 1 to 255 bytes without control characters".to_owned(),
        "flag profiles.course-v1:X+Y.cpu_ms: profiles.\"course-v1:X+Y\".cpu_ms: has a name that no flag \
         can say: set it in the file given with --config"
            .to_owned(),
    ] {
        assert!(said.contains(&part), "{part}\nis not among\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), 6, "{}", said.join("\n"));
}

#[test]
fn what_spans_several_keys_is_checked() {
    for (file, part) in [
        (
            "[worker.lanes]\ninteractive = 0\nbulk = 0",
            "at least one lane",
        ),
        ("[retry]\ndelay_min_ms = 40000", "retry.delay_max_ms"),
        ("[caps]\nresult_bytes = 9000000", "largest output ceiling"),
        ("[warden]\nuid_base = 65000\nuid_count = 1000", "65534"),
        (
            "[profiles.huge]\nmemory_bytes = 805306369",
            "above the ceiling of every runtime",
        ),
        ("[runtimes.native]\nexecute_scratch = false", "main_file"),
        (
            "[runtimes.python]\nbinds = [{ source = \"/\" }]",
            "whole host",
        ),
        (
            "[runtimes.python]\nbinds = [{ source = \"/opt\", target = \"/tmp/x\" }]",
            "jail's own /tmp",
        ),
        (
            "[runtimes.python]\nbinds = [{ source = \"opt\" }]",
            "a list of",
        ),
        (
            "[runtimes.python]\nbinds = [{ source = \"/opt\", read_only = true }]",
            "a list of",
        ),
        ("[runtimes.python.env]\n\"A=B\" = \"1\"", "named by A-Z"),
        ("[amqp]\nprefix = \"amq.x\"", "the broker's own"),
        (
            "[runtimes.bash]\napparmor = \"a//&b\"",
            "1 to 64 characters of A-Z a-z 0-9",
        ),
    ] {
        let said = lines(worker(file, &[], &[])).join("\n");
        assert!(said.contains(part), "{file}\nsaid\n{said}");
    }
}

#[test]
fn a_name_that_is_not_utf8_is_carried_and_refused() {
    use std::os::unix::ffi::OsStringExt;
    let odd = std::ffi::OsString::from_vec(b"\xff".to_vec());
    let env = env_pairs([
        ("JAILFLEET__WORKER__HOST".into(), odd),
        ("JAILFLEET_TEST".into(), "not ours".into()),
        ("PATH".into(), "/bin".into()),
    ]);
    assert_eq!(env.len(), 1);
    let said = lines(worker_settings(None, &env, &[]));
    assert_eq!(
        said,
        ["variable JAILFLEET__WORKER__HOST: worker.host: expected UTF-8"]
    );
}

#[test]
fn a_gateway_that_the_world_can_reach_or_whose_runs_outlast_their_callers_is_a_mistake() {
    let file = r#"
        [serve]
        listen = "0.0.0.0:8550"
        hosts = ["codejail:8550"]
        profiles = ["good", "bad\u0007"]
        wall_ms = 3400
        body_bytes = 0
        shape = "flask"
    "#;
    let mistakes = producer(file, &[])
        .expect_err("all of it is wrong")
        .to_string();
    for part in [
        "serve.listen = \"0.0.0.0:8550\": expected a loopback or private address",
        "serve.hosts = [ … ]: expected names of hosts, each without a port",
        "serve.profiles = [ … ]",
        "serve.wall_ms = 3400: expected less than serve.read_timeout_ms minus serve.margin_ms",
        "serve.body_bytes = 0: expected a whole number of bytes from 1024 to 134217728",
        "serve.shape = \"flask\": expected one of openedx, edunext",
    ] {
        assert!(mistakes.contains(part), "{part} is not in\n{mistakes}");
    }
    for listen in ["127.0.0.1:0", "10.0.0.1:80", "[::1]:8550", "[fd00::1]:8550"] {
        let file = format!("[serve]\nlisten = \"{listen}\"");
        producer(&file, &[]).expect(listen);
    }
}
