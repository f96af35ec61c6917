//! The Python client: its types and lints, its pure tests under every Python that is here, and its
//! tests against a real broker, a real worker and the codejail that it takes the place of.

use crate::build;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::{Owned, capture, command, is_there, output, run};
use crate::steps::both;
use crate::venv;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::debian::above_all_caches;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Jails see what lies under /usr, and codejail shall run the same interpreter.
const PYTHON: &str = "/usr/bin/python3";

/// What the tests run with: one package of these is the client's own.
const TOOLS: [&str; 6] = [
    "pika==1.4.4",
    "edx-codejail==4.1.0",
    "six==1.17.0",
    "Django==5.2.19",
    "mypy==2.4.1",
    "ruff==0.17.6",
];
/// What code in a jail of these tests can import.
const IN_THE_JAIL: [&str; 1] = ["numpy==2.4.6"];

/// The minor versions that the package says it runs on.
const MINORS: std::ops::RangeInclusive<u32> = 9..=13;

/// Longer than all tests take on a busy machine.
const LONGEST: Duration = Duration::from_secs(900);

/// Checks and tests the client; `calls` generated calls go to it and to codejail. Says in `unseen` under
/// which Pythons nobody has tried it.
///
/// # Errors
/// What does not pass.
pub(crate) fn check(
    workspace: &Workspace,
    install: Install,
    calls: usize,
    unseen: &mut Option<String>,
) -> Result<()> {
    let needs = [Need::Python, Need::Venv, Need::Pkill, Need::Rabbit];
    needs::provide(&needs, install)?;
    let client = Client {
        folder: workspace.root().join("clients/python"),
        tools: environment("tools", &TOOLS)?,
        jail: environment("jail", &IN_THE_JAIL)?,
    };
    client.lint()?;
    *unseen = client.test_pure()?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("python")?;
    let config = client.worker_config(&folder)?;
    let mut fleet = Fleet::start(workspace, &folder, 1, |mut worker| {
        worker.arg("--config").arg(&config);
        worker
    })?;
    let tested = fleet
        .wait_for_admin_port(1)
        .and_then(|_its_address| client.test_real(workspace, &mut fleet, calls));
    both(tested, fleet.stop())
}

/// The client's folder, and the environments that its tests need.
struct Client {
    folder: PathBuf,
    tools: PathBuf,
    jail: PathBuf,
}

impl Client {
    /// A Python that leaves nothing in the checkout.
    fn python(&self, program: impl AsRef<Path>) -> Command {
        let mut python = command(program.as_ref());
        python
            .current_dir(&self.folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONPATH", self.folder.join("src"))
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

    /// The pure tests, under the tools' Python and every other one that is here; which are not is the answer.
    fn test_pure(&self) -> Result<Option<String>> {
        let pure = |python: &mut Command| {
            python.args(["-m", "unittest", "discover", "-s", "tests", "-t", "."]);
            run("the pure tests of the Python client", python)
        };
        pure(&mut self.tool())?;
        let (mut tested, mut missing) = (Vec::new(), Vec::new());
        for minor in MINORS {
            let program = format!("python3.{minor}");
            let Some(found) = interpreter(minor)? else {
                missing.push(program);
                continue;
            };
            // Pika is Python alone, and so the same for all versions.
            let mut python = self.python(&found);
            let path = [self.folder.join("src"), self.packages()?];
            python.env("PYTHONPATH", std::env::join_paths(path)?);
            pure(&mut python).with_context(|| format!("with {program}"))?;
            tested.push(program);
        }
        println!("Tested with {}", tested.join(", "));
        let unseen = format!(
            "NOT CHECKED: the Python client under {}, which this machine does not have",
            missing.join(", ")
        );
        Ok((!missing.is_empty()).then(|| {
            println!("{unseen}");
            unseen
        }))
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

    fn test_real(&self, workspace: &Workspace, fleet: &mut Fleet, calls: usize) -> Result<()> {
        let producer = fleet.uri_of_a_producer(workspace)?;
        let mut tests = self.tool();
        tests
            .args(["-m", "unittest", "discover", "--verbose"])
            .args(["-s", "tests", "-t", ".", "-p", "real_*.py"])
            .env("JAILFLEET_PYTHON_PRODUCER", producer)
            .env("JAILFLEET_PYTHON_CALLS", calls.to_string());
        fleet.point_at_broker(&mut tests)?;
        let mut tests = Owned::start("the tests of the Python client", &mut tests)?;
        match tests.wait_within(LONGEST)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("see the tests of the Python client pass: {status}"),
            None => bail!("see the tests of the Python client end within {LONGEST:?}"),
        }
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

/// A virtual environment with these packages, from PyPI if it is not in the cache, which lies outside
/// the checkout.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let cache = above_all_caches()?.join("jailfleet-python");
    let version = capture(PYTHON, command(PYTHON).arg("--version"))?;
    let folder = cache.join(folder_name(name, packages, version.trim()));
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    println!(
        "Fetching {} from PyPI into {} ...",
        packages.join(", "),
        folder.display()
    );
    let work = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&cache)
        .context("make a folder for an environment")?;
    let venv = work.path().join("venv");
    let mut make = command(PYTHON);
    run(
        "python3 -m venv",
        make.args(["-m", "venv", "--copies"]).arg(&venv),
    )?;
    let python = venv.join("bin/python");
    let mut pip = command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
        .arg("--disable-pip-version-check")
        .args(packages);
    run("pip install", &mut pip)?;
    let mut compile = command(&python);
    run(
        "python -m compileall",
        compile.args(["-m", "compileall", "-q"]).arg(&venv),
    )?;
    // What is half there never has the name of what is whole. Only `python -m` works in a folder that
    // was moved, and only that is used.
    std::fs::rename(&venv, &folder).context("put the environment in place")?;
    ensure!(folder.is_dir(), "find the environment in its place");
    Ok(folder)
}

/// Another list of packages, or another Python, is another environment.
fn folder_name(name: &str, packages: &[&str], version: &str) -> String {
    let digest = Sha256::digest(format!("{version}\n{}", packages.join("\n")));
    let short: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name}-{short}")
}

#[cfg(test)]
mod tests {
    use super::{MINORS, TOOLS, folder_name};
    use crate::venv;

    #[test]
    fn another_package_or_another_python_is_another_environment() {
        let name = |packages: &[&str], version| folder_name("tools", packages, version);
        assert_eq!(name(&TOOLS, "Python 3.11.2"), name(&TOOLS, "Python 3.11.2"));
        assert_ne!(
            name(&TOOLS, "Python 3.11.2"),
            name(&["pika"], "Python 3.11.2")
        );
        assert_ne!(name(&TOOLS, "Python 3.11.2"), name(&TOOLS, "Python 3.11.3"));
    }

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
