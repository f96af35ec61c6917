//! What lies in `deploy/` and what starts it say the same.

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows `key:` on the one line of the text that begins with it, at whatever depth.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let start = format!("{key}:");
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    let found: Vec<&str> = lines.filter_map(|line| line.strip_prefix(&start)).collect();
    let [value] = found[..] else {
        panic!("{key} stands there {} times", found.len());
    };
    value.trim()
}

/// The lines of one service of the compose file.
fn service(compose: &str, name: &str) -> String {
    let mut lines = compose.lines().skip_while(|line| *line != "services:");
    let head = format!("  {name}:");
    lines
        .find(|line| *line == head)
        .unwrap_or_else(|| panic!("there is no service {name}"));
    let inside = |line: &&str| line.is_empty() || line.starts_with("   ");
    let body: Vec<&str> = lines.take_while(inside).collect();
    body.join("\n")
}

#[test]
fn prometheus_looks_for_the_workers_where_compose_has_them() {
    let prometheus = read("deploy/prometheus.yml");
    let name = value(&prometheus, "names").trim_matches(['[', ']']);
    // By A records: Docker's names have no others, and these know no port.
    assert_eq!(value(&prometheus, "type"), "A");
    let compose = read("docker-compose.yml");
    let worker = service(&compose, name);
    let listen = value(&worker, "JAILFLEET__ADMIN__LISTEN");
    assert_eq!(listen, format!("0.0.0.0:{}", value(&prometheus, "port")));
    // Whoever is asked for by that name has to be in the same network, that of the project.
    for name in [name, "prometheus"] {
        assert!(!service(&compose, name).contains("network"), "{name}");
    }
}

#[test]
fn prometheus_finds_its_files_where_compose_puts_them() {
    let prometheus = read("deploy/prometheus.yml");
    let rules = value(&prometheus, "rule_files").trim_matches(['[', ']']);
    let service = service(&read("docker-compose.yml"), "prometheus");
    for file in ["prometheus.yml", rules] {
        let mount = format!("- ./deploy/{file}:/etc/prometheus/{file}:ro");
        assert!(service.contains(&mount), "{mount}");
        assert!(!read(&format!("deploy/{file}")).is_empty());
    }
}

#[test]
fn compose_and_kubernetes_ask_for_metrics_at_the_same_port() {
    let port = read("deploy/prometheus.yml");
    let port = value(&port, "port");
    let kubernetes = read("deploy/kubernetes/worker.yaml");
    assert!(kubernetes.contains(&format!("containerPort: {port} ")));
    assert!(kubernetes.contains(&format!("value: \"0.0.0.0:{port}\"")));
    assert_eq!(
        read("deploy/Dockerfile")
            .lines()
            .find(|line| line.starts_with("EXPOSE")),
        Some(format!("EXPOSE {port}").as_str())
    );
}

/// Our names in a text, without what a histogram's series have at their end.
fn metrics(text: &str) -> BTreeSet<String> {
    let letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let words = text.split(|one| !letter(one));
    words
        .filter(|word| word.starts_with("jailfleet_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn every_alert_asks_for_a_metric_that_exists_and_has_a_test() {
    let alerts = read("deploy/alerts.yml");
    let expressions: String = alerts
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"))
        .collect();
    let asked = metrics(&expressions);
    assert!(asked.len() > 5, "{asked:?}");
    let page = metrics(&read("docs/metrics.md"));
    let unknown: Vec<&String> = asked.difference(&page).collect();
    assert!(unknown.is_empty(), "no metric: {unknown:?}");
    let tests = read("deploy/alerts-test.yml");
    for name in alerts.lines().filter_map(|line| line.split_once("alert: ")) {
        let name = name.1;
        // It stays silent while all is well, and fires when nothing is.
        assert!(tests.contains(&format!("alertname: {name},")), "{name}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name}");
    }
}
