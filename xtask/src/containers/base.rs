//! The tree that our images start from: made once from Debian's packages, kept outside the checkout.

use crate::programs::{command, run};
use anyhow::{Context, Result};
use jailfleet_harness::debian::{above_all_caches, unpack};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Newer than what the programs are built on, so that its C library has what they ask for.
const SUITE: &str = "trixie";
/// One tree for brokers, workers and producers: it is unpacked once.
const PACKAGES: &str = "python3,nodejs,procps,rabbitmq-server";
/// What nothing in a container reads.
const UNREAD: [&str; 5] = [
    "./var/cache/apt",
    "./var/lib/apt/lists",
    "./usr/share/doc",
    "./usr/share/locale",
    "./usr/share/man",
];

/// The tree as a tar file, made if it is not there.
///
/// # Errors
/// When it cannot be made: without a network, for example.
pub(super) fn get() -> Result<PathBuf> {
    let digest = Sha256::digest(include_str!("base.rs"));
    let short = digest
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let cache = above_all_caches()?.join("jailfleet-containers");
    let file = cache.join(format!("base-{short}.tar"));
    if file.exists() {
        return Ok(file);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let work = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&cache)
        .context("make a folder to build in")?;
    make(work.path())?;
    // What is half built never has the name of what is whole.
    std::fs::rename(work.path().join("base.tar"), &file)
        .with_context(|| format!("put {} in place", file.display()))?;
    for entry in std::fs::read_dir(&cache).context("list the cache")? {
        let path = entry.context("list the cache")?.path();
        if path.extension().is_some_and(|end| end == "tar") && path != file {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(file)
}

fn make(work: &Path) -> Result<()> {
    println!(
        "Making the tree for the images from Debian's packages (two to three minutes, once) ..."
    );
    let root = work.join("root");
    unpack(SUITE, PACKAGES, &root, &work.join("debootstrap.log"))?;
    // As deploy/Dockerfile has it.
    run(
        "useradd",
        command("chroot").arg(&root).args([
            "useradd",
            "--system",
            "--no-create-home",
            "--shell=/usr/sbin/nologin",
            "jailfleet",
        ]),
    )?;
    let mut tar = command("tar");
    tar.arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(work.join("base.tar"));
    for folder in UNREAD {
        tar.arg(format!("--exclude={folder}"));
    }
    run("tar", tar.arg("."))
}
