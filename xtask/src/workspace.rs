//! Where things are: the repository, its target folder, the built programs.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The folders that every task works in.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    /// Programs that somebody else built, e.g. those of a package.
    built: Option<PathBuf>,
}

/// Names a folder with worker, warden and producer, which are then taken instead of being built.
const BUILT: &str = "JAILFLEET_PROGRAMS";

impl Workspace {
    /// Finds the repository that this xtask was started in.
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets it at run time; asking at compile time would nail a binary to one checkout.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .context("find the repository: start this as `cargo xtask`")?;
        let root = manifest
            .parent()
            .context("find the folder above xtask/")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self {
            root,
            target,
            built: std::env::var_os(BUILT).map(PathBuf::from),
        })
    }

    /// The repository's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folders of all crates, the one at the top among them.
    pub(crate) fn members(&self) -> Result<Vec<PathBuf>> {
        let path = self.root.join("Cargo.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let manifest: toml::Table = toml::from_str(&text).context("understand Cargo.toml")?;
        let members = manifest
            .get("workspace")
            .and_then(|workspace| workspace.get("members"))
            .and_then(toml::Value::as_array)
            .context("find the members of the workspace")?;
        let names = members.iter().filter_map(toml::Value::as_str);
        let folders = names.map(|name| self.root.join(name));
        Ok([self.root.clone()].into_iter().chain(folders).collect())
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The examples.
    pub(crate) fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// Where the release build of `program` lies.
    pub(crate) fn release(&self, program: &str) -> PathBuf {
        match &self.built {
            Some(folder) => folder.join(program),
            None => self.target.join("release").join(program),
        }
    }

    /// Whether the programs have to be built.
    pub(crate) fn builds(&self) -> bool {
        self.built.is_none()
    }

    /// A folder for one task's files, made if it is not there. Kept after the task, so that people
    /// can look at what it left.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("make the folder {}", folder.display()))?;
        Ok(folder)
    }

    /// The same folder, emptied first.
    pub(crate) fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("xtask").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("empty the folder {}", folder.display()))?;
        }
        self.folder(name)
    }
}
