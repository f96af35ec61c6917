//! The pages for operators say what the program does: docs/metrics.md and docs/operations.md.

use std::collections::BTreeSet;
use std::path::Path;

use jailfleet::job::Name;
use jailfleet::settings::ReplyMode;
use jailfleet_harness::metrics_page::assert_page_names_metrics;
use jailfleet_queue::topology::{Names, Party, Rights};
use jailfleet_worker::cli::Exit;
use jailfleet_worker::metrics::Metrics;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_of_metrics_names_each_with_type_labels_meaning_and_what_to_do() {
    let metrics = Metrics::new().expect("they are well formed");
    let exported = String::from_utf8(metrics.render().expect("they render")).expect("text");
    assert_page_names_metrics(&read("docs/metrics.md"), &exported);
}

#[test]
fn the_page_of_metrics_lists_those_that_have_a_tenant_where_there_are_some() {
    let names = ["art", "zoology"].map(|name| Name::parse(name).expect("a name"));
    let metrics = Metrics::of(&names).expect("they are well formed");
    let exported = String::from_utf8(metrics.render().expect("they render")).expect("text");
    let labelled: BTreeSet<&str> = exported
        .lines()
        .filter(|line| line.contains("tenant=\""))
        .filter_map(|line| line.split('{').next())
        .collect();
    let page = read("docs/metrics.md");
    let (_, rest) = page.split_once("## Tenants\n").expect("it is there");
    let (part, _) = rest.split_once("\n## ").unwrap_or((rest, ""));
    let listed: BTreeSet<&str> = part
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with("jailfleet_"))
        .collect();
    assert_eq!(listed, labelled);
    for line in exported.lines().filter(|line| line.contains("tenant=\"")) {
        let known = ["tenant=\"art\"", "tenant=\"zoology\""];
        assert!(known.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn the_page_for_operators_names_every_exit_code() {
    let page = read("docs/operations.md");
    for exit in Exit::ALL {
        let row = format!("\n| {} | ", exit.code());
        assert!(page.contains(&row), "{exit:?}");
    }
}

#[test]
fn the_page_for_operators_names_every_reason_of_not_being_ready() {
    let page = read("docs/operations.md");
    let source = read("worker/src/supervisor.rs");
    let said_by = |function: &str| {
        let (_, body) = source.split_once(function).expect("it is there");
        let (body, _) = body.split_once("\n    }\n").expect("it ends");
        let said = body.split("Some(\"").skip(1);
        said.filter_map(|rest| rest.split('"').next()).collect()
    };
    let mut reasons: Vec<&str> = said_by("pub fn unready");
    let of_a_tenant: Vec<&str> = said_by("pub fn unserved");
    assert_eq!(of_a_tenant.len(), 3, "{of_a_tenant:?}");
    reasons.extend(of_a_tenant);
    assert!(reasons.len() >= 7, "{reasons:?}");
    for reason in reasons.into_iter().chain(["starting"]) {
        assert!(page.contains(&format!("\n| `{reason}` | ")), "{reason}");
    }
}

#[test]
fn the_page_on_the_broker_has_the_rights_that_the_program_prints() {
    let page = read("docs/broker.md");
    let (_, rest) = page
        .split_once("<!-- generated: rights -->\n")
        .expect("the page has the generated part");
    let (part, _) = rest
        .split_once("<!-- end of generated -->")
        .expect("it ends");
    let (names, pool) = (Names::new("jailfleet"), Name::parse("default"));
    let pools = [pool.expect("a name")];
    let mut printed = String::new();
    for party in Party::ALL {
        let rights = Rights::of(party, &names, &pools, ReplyMode::Exchange);
        for command in rights.commands("/", party.user()) {
            printed.push_str(&format!("    {command}\n"));
        }
    }
    assert_eq!(part, printed);
}
