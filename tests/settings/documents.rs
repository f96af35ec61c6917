//! What is printed, and the pages that must not drift from the code.

use crate::{defaults, lines, producer, worker};
use jailfleet::job::Name;
use jailfleet::runtime::Program;
use jailfleet::settings::{PRODUCER_DEFAULTS, WORKER_DEFAULTS};

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
        limits = { address_space_bytes = 1073741824, file_bytes = 0 }
        [profiles."course-v1:edX+Demo.X+2026 \"ü\" \\ *"]
        cpu_ms = 3000
    "#;
    for settings in [
        defaults(),
        worker(file, &[], &[]).expect("the file is right"),
    ] {
        let printed = settings.to_toml_redacted();
        let mut again = worker(&printed, &[], &[]).expect("it was right before");
        again.amqp.uri = settings.amqp.uri.clone();
        assert_eq!(again, settings, "{printed}");
    }
    let file = "[producer]\nlane = \"interactive\"\n[serve]\nhosts = [\"codejail\"]\nprofile = \"a b\"\n\
                profiles = [\"course-v1:A+B+C\"]\nshape = \"edunext\"\nenabled = false";
    let settings = producer(file, &[]).expect("it is right");
    let mut again = producer(&settings.to_toml_redacted(), &[]).expect("it was right before");
    again.amqp.uri = settings.amqp.uri.clone();
    assert_eq!(again, settings);
}

/// The reference is generated from the table of keys and the embedded defaults. To bring the page
/// up to date: `JAILFLEET_BLESS=1 cargo test --test settings`.
#[test]
fn the_page_on_configuration_lists_every_key() {
    const BEGIN: &str = "<!-- generated: keys -->\n";
    const END: &str = "<!-- end of generated -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("the page exists");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the generated part");
    let (part, after) = rest.split_once(END).expect("the generated part ends");
    let reference = jailfleet::settings::reference();
    if std::env::var_os("JAILFLEET_BLESS").is_some() {
        let page = format!("{before}{BEGIN}{reference}{END}{after}");
        std::fs::write(path, page).expect("the page can be written");
        return;
    }
    assert_eq!(
        part, reference,
        "docs/configuration.md is out of date: see this test's comment"
    );
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
            assert!(
                text.lines().any(set),
                "{key} does not stand in the defaults"
            );
        }
    }
}

#[test]
fn the_virtual_environment_example_is_right() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/python-venv/worker.toml"
    );
    let text = std::fs::read_to_string(path).expect("the example exists");
    let settings = worker(&text, &[], &[]).expect("the example is right");
    let name = Name::parse("python-venv").expect("it is a name");
    let (_, runtime) = settings.runtime(&name).expect("the example configures it");
    let bind = runtime.binds.first().expect("the environment is bound");
    let Program::Path(program) = &runtime.program else {
        panic!("the program is a path")
    };
    assert!(
        program.starts_with(&bind.target),
        "the program must lie in the bind"
    );
}

/// The blocks of the page on configuration, without their indentation.
fn blocks() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("the page exists");
    let mut blocks = vec![String::new()];
    for line in page.lines() {
        let last = blocks.last_mut().expect("there is always one");
        match line.strip_prefix("    ") {
            Some(code) => last.extend([code, "\n"]),
            None if line.is_empty() => last.push('\n'),
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}

#[test]
fn the_toml_on_the_page_on_configuration_is_right() {
    let toml: Vec<String> = blocks()
        .into_iter()
        .filter(|block| block.trim_start().starts_with('['))
        .collect();
    assert_eq!(toml.len(), 4);
    for block in toml {
        let read = worker(&block, &[], &[]);
        assert!(read.is_ok(), "{block}\n{read:?}");
    }
}

#[test]
fn the_mistakes_on_the_page_on_configuration_are_reported_in_these_words() {
    let file = "amqp.heartbeat_s = 0\nruntimes.node.limits.cpu_ms = 90000\nworker.wals = 1";
    let said = lines(worker(file, &[], &[])).join("\n");
    let shown = blocks()
        .into_iter()
        .find(|block| block.contains("check-config"));
    let shown = shown.expect("the page shows mistakes");
    let (_, shown) = shown
        .trim()
        .split_once('\n')
        .expect("a command and its output");
    assert_eq!(shown.trim(), said.trim());
}
