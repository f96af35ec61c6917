//! What a machine must have for a task, and how it gets it: by the distribution's packages.

use crate::programs::{command, is_executable, is_there, run};
use anyhow::{Result, bail};
use std::path::Path;

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
}

impl Need {
    /// Everything.
    pub(crate) const ALL: [Self; 6] = [
        Self::Python,
        Self::Node,
        Self::Compiler,
        Self::Pkill,
        Self::Rabbit,
        Self::Pip,
    ];

    /// What runs without any broker.
    pub(crate) const EMBEDDED: [Self; 4] = [Self::Python, Self::Node, Self::Compiler, Self::Pkill];

    /// The Debian packages that bring it.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python3"],
            Self::Node => &["nodejs"],
            Self::Compiler => &["gcc", "libc6-dev"],
            Self::Pkill => &["procps"],
            Self::Rabbit => &["rabbitmq-server"],
            Self::Pip => &["python3-pip"],
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
            Self::Pip => "pip fetches the HumanEval problems from PyPI",
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
            Self::Pip => usr("pip3") || usr("pip"),
        }
    }
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
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages())
        .copied()
        .collect();
    println!("This machine lacks:");
    for need in &missing {
        println!("  {}: {}", need.packages().join(", "), need.reason());
    }
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if install == Install::Refused {
        bail!("provide what is missing without installing it; do it by hand: {by_hand}");
    }
    if !rustix::process::geteuid().is_root() || !is_there("apt-get") {
        bail!("install packages without root and apt-get; do it by hand: {by_hand}");
    }
    println!("Installing with: {by_hand}");
    run("apt-get update", command("apt-get").args(["update", "-qq"]))?;
    run(
        "apt-get install",
        command("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package would start a system-wide broker; ours is our own.
            .env("RUNLEVEL", "1"),
    )?;
    match missing.iter().find(|need| !need.is_met()) {
        Some(need) => bail!("find {} after its installation", need.packages().join(", ")),
        None => Ok(()),
    }
}
