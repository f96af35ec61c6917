//! Packages of Debian by apt, without touching anything of this system's apt.
//!
//! Source list, package lists, cache and the record of what is installed are files of our own; what
//! the system knows of proxies and mirrors is taken over.

use crate::programs::{capture, command, run};
use crate::vm::recipe::Suite;
use anyhow::{Context, Result};
use jailfleet_harness::debian::{KEYRING, mirror};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt that lives in a folder.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Makes one in `folder` that knows `suites`, and fetches their lists.
    pub(crate) fn open(folder: &Path, suites: &[Suite]) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial", "parts"] {
            std::fs::create_dir_all(folder.join(below)).context("make folders for apt")?;
        }
        let settings = capture("apt-config", command("apt-config").arg("dump"))?;
        let mirror = mirror()?;
        let mut sources = String::new();
        for suite in suites {
            sources.push_str(&format!(
                "deb [arch=amd64 signed-by={KEYRING}] {mirror} {} main\n",
                suite.name()
            ));
        }
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).with_context(|| format!("write apt's {name}"))
        };
        write("sources.list", &sources)?;
        write("status", "")?;
        write("apt.conf", &configuration(folder, &settings))?;
        let apt = Self {
            folder: folder.to_owned(),
        };
        println!("Fetching Debian's package lists ...");
        run("apt-get update", apt.get().arg("update"))?;
        Ok(apt)
    }

    /// Downloads `packages` with all that they depend on, and returns the files.
    pub(crate) fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut get = self.get();
        get.args(["install", "--download-only", "--yes"])
            .args(["--no-install-recommends", "--"])
            .args(packages);
        run("apt-get install --download-only", &mut get)?;
        let archives = self.folder.join("cache/archives");
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&archives).context("list what apt fetched")? {
            let path = entry.context("list what apt fetched")?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Downloads the package that a metapackage of `suite` depends on by a name that begins with
    /// `prefix`, and nothing of what that one depends on.
    pub(crate) fn download_one(&self, meta: &str, prefix: &str, folder: &Path) -> Result<PathBuf> {
        let mut depends = command("apt-cache");
        depends
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .args(["depends", meta]);
        let text = capture("apt-cache depends", &mut depends)?;
        let name = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .with_context(|| format!("find what {meta} leads to"))?;
        run(
            "apt-get download",
            self.get().current_dir(folder).args(["download", name]),
        )?;
        let start = format!("{name}_");
        std::fs::read_dir(folder)
            .context("list what apt fetched")?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(&start))
            })
            .with_context(|| format!("find {name} after its download"))
    }

    fn get(&self) -> Command {
        let mut get = command("apt-get");
        get.env("APT_CONFIG", self.folder.join("apt.conf"))
            .arg("-qq");
        get
    }
}

/// Our own settings, with those of the system that say how to reach a mirror.
///
/// Everything else of the system's is left out, since it also holds commands that are run after each
/// update and delete files of the system's cache.
fn configuration(folder: &Path, system: &str) -> String {
    let folder = folder.display();
    let mut text = format!(
        "Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::Etc::parts \"{folder}/parts\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"{folder}/parts\";\n\
         Dir::State \"{folder}\";\n\
         Dir::State::lists \"{folder}/lists\";\n\
         Dir::State::status \"{folder}/status\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Log \"{folder}\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Install-Recommends \"false\";\n\
         Acquire::Languages \"none\";\n",
    );
    let ways = [
        "Acquire::http",
        "Acquire::ftp",
        "Acquire::Check-",
        "Acquire::Retries",
    ];
    for line in system.lines() {
        if ways.iter().any(|way| line.starts_with(way)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::configuration;
    use std::path::Path;

    #[test]
    fn proxies_are_taken_over_and_commands_of_the_system_are_not() {
        let system = "Acquire::http::Proxy \"http://p.example:3128\";\n\
                      APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n\
                      Acquire::IndexTargets::deb::DEP-11::MetaKey \"x\";\n\
                      Dir::Cache \"var/cache/apt\";\n";
        let text = configuration(Path::new("/cache"), system);
        assert!(text.contains("http://p.example:3128"), "{text}");
        for other in ["Post-Invoke", "DEP-11", "var/cache/apt"] {
            assert!(!text.contains(other), "{text}");
        }
    }
}
