//! Programs of cargo's that no package of the system brings: the person's own, or one that we built
//! below the target folder, where it is nobody else's.

use crate::needs::Install;
use crate::programs::{cargo, is_executable, is_there, run};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// A program that `cargo install` brings.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its name, which is its crate's too.
    pub(crate) name: &'static str,
    /// The version that we build; a person's own may be another.
    version: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
}

pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
    why: "runs each test in a process of its own, within a time, and sees what it leaves behind",
};

pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "looks for foreign licences and sources",
};

impl Tool {
    /// Where it is, if it is here.
    pub(crate) fn find(&self, workspace: &Workspace) -> Option<PathBuf> {
        if is_there(self.name) {
            return Some(self.name.into());
        }
        let ours = folder(workspace).join("bin").join(self.name);
        is_executable(&ours).then_some(ours)
    }

    /// The same, built if it is missing, after saying so.
    pub(crate) fn provide(&self, workspace: &Workspace, install: Install) -> Result<PathBuf> {
        if let Some(program) = self.find(workspace) {
            return Ok(program);
        }
        let Self { name, version, why } = self;
        if install == Install::Refused {
            bail!("find {name}; install it by hand: {}", self.remedy());
        }
        let folder = folder(workspace);
        println!("{name} is missing: it {why}");
        println!(
            "Installing: {name} {version}, into {} (some minutes)",
            folder.display()
        );
        let mut install = cargo();
        install
            // Outside of the repository, whose pinned compiler and settings are not this program's.
            .current_dir("/")
            .args(["install", name, "--version", version])
            .args(["--locked", "--quiet", "--root"])
            .arg(&folder);
        run("cargo install", &mut install)?;
        Ok(folder.join("bin").join(name))
    }

    /// How a person installs it.
    pub(crate) fn remedy(&self) -> String {
        format!("cargo install {} --locked", self.name)
    }
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools")
}
