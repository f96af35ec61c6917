//! What the command line takes and refuses.

use super::*;
use clap::ValueEnum as _;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command_line().debug_assert();
}

#[test]
fn every_exit_code_is_named_in_the_help() {
    for exit in Exit::NAMED {
        assert!(
            AFTER_HELP.contains(&format!("\n  {}  ", exit.code())),
            "{exit:?}"
        );
    }
}

#[test]
fn settings_given_before_between_and_after_the_subcommands_all_count() {
    let line = [
        "jailfleet-producer",
        "--set",
        "producer.window=3",
        "--config",
        "early.toml",
        "dead",
        "--set",
        "amqp.prefix=x",
        "list",
        "--set",
        "producer.window=4",
        "--json",
    ];
    let cli = Cli::read(line).expect("a valid command line");
    let set = ["producer.window=3", "amqp.prefix=x", "producer.window=4"];
    let set = set.map(|text| setting(text).expect("a setting"));
    assert_eq!(cli.common.set, set);
    let config = cli.common.config.expect("the file is not lost");
    assert_eq!(config.to_str(), Some("early.toml"));
    let last = [
        "jailfleet-producer",
        "--config",
        "a",
        "bulk",
        "jobs",
        "--results",
        "r",
    ];
    let last = Cli::read(last.into_iter().chain(["--config", "b"])).expect("a valid one");
    assert_eq!(last.common.config, Some(PathBuf::from("b")));
}

#[test]
fn each_subcommand_keeps_its_own_description() {
    let described = |command: &clap::Command| {
        let about = |command: &clap::Command| {
            let about = command.get_about().map(ToString::to_string);
            (command.get_name().to_owned(), about)
        };
        let inner = command.get_subcommands();
        inner
            .flat_map(|command| std::iter::once(command).chain(command.get_subcommands()))
            .map(about)
            .collect::<Vec<_>>()
    };
    let plain = described(&Cli::command());
    assert_eq!(described(&Cli::command_line()), plain);
    assert!(plain.iter().all(|(_, about)| about.is_some()), "{plain:?}");
}

#[test]
fn arguments_of_the_program_may_look_like_options() {
    let cli = Cli::read([
        "jailfleet-producer",
        "submit",
        "--code",
        "-",
        "--arg",
        "-x",
        "--",
        "--json",
        "-v",
    ])
    .expect("a valid command line");
    let Command::Submit(submit) = cli.command else {
        panic!("another subcommand")
    };
    assert_eq!(submit.args, ["-x"]);
    assert_eq!(submit.rest, ["--json", "-v"]);
    assert!(!submit.json);
}

#[test]
fn limits_and_settings_that_do_not_read_are_refused() {
    for wrong in [
        "cpu_ms",
        "cpu_ms=",
        "cpu_ms=-1",
        "cpu_ms=0.5",
        "cpu_ms=99999999999999999999",
    ] {
        let line = ["jailfleet-producer", "submit", "--limit", wrong];
        assert!(Cli::read(line).is_err(), "{wrong}");
    }
    for wrong in ["window=3", "producer.window"] {
        let line = ["jailfleet-producer", "--set", wrong, "check-config"];
        assert!(Cli::read(line).is_err(), "{wrong}");
    }
}

#[test]
fn the_completion_script_of_each_shell_knows_every_subcommand() {
    for shell in clap_complete::Shell::value_variants() {
        let script = String::from_utf8(dispatch::completion(*shell)).expect("text");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}
