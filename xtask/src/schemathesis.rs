//! A fuzzer that reads the description of the gateway's own interface and asks whatever it allows, and
//! much that it does not: no answer may be one that only trouble of ours explains.

use crate::build;
use crate::clock::Stopwatch;
use crate::fleet::Fleet;
use crate::http::get;
use crate::needs::{self, Install, Need};
use crate::programs::{Owned, command};
use crate::python::environment::{self, Packages};
use crate::steps::both;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

/// The fuzzer, from PyPI.
const PACKAGES: Packages = Packages::pinned("schemathesis", &["schemathesis==4.32.5"]);

/// What every answer must keep: no 5xx, and nothing but what the description says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance";

/// Where gateways keep what they accepted.
const LOGBOOK: &str = "jailfleet.reply.api";

/// Good for this run alone.
const TOKEN: &str = "a-token-of-the-fuzzer-0123456789";

/// The fuzzer asks as fast as it can, and must hear what it asks for and not that it is too fast.
const TENANT: &str = r#"lanes = ["bulk", "interactive"]
profile = ""
profiles = []
own_limits = true
requests_per_s = 100000
jobs_per_s = 100000
waits = 60
"#;

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(60);
/// Longer than all questions take on a busy machine.
const LONGEST: Duration = Duration::from_secs(1200);
/// How long it may be between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Fuzzes the interface with `examples` for each operation.
///
/// # Errors
/// When an answer is a 5xx, or not as described, or something does not start.
pub(crate) fn run(workspace: &Workspace, install: Install, examples: usize) -> Result<()> {
    needs::provide(
        &[Need::Python, Need::Venv, Need::Pkill, Need::Rabbit],
        install,
    )?;
    let venv = environment::provide(&PACKAGES)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("schemathesis")?;
    let mut fleet = Fleet::start(workspace, &folder, 1, |worker| worker)?;
    let fuzzed = fleet.wait_for_admin_port(1).and_then(|_its_address| {
        let mut gateway = Gateway::start(workspace, &mut fleet, &folder)?;
        let fuzzed = fuzz(&mut gateway, &venv, &folder, examples);
        both(fuzzed, gateway.end())?;
        // It stays on purpose, for the next gateway.
        fleet.delete_queue(LOGBOOK)
    });
    both(fuzzed, fleet.stop())
}

fn fuzz(gateway: &mut Gateway, venv: &Path, folder: &Path, examples: usize) -> Result<()> {
    gateway.wait_until_ready()?;
    let mut fuzzer = command(venv.join("bin/python"));
    fuzzer
        // What it remembers of a run stays out of the checkout.
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}/api/v1/openapi.json", gateway.address))
        .args(["--checks", CHECKS, "--header"])
        .arg(format!("Authorization: Bearer {TOKEN}"))
        .arg(format!("--max-examples={examples}"))
        // Answers of the same seed are the same: what fails once can be looked at.
        .args(["--seed=1", "--continue-on-failure", "--request-timeout=60"])
        .args(["--suppress-health-check=all", "--warnings=off"]);
    let mut fuzzer = Owned::start("schemathesis", &mut fuzzer)?;
    match fuzzer.wait_within(LONGEST)? {
        Some(status) if status.success() => {}
        Some(status) => bail!("see schemathesis find nothing: {status}, its words are above"),
        None => bail!("see schemathesis end within {LONGEST:?}"),
    }
    // What it said of the answers is its word; this is the gateway's own.
    let metrics = get(&gateway.admin, "/metrics")?;
    let count = |status: &str| {
        let series = format!("jailfleet_api_requests_total{{status=\"{status}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.with_context(|| format!("find {series}"))
    };
    println!(
        "The gateway answered {} times 202, {} times 400, {} times 404 and {} times 503",
        count("202")?,
        count("400")?,
        count("404")?,
        count("503")?
    );
    ensure!(count("503")? == "0", "see no 503: nothing was in the way");
    ensure!(count("202")? != "0", "see a job taken");
    Ok(())
}

/// A gateway that was started here.
struct Gateway {
    process: Owned,
    address: String,
    admin: String,
}

impl Gateway {
    fn start(workspace: &Workspace, fleet: &mut Fleet, folder: &Path) -> Result<Self> {
        let tenants = folder.join("tenants.toml");
        std::fs::write(&tenants, tenants_of(TOKEN)).context("write the tenants")?;
        let (address, admin) = (free_address()?, free_address()?);
        let log = File::create(folder.join("gateway.log")).context("make a log")?;
        let uri = fleet.uri_of_a_producer(workspace)?;
        let mut gateway = command(workspace.release("jailfleet-producer"));
        fleet.mark(&mut gateway)?;
        gateway
            .env("JAILFLEET__AMQP__URI", uri)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(format!("--set=serve.admin_listen={admin}"))
            .arg("--set=serve.enabled=false")
            .arg(format!("--set=api.listen={address}"))
            .arg(format!("--set=api.tenants_file={}", tenants.display()))
            // Some of the questions wait: that is to be seen, and not to be sat through.
            .args(["--set=api.wait_ms=200", "--set=api.events_ms=500"])
            .stdout(log.try_clone().context("make a log")?)
            .stderr(log);
        let process = Owned::start("the gateway", &mut gateway)?;
        Ok(Self {
            process,
            address,
            admin,
        })
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.process.wait_within(LOOK)? {
                bail!("keep the gateway running: it ended with {status}, see its log");
            }
            let ready = get(&self.admin, "/readyz");
            if ready.is_ok() {
                return Ok(());
            }
            ensure!(
                watch.elapsed() < START,
                "see the gateway ready within {START:?}: {ready:?}"
            );
        }
    }

    fn end(mut self) -> Result<()> {
        let status = self.process.terminate(END)?;
        ensure!(status.success(), "see the gateway end well: {status}");
        Ok(())
    }
}

fn tenants_of(token: &str) -> String {
    let hash: String = Sha256::digest(token)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("[tenants.fuzzer]\ntoken_sha256 = [\"{hash}\"]\n{TENANT}")
}

/// Asked for and given back: somebody else could take it in between, and then nothing starts.
fn free_address() -> Result<String> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context("find a free port")?
        .port();
    Ok(format!("127.0.0.1:{port}"))
}
