//! The files of the catalogue, and the bytes that become a job's main file.

use crate::catalogue::{AttackFile, Language, read_all};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Names a folder that `cargo xtask attacks build` made, for machines without compiler or sources.
const PREBUILT: &str = "JAILFLEET_ATTACKS_BIN";
const ONLY: &str = "JAILFLEET_ATTACKS_ONLY";

pub(crate) struct Programs {
    files: Vec<AttackFile>,
    sources: PathBuf,
    compiled: Compiled,
}

/// Where the executables of the C programs are.
enum Compiled {
    Before(PathBuf),
    OnDemand(tempfile::TempDir),
}

impl Programs {
    pub(crate) fn find() -> Self {
        let (sources, compiled) = match std::env::var_os(PREBUILT).map(PathBuf::from) {
            Some(folder) => (folder.join("sources"), Compiled::Before(folder)),
            None => (
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/attacks"),
                Compiled::OnDemand(tempfile::tempdir().expect("a folder")),
            ),
        };
        Self {
            files: read_all(&sources),
            sources,
            compiled,
        }
    }

    /// Those whose first item lies in `items`, and that were asked for where somebody asked.
    pub(crate) fn of(&self, items: &RangeInclusive<u16>) -> impl Iterator<Item = &AttackFile> {
        let only = std::env::var(ONLY).unwrap_or_default();
        self.files.iter().filter(move |file| {
            let first = file.items.first();
            first.is_some_and(|first| items.contains(first)) && file.name.starts_with(&only)
        })
    }

    /// Whether somebody asked for some files only, so that a group may be empty.
    pub(crate) fn some_asked_for() -> bool {
        std::env::var_os(ONLY).is_some()
    }

    /// The runtime that executes a file, and what it is given.
    pub(crate) fn main_file(&self, file: &AttackFile) -> (&'static str, Vec<u8>) {
        let read = |path: PathBuf| {
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        match file.language {
            Language::Python => ("python", read(self.sources.join(&file.name))),
            Language::Shell => ("bash", read(self.sources.join(&file.name))),
            Language::C => ("native", read(self.executable(file))),
        }
    }

    fn executable(&self, file: &AttackFile) -> PathBuf {
        let name = file.name.trim_end_matches(".c");
        match &self.compiled {
            Compiled::Before(folder) => folder.join(name),
            Compiled::OnDemand(folder) => {
                let path = folder.path().join(name);
                compile(&self.sources.join(&file.name), &path);
                path
            }
        }
    }
}

/// Static, because a jail's libraries need not be those of the machine that compiled.
#[expect(
    clippy::disallowed_methods,
    reason = "the compiler is the one program that this test starts"
)]
fn compile(source: &std::path::Path, to: &std::path::Path) {
    let output = std::process::Command::new("cc")
        .args(["-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([to, source])
        .output()
        .expect("there is a C compiler (apt-get install gcc libc6-dev)");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", source.display());
}
