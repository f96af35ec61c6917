//! A real Prometheus, with the configuration that is delivered, scrapes a real worker.

use crate::build;
use crate::clock::Stopwatch;
use crate::fleet::Fleet;
use crate::http::{escaped, get};
use crate::needs::{self, Install, Need};
use crate::programs::{Owned, capture, command, filter};
use crate::steps::both;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

/// The configuration scrapes each five seconds.
const SCRAPED: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);
/// How long it may be between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Checks configuration and alerts, and that what a worker exports arrives.
///
/// # Errors
/// What did not go as it must.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit, Need::Prometheus], install)?;
    let deploy = workspace.root().join("deploy");
    for (kind, file) in [("config", "prometheus.yml"), ("rules", "alerts.yml")] {
        let mut check = command("promtool");
        check.args(["check", kind]).arg(deploy.join(file));
        print!("{}", capture("promtool check", &mut check)?);
    }
    let mut test = command("promtool");
    test.current_dir(&deploy)
        .args(["test", "rules", "alerts-test.yml"]);
    print!("{}", capture("promtool test rules", &mut test)?);

    build::release(workspace)?;
    let folder = workspace.fresh_folder("prometheus")?;
    let mut fleet = Fleet::start(workspace, &folder, 1, |worker| worker)?;
    let worker = fleet.wait_for_admin_port(1)?;
    let scraped = Prometheus::start(&fleet, &deploy, &folder, &worker)
        .and_then(|prometheus| scrape(prometheus, &fleet, &deploy));
    both(scraped, fleet.stop())
}

/// Everything that needs worker and Prometheus.
fn scrape(mut prometheus: Prometheus, fleet: &Fleet, deploy: &Path) -> Result<()> {
    prometheus.wait_for_the_target()?;
    let page = fleet.metrics(1)?;
    // It says what it does not like on standard error, and ends with a code of its own then.
    filter("promtool", &["check", "metrics"], page.as_bytes()).context("like the worker's page")?;
    let exported = names(&page);
    ensure!(!exported.is_empty(), "find a series of ours on the page");
    let known = prometheus.names()?;
    let missing: Vec<&String> = exported.difference(&known).collect();
    ensure!(missing.is_empty(), "see in Prometheus: {missing:?}");
    let alerts = std::fs::read_to_string(deploy.join("alerts.yml")).context("read the alerts")?;
    let asked = asked(&alerts);
    let unknown: Vec<&String> = asked.difference(&exported).collect();
    ensure!(!asked.is_empty(), "find a metric in the alerts");
    ensure!(unknown.is_empty(), "find on the worker's page: {unknown:?}");
    let rules = prometheus.healthy_rules()?;
    println!(
        "Prometheus has all {} series names of the worker, and evaluates {rules} alerts",
        exported.len()
    );
    prometheus.end()
}

/// A Prometheus of our own.
#[derive(Debug)]
struct Prometheus {
    process: Owned,
    address: String,
}

impl Prometheus {
    fn start(fleet: &Fleet, deploy: &Path, folder: &Path, worker: &str) -> Result<Self> {
        let read = |name: &str| {
            std::fs::read_to_string(deploy.join(name)).with_context(|| format!("read {name}"))
        };
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).with_context(|| format!("write {name}"))
        };
        write(
            "prometheus.yml",
            aimed_at(&read("prometheus.yml")?, worker)?,
        )?;
        write("alerts.yml", read("alerts.yml")?)?;
        // Asked for and given back: somebody else could take it in between, and then it does not start.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("find a free port")?
            .port();
        let address = format!("127.0.0.1:{port}");
        let log = File::create(folder.join("prometheus.log")).context("make a log")?;
        let mut prometheus = command("prometheus");
        fleet.mark(&mut prometheus)?;
        prometheus
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("series").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(log.try_clone().context("make a log")?)
            .stderr(log);
        let process = Owned::start("prometheus", &mut prometheus)?;
        println!("A Prometheus at {address} scrapes the worker at {worker}");
        Ok(Self { process, address })
    }

    /// Waits until it says that it scrapes the worker, and only that.
    fn wait_for_the_target(&mut self) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.process.wait_within(LOOK)? {
                bail!("keep Prometheus running: it ended with {status}, see its log");
            }
            // Nobody listens in its first moments, and it knows no targets in those after them.
            let health = self.health();
            if matches!(health.as_deref(), Ok("up")) {
                return Ok(());
            }
            ensure!(
                watch.elapsed() < SCRAPED,
                "see the worker up within {SCRAPED:?}: {health:?}"
            );
        }
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer = get(&self.address, path)?;
        let mut answer: Value = serde_json::from_str(&answer).context("understand Prometheus")?;
        ensure!(
            answer.get("status").and_then(Value::as_str) == Some("success"),
            "have {path} answered: {answer}"
        );
        answer
            .get_mut("data")
            .map(Value::take)
            .context("find what Prometheus answers")
    }

    /// What it says of its one target.
    fn health(&self) -> Result<String> {
        let targets = self.ask("/api/v1/targets?state=active")?;
        let targets = targets.get("activeTargets").and_then(Value::as_array);
        let [target] = targets.context("find the targets")?.as_slice() else {
            bail!("see one target: {targets:?}");
        };
        let health = target.get("health").and_then(Value::as_str);
        health.map(str::to_owned).context("find a target's health")
    }

    /// The names of all series that are up to date.
    fn names(&self) -> Result<BTreeSet<String>> {
        let query = escaped("group by (__name__) ({job=\"jailfleet-worker\"})");
        let found = self.ask(&format!("/api/v1/query?query={query}"))?;
        let series = found.get("result").and_then(Value::as_array);
        let names = series.context("find the series")?.iter();
        let name = |one: &Value| one.pointer("/metric/__name__")?.as_str().map(str::to_owned);
        Ok(names.filter_map(name).collect())
    }

    /// How many alerts there are, each of which can be evaluated.
    fn healthy_rules(&self) -> Result<usize> {
        let found = self.ask("/api/v1/rules?type=alert")?;
        let groups = found.get("groups").and_then(Value::as_array);
        let rules: Vec<&Value> = groups
            .context("find the groups of alerts")?
            .iter()
            .filter_map(|group| group.get("rules").and_then(Value::as_array))
            .flatten()
            .collect();
        ensure!(!rules.is_empty(), "find an alert in Prometheus");
        for rule in &rules {
            // "unknown" is one whose turn has not come yet.
            let health = rule.get("health").and_then(Value::as_str);
            ensure!(health != Some("err"), "evaluate an alert: {rule}");
        }
        Ok(rules.len())
    }

    fn end(mut self) -> Result<()> {
        let status = self.process.terminate(END)?;
        ensure!(status.success(), "end Prometheus: it ended with {status}");
        Ok(())
    }
}

/// The configuration with the one thing changed that only Docker's names could make work.
fn aimed_at(config: &str, address: &str) -> Result<String> {
    let (before, names) = config
        .split_once("    dns_sd_configs:\n")
        .context("find dns_sd_configs in the configuration")?;
    ensure!(
        names.lines().all(|line| line.starts_with("      ")),
        "see nothing after dns_sd_configs: it would be lost"
    );
    Ok(format!(
        "{before}    static_configs:\n      - targets: [\"{address}\"]\n"
    ))
}

/// The names of the series of ours on a page of metrics.
fn names(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with("jailfleet_"))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// The names of our metrics in the alerts' expressions.
fn asked(alerts: &str) -> BTreeSet<String> {
    let name = Regex::new("jailfleet_[a-z_]+").expect("a good pattern");
    alerts
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"))
        .flat_map(|line| name.find_iter(line))
        .map(|found| found.as_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{aimed_at, asked, names};

    #[test]
    fn only_the_way_to_the_workers_is_another_one() {
        let config = include_str!("../../deploy/prometheus.yml");
        let ours = aimed_at(config, "127.0.0.1:7").expect("it has what is replaced");
        let (same, rest) = ours
            .split_once("    static_configs:")
            .expect("what takes its place");
        assert!(config.starts_with(same), "{ours}");
        assert_eq!(rest, "\n      - targets: [\"127.0.0.1:7\"]\n");
        aimed_at(&format!("{config}  - job_name: other\n"), "x").expect_err("a job would be lost");
    }

    #[test]
    fn names_are_read_from_pages_and_from_expressions() {
        let page = "# HELP jailfleet_a words\njailfleet_a{x=\"1\"} 2\njailfleet_b 3\nprocess_c 4\n";
        let found: Vec<String> = names(page).into_iter().collect();
        assert_eq!(found, ["jailfleet_a", "jailfleet_b"]);
        let alerts =
            "  - alert: jailfleet_x\n    expr: max(jailfleet_b / jailfleet_a{y=\"1\"}) > 0\n";
        let found: Vec<String> = asked(alerts).into_iter().collect();
        assert_eq!(found, ["jailfleet_a", "jailfleet_b"]);
    }
}
