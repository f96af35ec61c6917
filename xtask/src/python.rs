//! The Python client: its types and lints, its pure tests under every Python that is here, and its
//! tests against a real broker, a real worker and the codejail that it takes the place of.

use crate::build;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::{Owned, capture, command, is_there, output, run};
use crate::steps::both;
use crate::venv;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) mod environment;
mod package;

use environment::{IN_THE_JAIL, TOOLS};

/// The minor versions that the package says it runs on.
const MINORS: std::ops::RangeInclusive<u32> = 9..=13;

/// The tests that want nothing beside them but a worker and pika.
const ALONE: [&str; 4] = [
    "tests.real_client",
    "tests.real_example",
    "tests.real_remote_exec",
    "tests.real_jail_code",
];

/// How many generated calls go to the client and to codejail, in `test`.
pub(crate) const CALLS: usize = 100;

/// Longer than all tests take on a busy machine.
const LONGEST: Duration = Duration::from_secs(900);

/// How much is tried with a real worker.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Trial {
    /// How many generated calls go to the client and to codejail.
    #[arg(long, default_value_t = CALLS)]
    pub(crate) calls: usize,
    /// With which Pythons the client's own tests meet a real worker.
    #[arg(long, value_enum, default_value_t = Pythons::System)]
    pub(crate) pythons: Pythons,
}

/// Pythons of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pythons {
    /// The system's.
    System,
    /// Every one that the package says it runs on, as far as it is here.
    All,
}

/// Checks and tests the client. Says in `unseen` under which Pythons nobody has tried it.
///
/// # Errors
/// What does not pass.
pub(crate) fn check(
    workspace: &Workspace,
    install: Install,
    trial: Trial,
    unseen: &mut Option<String>,
) -> Result<()> {
    let needs = [Need::Python, Need::Venv, Need::Pkill, Need::Rabbit];
    needs::provide(&needs, install)?;
    let client = Client {
        folder: workspace.root().join("clients/python"),
        tools: environment::provide(&TOOLS)?,
        jail: environment::provide(&IN_THE_JAIL)?,
    };
    client.lint()?;
    let folder = workspace.fresh_folder("python")?;
    let installed = package::installed(&client, &folder)?;
    let pythons = Interpreters::find()?;
    client.test_pure(&installed, &pythons)?;
    *unseen = pythons.unseen();
    build::release(workspace)?;
    let config = client.worker_config(&folder)?;
    let mut fleet = Fleet::start(workspace, &folder, 1, |mut worker| {
        worker.arg("--config").arg(&config);
        worker
    })?;
    let tested = fleet.wait_for_admin_port(1).and_then(|_its_address| {
        let producer = fleet.uri_of_a_producer(workspace)?;
        let complete = |tests: &mut Command| {
            tests.env("JAILFLEET_PYTHON_PRODUCER", &producer);
            fleet.point_at_broker(tests)
        };
        client.test_real(workspace, trial.calls, complete)?;
        match trial.pythons {
            Pythons::System => Ok(()),
            Pythons::All => client.test_real_alone(&installed, &pythons, complete),
        }
    });
    both(tested, fleet.stop())
}

/// A script of the client's tests, for a Python that has pika.
pub(crate) fn script(workspace: &Workspace, name: &str) -> Result<Command> {
    let folder = workspace.root().join("clients/python");
    let path = folder.join("tests").join(name);
    let mut python = python_in(&folder, &environment::provide(&TOOLS)?.join("bin/python"));
    python.arg(path);
    Ok(python)
}

/// A Python that knows the client and leaves nothing in the checkout.
fn python_in(folder: &Path, program: &Path) -> Command {
    let mut python = command(program);
    python
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", folder.join("src"));
    python
}

/// The client's folder, and the environments that its tests need.
struct Client {
    folder: PathBuf,
    tools: PathBuf,
    jail: PathBuf,
}

impl Client {
    fn python(&self, program: impl AsRef<Path>) -> Command {
        let mut python = python_in(&self.folder, program.as_ref());
        python
            .env("MYPY_CACHE_DIR", self.tools.join("mypy"))
            .env("RUFF_NO_CACHE", "true");
        python
    }

    fn tool(&self) -> Command {
        self.python(self.tools.join("bin/python"))
    }

    fn lint(&self) -> Result<()> {
        run("ruff", self.tool().args(["-m", "ruff", "check", "--quiet"]))?;
        let format = ["-m", "ruff", "format", "--check", "--quiet"];
        run("ruff", self.tool().args(format))?;
        run("mypy", self.tool().args(["-m", "mypy"]))
    }

    /// The pure tests of the installed client, under the tools' Python and every other one that is here.
    fn test_pure(&self, installed: &Path, pythons: &Interpreters) -> Result<()> {
        let pure = |python: &mut Command| {
            python.args(["-m", "unittest", "discover", "-s", "tests", "-t", "."]);
            run("the pure tests of the Python client", python)
        };
        pure(self.tool().env("PYTHONPATH", installed))?;
        for (name, found) in &pythons.here {
            pure(&mut self.other(found, installed)?).with_context(|| format!("with {name}"))?;
        }
        println!("Tested with {}", pythons.names());
        Ok(())
    }

    /// Another Python with the installed client and what it needs: pika is Python alone, and so the same for
    /// all versions.
    fn other(&self, python: &Path, installed: &Path) -> Result<Command> {
        let path = [installed.to_path_buf(), self.packages()?];
        let mut python = self.python(python);
        python.env("PYTHONPATH", std::env::join_paths(path)?);
        Ok(python)
    }

    /// Where the environment of the tools keeps its packages.
    fn packages(&self) -> Result<PathBuf> {
        let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let path = capture("python", self.tool().args(["-c", ask]))?;
        Ok(PathBuf::from(path.trim()))
    }

    /// The configuration of the tests' worker, with our environment where the file has the documented one.
    fn worker_config(&self, folder: &Path) -> Result<PathBuf> {
        let config = std::fs::read_to_string(self.folder.join("tests/worker.toml"))
            .context("read the configuration of the tests' worker")?;
        let jail = self
            .jail
            .to_str()
            .context("use a cache whose name is text")?;
        let file = folder.join("worker.toml");
        std::fs::write(&file, venv::bound(&config, jail)?)
            .with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// All tests that need a worker; `complete` tells them where the broker is.
    fn test_real(
        &self,
        workspace: &Workspace,
        calls: usize,
        complete: impl Fn(&mut Command) -> Result<()>,
    ) -> Result<()> {
        let mut tests = self.tool();
        tests
            .args(["-m", "unittest", "discover", "--verbose"])
            .args(["-s", "tests", "-t", ".", "-p", "real_*.py"])
            .env("JAILFLEET_PYTHON_CALLS", calls.to_string())
            .env(
                "JAILFLEET_PYTHON_GATEWAY",
                workspace.release("jailfleet-producer"),
            );
        complete(&mut tests)?;
        passes("the tests of the Python client", &mut tests)
    }

    /// The tests that need a worker and nothing else of ours or of codejail's, under each Python.
    fn test_real_alone(
        &self,
        installed: &Path,
        pythons: &Interpreters,
        complete: impl Fn(&mut Command) -> Result<()>,
    ) -> Result<()> {
        for (name, found) in &pythons.here {
            let mut tests = self.other(found, installed)?;
            tests.args(["-m", "unittest"]).args(ALONE);
            complete(&mut tests)?;
            println!("The client's own tests with a real worker, under {name} ...");
            passes(&format!("the tests under {name}"), &mut tests)?;
        }
        Ok(())
    }
}

fn passes(name: &str, tests: &mut Command) -> Result<()> {
    let mut tests = Owned::start(name, tests)?;
    match tests.wait_within(LONGEST)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("see {name} pass: {status}"),
        None => bail!("see {name} end within {LONGEST:?}"),
    }
}

/// The Pythons that the package says it runs on: by name, those that are here and those that are not.
struct Interpreters {
    here: Vec<(String, PathBuf)>,
    missing: Vec<String>,
}

impl Interpreters {
    fn find() -> Result<Self> {
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for minor in MINORS {
            let name = format!("python3.{minor}");
            match interpreter(minor)? {
                Some(found) => here.push((name, found)),
                None => missing.push(name),
            }
        }
        Ok(Self { here, missing })
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.here.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }

    /// Which Pythons nobody has tried, in words.
    fn unseen(&self) -> Option<String> {
        if self.missing.is_empty() {
            return None;
        }
        let unseen = format!(
            "NOT CHECKED: the Python client under {}, which this machine does not have",
            self.missing.join(", ")
        );
        println!("{unseen}");
        Some(unseen)
    }
}

/// Python 3 of this minor version: on PATH, or among those of a pyenv, which may not be switched on.
fn interpreter(minor: u32) -> Result<Option<PathBuf>> {
    let name = format!("python3.{minor}");
    let mut candidates = vec![PathBuf::from(&name)];
    if let Some(root) = std::env::var_os("PYENV_ROOT") {
        let Ok(versions) = std::fs::read_dir(PathBuf::from(root).join("versions")) else {
            return Ok(None);
        };
        let own = format!("3.{minor}.");
        for version in versions {
            let version = version.context("list pyenv's versions")?;
            if version.file_name().to_string_lossy().starts_with(&own) {
                candidates.push(version.path().join("bin").join(&name));
            }
        }
    }
    for candidate in candidates {
        if starts(&candidate)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// Whether it is a Python, and not only a name that leads to none.
fn starts(program: &Path) -> Result<bool> {
    if program.components().count() == 1 && !is_there(&program.to_string_lossy()) {
        return Ok(false);
    }
    let name = program.display().to_string();
    let answer = output(&name, command(program).args(["-c", "import ssl"]))?;
    Ok(answer.status.success())
}

#[cfg(test)]
mod tests {
    use super::MINORS;
    use crate::venv;

    #[test]
    fn the_package_names_the_versions_that_are_tested() {
        let project = include_str!("../../clients/python/pyproject.toml");
        for minor in MINORS {
            let classifier = format!("Programming Language :: Python :: 3.{minor}\"");
            assert!(project.contains(&classifier), "{classifier}");
        }
        assert!(project.contains(&format!("requires-python = \">=3.{}\"", MINORS.start())));
    }

    #[test]
    fn the_configuration_of_the_tests_worker_takes_our_environment() {
        let config = include_str!("../../clients/python/tests/worker.toml");
        let ours = venv::bound(config, "/cache/jail").expect("it has what is replaced");
        assert!(ours.contains("source = \"/cache/jail\""), "{ours}");
    }
}
