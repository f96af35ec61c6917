//! Where built guests are kept: outside every checkout, by the digest of how they were made.

use crate::programs::{capture, command};
use crate::table::Table;
use crate::vm::recipe::Kernel;
use anyhow::{Context, Result};
use jailfleet_harness::debian::above_all_caches;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A part of a guest that is built at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A kernel and its modules.
    Kernel(Kernel),
    /// The disk with the programs, the same for all kernels.
    Root,
}

impl Piece {
    /// All pieces.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Kernel::ALL
            .map(Self::Kernel)
            .into_iter()
            .chain([Self::Root])
    }

    /// The name of its folder. The sources are a part of it: a digest that changes too often costs
    /// half a minute, one that changes too seldom costs a belief in something that was never built.
    fn folder_name(self) -> String {
        let (name, sources) = match self {
            Self::Kernel(kernel) => (
                format!("kernel-{kernel}"),
                [
                    include_str!("bzimage.rs"),
                    include_str!("modules.rs"),
                    include_str!("kernel.rs"),
                ],
            ),
            Self::Root => (
                "root".to_owned(),
                [include_str!("root.rs"), include_str!("apt.rs"), ""],
            ),
        };
        let mut digest = Sha256::new();
        digest.update(include_str!("recipe.rs"));
        for source in sources {
            digest.update(source);
        }
        let digest = digest.finalize();
        let short = digest
            .iter()
            .take(6)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!("{name}-{short}")
    }
}

/// What is cleaned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clean {
    /// All of it.
    Everything,
    /// What this version of the recipe has no use for.
    Old,
}

/// The folder that holds the pieces.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of whoever runs this.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            folder: above_all_caches()?.join("jailfleet-vm"),
        })
    }

    /// Where a piece lies, if it is there.
    pub(crate) fn get(&self, piece: Piece) -> Option<PathBuf> {
        let folder = self.folder.join(piece.folder_name());
        folder.is_dir().then_some(folder)
    }

    /// Where a piece lies, made by `make` in a temporary folder if it is not there: what is half
    /// built never has the name of what is whole.
    pub(crate) fn get_or_make(
        &self,
        piece: Piece,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(folder) = self.get(piece) {
            return Ok(folder);
        }
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("make the folder {}", self.folder.display()))?;
        let work = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(&self.folder)
            .context("make a folder to build in")?;
        make(work.path())?;
        let folder = self.folder.join(piece.folder_name());
        match std::fs::rename(work.path(), &folder) {
            // A name that is gone cannot be removed again.
            Ok(()) => {
                let _moved = work.keep();
                Ok(folder)
            }
            // Somebody else was faster with the same thing.
            Err(_) if folder.is_dir() => Ok(folder),
            Err(error) => Err(error).with_context(|| format!("put {} in place", folder.display())),
        }
    }

    /// Says what is there and how large it is.
    pub(crate) fn status(&self) -> Result<()> {
        println!("The cache of guests is {}", self.folder.display());
        let mut table = Table::new(&["piece", "MiB", ""]);
        let current: Vec<String> = Piece::all().map(Piece::folder_name).collect();
        let there = self.entries()?;
        for name in &current {
            if !there.contains(name) {
                table.row([name.clone(), "0".to_owned(), "not built".to_owned()]);
            }
        }
        for name in there {
            let word = if current.contains(&name) {
                "current"
            } else if name.starts_with("unfinished-") {
                "being built, or left by a build that was stopped"
            } else {
                "of another version of the recipe"
            };
            let mib = mebibytes(&self.folder.join(&name))?;
            table.row([name, mib, word.to_owned()]);
        }
        print!("{}", table.render());
        Ok(())
    }

    /// Removes everything, or what nothing uses any more.
    pub(crate) fn clean(&self, what: Clean) -> Result<()> {
        let current: Vec<String> = Piece::all().map(Piece::folder_name).collect();
        for name in self.entries()? {
            if what == Clean::Everything || !current.contains(&name) {
                let path = self.folder.join(&name);
                std::fs::remove_dir_all(&path)
                    .with_context(|| format!("remove {}", path.display()))?;
                println!("{} is gone", path.display());
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<String>> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).context("list the cache")? {
            let entry = entry.context("list the cache")?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn mebibytes(folder: &Path) -> Result<String> {
    let mut du = command("du");
    let text = capture("du", du.args(["-sm", "--"]).arg(folder))?;
    let number = text.split_whitespace().next();
    Ok(number.unwrap_or("?").to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Cache, Clean, Piece};
    use anyhow::bail;

    #[test]
    fn a_build_that_fails_leaves_nothing_and_one_that_ends_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache {
            folder: folder.path().join("cache"),
        };
        let broken = cache.get_or_make(Piece::Root, |work| {
            std::fs::write(work.join("half"), "x").expect("a file");
            bail!("build the rest")
        });
        broken.expect_err("the build failed");
        assert_eq!(cache.get(Piece::Root), None);
        assert_eq!(cache.entries().expect("a list"), Vec::<String>::new());
        let made = cache.get_or_make(Piece::Root, |work| {
            std::fs::write(work.join("whole"), "x").expect("a file");
            Ok(())
        });
        let made = made.expect("the build ended");
        assert!(made.join("whole").exists());
        assert_eq!(cache.get(Piece::Root), Some(made));
        assert_eq!(cache.entries().expect("a list").len(), 1);
    }

    #[test]
    fn what_is_old_goes_alone_and_everything_goes_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache {
            folder: folder.path().to_owned(),
        };
        let current = Piece::Root.folder_name();
        for name in [current.as_str(), "root-0123456789ab", "unfinished-x"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        cache.clean(Clean::Old).expect("they are ours");
        assert_eq!(cache.entries().expect("a list"), [current]);
        cache.clean(Clean::Everything).expect("they are ours");
        assert_eq!(cache.entries().expect("a list"), Vec::<String>::new());
    }
}
