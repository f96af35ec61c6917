//! The configuration: layers, mistakes, secrets, and the documents that must not drift from it.

use jailfleet::job::Name;
use jailfleet::limits::LimitsRequest;
use jailfleet::runtime::{Cwd, Presence, Program};
use jailfleet::settings::{
    LaneShares, Mistakes, PRODUCER_DEFAULTS, ProducerSettings, ReplyMode, Slots, SourceText,
    WORKER_DEFAULTS, WorkerSettings, env_pairs, producer_settings, worker_settings,
};
use jailfleet::wall::WallSet;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn worker(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<WorkerSettings, Mistakes> {
    let file = SourceText { name: "site.toml", text: file };
    worker_settings(Some(file), &pairs(env), &pairs(flags))
}

fn producer(file: &str, env: &[(&str, &str)]) -> Result<ProducerSettings, Mistakes> {
    let file = SourceText { name: "site.toml", text: file };
    producer_settings(Some(file), &pairs(env), &[])
}

fn defaults() -> WorkerSettings {
    worker_settings(None, &[], &[]).expect("the embedded defaults are right")
}

fn lines(result: Result<WorkerSettings, Mistakes>) -> Vec<String> {
    let mistakes = result.expect_err("this configuration is wrong");
    mistakes.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_embedded_defaults_are_right_and_complete() {
    let settings = defaults();
    let names: Vec<&str> = settings.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
    assert_eq!(names, ["bash", "native", "node", "python"]);
    assert_eq!(settings.worker.walls, WallSet::Full);
    assert_eq!(settings.worker.slots, Slots::Auto);
    let python = settings.runtimes.last().expect("there are four");
    assert_eq!(python.program, Program::Path("/usr/bin/python3".to_owned()));
    assert_eq!(python.args, ["-E", "-B"]);
    assert_eq!(python.main_file, "jailed_code");
    assert_eq!(python.presence, Presence::IfPresent);
    assert_eq!(python.cwd, Cwd::ReadOnly);
    assert!(python.env.contains(&("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned())));
    assert!(python.limits.address_space_bytes.is_none());
    producer_settings(None, &[], &[]).expect("the embedded defaults are right");
}

#[test]
fn a_later_layer_wins_over_an_earlier_one() {
    let file = "[worker]\nslots = 2\npool = \"exams\"\nhost = \"h1\"";
    let env = [("JAILFLEET__WORKER__SLOTS", "3"), ("jailfleet__worker__pool", "labs")];
    let flags = [("worker.slots", "4")];
    let settings = worker(file, &env, &flags).expect("all of it is right");
    assert_eq!(settings.worker.slots, Slots::Count(4));
    assert_eq!(settings.worker.pool.as_str(), "labs");
    assert_eq!(settings.worker.host.as_deref(), Some("h1"));
    assert_eq!(settings.worker.user, "nobody");
}

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
    let env = [("JAILFLEET__ADMIN__LISTEN", "everywhere"), ("JAILFLEET__WORKER__WALLS", "none")];
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
        assert!(said.iter().any(|line| line == part), "{part}\nis not among\n{}", said.join("\n"));
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
        assert!(said.iter().any(|line| line == part), "{part}\nis not among\n{}", said.join("\n"));
    }
}

#[test]
fn one_key_by_two_spellings_of_a_variable_is_refused_rather_than_guessed() {
    let env = [("JAILFLEET__WORKER__SLOTS", "1"), ("Jailfleet__Worker__Slots", "2")];
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
    let env = [("JAILFLEET__WORKER__SLOTS", "many"), ("JAILFLEET__AMQP__PREFIX", "test-7")];
    let settings = producer(file, &env).expect("the worker's sections are none of its business");
    assert_eq!(settings.producer.window, 7);
    assert_eq!(settings.amqp.prefix, "test-7");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line_and_without_its_secrets() {
    let file = "[amqp]\nuri = \"amqp://u:hunter2@h/\nprefix = 1";
    let said = lines(worker(file, &[("JAILFLEET__WORKER__SLOTS", "0")], &[]));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("site.toml: TOML parse error at line 2"), "{said:?}");
    assert!(!said.concat().contains("hunter2"), "{said:?}");
    assert!(said[1].contains("worker.slots"), "{said:?}");
}

#[test]
fn no_secret_shows_in_debug_print_mistakes_or_digest() {
    let env = [("JAILFLEET__AMQP__URI", "amqp://grader:hunter2@broker/%2f")];
    let settings = worker("", &env, &[]).expect("the URI is right");
    assert_eq!(settings.amqp.uri.expose(), "amqp://grader:hunter2@broker/%2f");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let printed = settings.to_toml_redacted();
    assert!(printed.contains("uri = \"amqp://grader:***@broker/%2f\""), "{printed}");
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
fn the_digest_follows_every_setting_but_the_credentials() {
    let digest = defaults().digest();
    assert_eq!(digest.len(), 64);
    for file in [
        "[worker]\nslots = 3",
        "[warden]\nuid_base = 80000",
        "[runtimes.python]\nargs = [\"-I\"]",
        "[runtimes.python.env]\nLANG = \"C\"",
        "[runtime_defaults.ceiling]\ncpu_ms = 60001",
        "[profiles.large]\ncpu_ms = 20001",
        "[runtimes.node]\noffered = \"never\"",
    ] {
        let other = worker(file, &[], &[]).expect("the file is right").digest();
        assert_ne!(other, digest, "{file}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let file = r#"
        [worker]
        slots = 3
        host = "h1"
        [amqp]
        reply_mode = "exchange"
        uri_file = "/run/secrets/amqp"
        [runtimes.odd]
        program = "/opt/odd/bin/odd"
        args = ["-c", "say \"hi\" \\ \u0007 ü"]
        main_file = "a/b"
        binds = [{ source = "/opt/odd", target = "/opt/there", optional = true }]
        env = { Weird_1 = "= # \"" }
        cwd = "writable"
        apparmor = "jailfleet-odd"
        limits = { address_space_bytes = 1073741824, file_bytes = 0 }
    "#;
    for settings in [defaults(), worker(file, &[], &[]).expect("the file is right")] {
        let printed = settings.to_toml_redacted();
        let mut again = worker(&printed, &[], &[]).expect("it was right before");
        again.amqp.uri = settings.amqp.uri.clone();
        assert_eq!(again, settings, "{printed}");
    }
    let settings = producer("[producer]\nreply_prefix = \"class.\"", &[]).expect("it is right");
    let mut again = producer(&settings.to_toml_redacted(), &[]).expect("it was right before");
    again.amqp.uri = settings.amqp.uri.clone();
    assert_eq!(again, settings);
}

#[test]
fn a_runtime_inherits_what_it_does_not_say_and_its_variables_are_laid_over() {
    let file = r#"
        [runtimes.python311]
        program = "/opt/venv/bin/python"
        main_file = "jailed_code"
        binds = [{ source = "/opt/venv" }]
        env = { LANG = "de_DE.UTF-8", EXTRA = "1" }
        limits = { cpu_ms = 9000 }
    "#;
    let settings = worker(file, &[], &[]).expect("the file is right");
    let name = Name::parse("python311").expect("it is a name");
    let runtime = settings.runtime(&name).expect("it is configured");
    assert_eq!(settings.runtimes[runtime.0].name, name);
    let runtime = runtime.1;
    assert_eq!(runtime.limits.cpu_ms.get(), 9000);
    assert_eq!(runtime.limits.wall_ms.get(), 6000);
    assert_eq!(runtime.binds[0].target, "/opt/venv");
    assert!(runtime.env.contains(&("LANG".to_owned(), "de_DE.UTF-8".to_owned())));
    assert!(runtime.env.contains(&("EXTRA".to_owned(), "1".to_owned())));
    assert!(runtime.env.contains(&("OMP_NUM_THREADS".to_owned(), "1".to_owned())));
}

#[test]
fn a_job_gets_its_own_limits_over_the_profile_over_the_runtime() {
    let settings = defaults();
    let python = Name::parse("python").expect("it is a name");
    let (_, python) = settings.runtime(&python).expect("it is configured");
    let large = settings.profiles.values().next().expect("there is one");
    let job = LimitsRequest { wall_ms: Some(7000), ..LimitsRequest::default() };
    let limits = python.limits_for(Some(large), &job).expect("all lies below the ceiling");
    assert_eq!(limits.cpu_ms.get(), 20_000);
    assert_eq!(limits.wall_ms.get(), 7000);
    assert_eq!(limits.output_bytes.get(), 1_048_576);
    let job = LimitsRequest { cpu_ms: Some(60_001), ..LimitsRequest::default() };
    let rejection = python.limits_for(None, &job).expect_err("the ceiling is 60 s");
    assert!(rejection.message.contains("cpu_ms"), "{}", rejection.message);
}

#[test]
fn a_runtime_that_is_never_offered_is_left_out_but_still_checked() {
    let settings = worker("[runtimes.node]\noffered = \"never\"", &[], &[]).expect("it is right");
    assert!(settings.runtimes.iter().all(|runtime| runtime.name.as_str() != "node"));
    let said = lines(worker("[runtimes.node]\noffered = \"never\"\ncwd = \"x\"", &[], &[]));
    assert_eq!(said.len(), 1);
    let none = "runtimes = { bash.offered = \"never\", native.offered = \"never\", \
                node.offered = \"never\", python.offered = \"never\" }";
    assert!(lines(worker(none, &[], &[])).concat().contains("offer at least one"));
}

#[test]
fn a_new_runtime_must_say_its_program_and_its_main_file() {
    let said = lines(worker("[runtimes.r]\nargs = []\n[runtimes.Perl]\n", &[], &[]));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("runtimes.Perl: a name of"), "{said:?}");
    assert!(said[1].contains("runtimes.r.main_file: missing: expected a relative"), "{said:?}");
    assert!(said[2].contains("runtimes.r.program: missing: expected an absolute"), "{said:?}");
}

#[test]
fn what_spans_several_keys_is_checked() {
    for (file, part) in [
        ("[worker.lanes]\ninteractive = 0\nbulk = 0", "at least one lane"),
        ("[retry]\ndelay_min_ms = 40000", "retry.delay_max_ms"),
        ("[caps]\nresult_bytes = 9000000", "largest output ceiling"),
        ("[warden]\nuid_base = 65000\nuid_count = 1000", "65534"),
        ("[profiles.huge]\nmemory_bytes = 805306369", "above the ceiling of every runtime"),
        ("[runtimes.native]\nexecute_scratch = false", "main_file"),
        ("[runtimes.python]\nbinds = [{ source = \"/\" }]", "whole host"),
        ("[runtimes.python]\nbinds = [{ source = \"/opt\", target = \"/tmp/x\" }]", "jail's own /tmp"),
        ("[runtimes.python]\nbinds = [{ source = \"opt\" }]", "a list of"),
        ("[runtimes.python]\nbinds = [{ source = \"/opt\", read_only = true }]", "a list of"),
        ("[runtimes.python.env]\n\"A=B\" = \"1\"", "named by A-Z"),
        ("[amqp]\nprefix = \"amq.x\"", "the broker's own"),
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
    assert_eq!(said, ["variable JAILFLEET__WORKER__HOST: worker.host: expected UTF-8"]);
}

#[test]
fn lanes_share_all_slots_and_none_of_them_starves() {
    let weights = LaneShares { interactive: 1, bulk: 3 };
    assert_eq!(weights.split(1), LaneShares { interactive: 1, bulk: 1 });
    for slots in 2..200 {
        let LaneShares { interactive, bulk } = weights.split(slots);
        assert!(interactive >= 1 && bulk >= 1 && interactive + bulk == slots, "{slots}");
    }
    assert_eq!(weights.split(8), LaneShares { interactive: 2, bulk: 6 });
    let lopsided = LaneShares { interactive: 1000, bulk: 1 };
    assert_eq!(lopsided.split(4), LaneShares { interactive: 3, bulk: 1 });
    let single = LaneShares { interactive: 0, bulk: 1 };
    assert_eq!(single.split(4), LaneShares { interactive: 0, bulk: 4 });
}

#[test]
fn the_uri_of_a_mounted_file_takes_its_place_after_the_same_check() {
    let mut settings = defaults();
    settings.amqp.take_uri("amqps://u:p@h:5671/exams\n").expect("it is a URI");
    assert_eq!(settings.amqp.uri.expose(), "amqps://u:p@h:5671/exams");
    let mistake = settings.amqp.take_uri("u:hunter2@h").expect_err("it has no scheme").to_string();
    assert!(mistake.contains("amqp.uri_file") && !mistake.contains("hunter2"), "{mistake}");
    assert_eq!(settings.amqp.reply_mode, ReplyMode::Default);
}

#[test]
fn two_slots_fit_into_two_gibibytes() {
    assert!(defaults().memory_demand(2) <= 2 << 30);
    assert_eq!(defaults().memory_demand(2), 2 * 805_306_368);
}

/// The reference is generated from the table of keys and the embedded defaults. To bring the page
/// up to date: `JAILFLEET_BLESS=1 cargo test --test settings`.
#[test]
fn the_page_on_configuration_lists_every_key() {
    const BEGIN: &str = "<!-- generated: keys -->\n";
    const END: &str = "<!-- end of generated -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("the page exists");
    let (before, rest) = page.split_once(BEGIN).expect("the page has the generated part");
    let (part, after) = rest.split_once(END).expect("the generated part ends");
    let reference = jailfleet::settings::reference();
    if std::env::var_os("JAILFLEET_BLESS").is_some() {
        let page = format!("{before}{BEGIN}{reference}{END}{after}");
        std::fs::write(path, page).expect("the page can be written");
        return;
    }
    assert_eq!(part, reference, "docs/configuration.md is out of date: see this test's comment");
}

#[test]
fn every_key_stands_in_the_embedded_defaults() {
    for (text, keys) in [
        (WORKER_DEFAULTS, jailfleet::settings::worker_key_names()),
        (PRODUCER_DEFAULTS, jailfleet::settings::producer_key_names()),
    ] {
        for key in keys {
            let name = key.rsplit('.').next().expect("a key has a name");
            let set = |line: &str| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{name} = ")) || line.ends_with(&format!(".{name}]"))
            };
            assert!(text.lines().any(set), "{key} does not stand in the defaults");
        }
    }
}

#[test]
fn the_virtual_environment_example_is_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/venv/worker.toml");
    let text = std::fs::read_to_string(path).expect("the example exists");
    let settings = worker(&text, &[], &[]).expect("the example is right");
    let name = Name::parse("python-venv").expect("it is a name");
    let (_, runtime) = settings.runtime(&name).expect("the example configures it");
    let bind = runtime.binds.first().expect("the environment is bound");
    let Program::Path(program) = &runtime.program else { panic!("the program is a path") };
    assert!(program.starts_with(&bind.target), "the program must lie in the bind");
}
