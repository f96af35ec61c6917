//! Which RabbitMQ the nodes of a test run are: the host's own, or 4.0 from a tree of its own.
//!
//! The tree is Debian trixie with its `rabbitmq-server`, unpacked once into the cache and entered by
//! chroot: nothing of it is installed on the host, and none of its services is started.

use anyhow::{Context, Result, ensure};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, above_all_caches};
use crate::packages::ensure_packages;
use crate::process::command;

/// Chooses the release of every node that a test run starts: one of the words of [`Release`].
pub const RELEASE: &str = "JAILFLEET_TEST_RABBITMQ";

/// The programs themselves. Those on PATH are wrappers that change the user with `su`, behind which
/// a signal ends the wrapper and not the node.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// Another number whenever [`make`] makes something else.
const TREE: &str = "trixie-1";
const SUITE: &str = "trixie";

/// Enters the tree. Its mounts live in a namespace of their own and end with the program, which takes
/// the shell's place and so its pid: $1 is the tree, $2 the folder of temporary files, $3 the user.
const ENTER: &str = r#"
set -e
tree=$1 temporary=$2 user=$3
shift 3
mount --rbind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mkdir -p "$tree$temporary"
mount --rbind "$temporary" "$tree$temporary"
exec chroot --userspec="$user" "$tree" "$@"
"#;

/// A RabbitMQ that a node can be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The distribution's own.
    Host,
    /// 4.0, out of Debian trixie.
    Four,
}

impl Release {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Host, Self::Four];

    /// The word for it in [`RELEASE`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Four => "4.0",
        }
    }

    /// The one that the environment asks for; the host's own where it asks for none.
    ///
    /// # Errors
    /// When it asks for one that there is not.
    pub fn asked() -> Result<Self> {
        match std::env::var(RELEASE) {
            Ok(word) => Self::read(&word),
            Err(_) => Ok(Self::Host),
        }
    }

    pub(crate) fn read(word: &str) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|release| release.as_str() == word);
        found.with_context(|| format!("start RabbitMQ {word}: {RELEASE} is \"host\" or \"4.0\""))
    }

    /// Whether a node of it can be started without fetching anything.
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::Host => Path::new(PROGRAMS).join("rabbitmq-server").exists(),
            // Only root can enter it.
            Self::Four => is_root() && tree().is_ok_and(|tree| tree.is_dir()),
        }
    }

    /// Sees to it that a node of it can be started.
    ///
    /// # Errors
    /// When it is missing and may not, or cannot, be fetched.
    pub fn provide(self) -> Result<()> {
        match self {
            Self::Host => ensure_packages(&[(
                "rabbitmq-server",
                "the tests start a RabbitMQ node of their own",
            )]),
            Self::Four => unpack(),
        }
    }

    /// One of RabbitMQ's programs.
    pub(crate) fn program(self, name: &str) -> Result<Command> {
        self.run(&Path::new(PROGRAMS).join(name))
    }

    /// Any program of its system, as the user that the package made.
    pub(crate) fn run(self, program: &Path) -> Result<Command> {
        let user = self.user();
        match self {
            Self::Host => {
                let mut program = command(program);
                if let Some((uid, gid)) = user {
                    program.uid(uid).gid(gid);
                }
                Ok(program)
            }
            Self::Four => {
                let (uid, gid) = user.context("find the user that RabbitMQ's package made")?;
                let mut enter = command("unshare");
                enter
                    .args(["--mount", "--propagation", "private", "sh", "-c", ENTER])
                    .arg("jailfleet-enter")
                    .arg(tree()?)
                    .arg(std::env::temp_dir())
                    .arg(format!("{uid}:{gid}"))
                    .arg(program)
                    .env("LC_ALL", "C.UTF-8");
                Ok(enter)
            }
        }
    }

    /// The user that the package made, by the folder that it owns; only root can become it.
    pub(crate) fn user(self) -> Option<(u32, u32)> {
        if !is_root() {
            return None;
        }
        let folder = "var/lib/rabbitmq";
        let meta = match self {
            Self::Host => std::fs::metadata(Path::new("/").join(folder)),
            Self::Four => std::fs::metadata(tree().ok()?.join(folder)),
        };
        let meta = meta.ok()?;
        (meta.uid() != 0).then(|| (meta.uid(), meta.gid()))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the trees are kept.
fn cache() -> Result<PathBuf> {
    Ok(above_all_caches()?.join("jailfleet-rabbitmq"))
}

fn tree() -> Result<PathBuf> {
    Ok(cache()?.join(TREE))
}

/// Makes the tree if it is not there.
fn unpack() -> Result<()> {
    ensure!(
        is_root(),
        "start RabbitMQ 4.0: only root can enter a tree of its own"
    );
    let (cache, tree) = (cache()?, tree()?);
    if tree.is_dir() {
        return Ok(());
    }
    ensure_packages(&[(
        "debootstrap",
        "unpacks RabbitMQ 4.0 of Debian trixie into the cache; it is not installed",
    )])?;
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let work = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&cache)
        .context("make a folder to unpack in")?;
    let root = work.path().join("root");
    make(&root, &work.path().join("debootstrap.log"))?;
    match std::fs::rename(&root, &tree) {
        Ok(()) => remove_others(&cache),
        // Somebody else was faster with the same thing.
        Err(_) if tree.is_dir() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("put {} in place", tree.display())),
    }
}

fn make(root: &Path, log: &Path) -> Result<()> {
    eprintln!("Unpacking RabbitMQ 4.0 of Debian {SUITE} (about a minute and a half, once) ...");
    debian::unpack(SUITE, "rabbitmq-server", root, log)?;
    // A node's name ends in "@localhost", and the tree knows no names.
    std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")
        .context("write the tree's hosts")
}

/// Removes the trees of other versions of the recipe; one that is being made is left alone.
fn remove_others(cache: &Path) -> Result<()> {
    for entry in std::fs::read_dir(cache).context("list the cache")? {
        let entry = entry.context("list the cache")?;
        let name = entry.file_name();
        if name != TREE && name.to_string_lossy().starts_with(SUITE) {
            let path = entry.path();
            std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Release, TREE, remove_others};

    #[test]
    fn a_release_is_named_by_one_of_two_words() {
        for release in Release::ALL {
            let read = Release::read(release.as_str()).expect("its own word");
            assert_eq!(read, release);
        }
        let error = Release::read("3.13").expect_err("there is none");
        assert!(error.to_string().contains("\"host\" or \"4.0\""), "{error}");
    }

    #[test]
    fn trees_of_other_recipes_go_and_one_that_is_being_made_stays() {
        let cache = tempfile::tempdir().expect("a folder");
        for name in [TREE, "trixie-0", "unfinished-x"] {
            std::fs::create_dir(cache.path().join(name)).expect("a folder");
        }
        remove_others(cache.path()).expect("they are ours");
        let left = std::fs::read_dir(cache.path()).expect("a list").count();
        assert_eq!(left, 2);
        assert!(cache.path().join(TREE).exists());
    }
}
