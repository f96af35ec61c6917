//! Virtual environments with packages of PyPI, kept in a cache outside the checkout.

use crate::programs::{capture, command, run};
use anyhow::{Context, Result, ensure};
use jailfleet_harness::debian::above_all_caches;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Jails see what lies under /usr, and codejail shall run the same interpreter.
const PYTHON: &str = "/usr/bin/python3";

/// What one environment holds.
pub(crate) struct Packages {
    name: &'static str,
    pinned: &'static [&'static str],
    /// Packages that ask for a newer Python than they need, and come without what they depend on.
    whatever_the_python: &'static [&'static str],
}

/// What the tests run with: one package of these is the client's own.
pub(super) const TOOLS: Packages = Packages {
    name: "tools",
    pinned: &[
        "pika==1.4.4",
        "six==1.17.0",
        "Django==5.2.19",
        "requests==2.34.2",
        "pytest==9.2.0",
        "mypy==2.4.1",
        "ruff==0.17.6",
        "setuptools==84.2.1",
        "build==1.6.1",
        "twine==7.0.0",
    ],
    // The newest. It asks for Python 3.12, and differs from 4.1.0, which runs everywhere, in how it finds
    // its own version and in that its tests come along.
    whatever_the_python: &["edx-codejail==4.1.1"],
};

/// What code in a jail of these tests can import: what the tests of codejail and of its service do.
pub(super) const IN_THE_JAIL: Packages = Packages {
    name: "jail",
    pinned: &[
        "numpy==2.4.6",
        "matplotlib==3.11.2",
        "networkx==3.6.1",
        "random2==1.0.2",
        "six==1.17.0",
    ],
    whatever_the_python: &[],
};

/// A virtual environment with these packages, from PyPI if it is not in the cache.
///
/// # Errors
/// When it cannot be fetched or made.
pub(crate) fn provide(packages: &Packages) -> Result<PathBuf> {
    let cache = above_all_caches()?.join("jailfleet-python");
    let version = capture(PYTHON, command(PYTHON).arg("--version"))?;
    let folder = cache.join(packages.folder(version.trim()));
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    println!(
        "Fetching {} from PyPI into {} ...",
        packages.all().join(", "),
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
    install(&python, packages.pinned, &[])?;
    if !packages.whatever_the_python.is_empty() {
        let alone = ["--no-deps", "--ignore-requires-python"];
        install(&python, packages.whatever_the_python, &alone)?;
    }
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

fn install(python: &Path, packages: &[&str], more: &[&str]) -> Result<()> {
    let mut pip = command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
        .arg("--disable-pip-version-check")
        .args(more)
        .args(packages);
    run("pip install", &mut pip)
}

impl Packages {
    /// These, each in one version.
    pub(crate) const fn pinned(name: &'static str, pinned: &'static [&'static str]) -> Self {
        Self {
            name,
            pinned,
            whatever_the_python: &[],
        }
    }

    fn all(&self) -> Vec<&'static str> {
        [self.pinned, self.whatever_the_python].concat()
    }

    /// Another list of packages, or another Python, is another environment.
    fn folder(&self, version: &str) -> String {
        let digest = Sha256::digest(format!("{version}\n{}", self.all().join("\n")));
        let short: String = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}-{short}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Packages, TOOLS};

    #[test]
    fn another_package_or_another_python_is_another_environment() {
        let fewer = Packages {
            whatever_the_python: &[],
            ..TOOLS
        };
        assert_eq!(TOOLS.folder("Python 3.11.2"), TOOLS.folder("Python 3.11.2"));
        assert_ne!(TOOLS.folder("Python 3.11.2"), fewer.folder("Python 3.11.2"));
        assert_ne!(TOOLS.folder("Python 3.11.2"), TOOLS.folder("Python 3.11.3"));
    }
}
