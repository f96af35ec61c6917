//! Where Debian's packages come from, and where what is made of them is kept.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{capture, command};

/// Names a mirror of Debian where the system's own sources have none.
const MIRROR: &str = "JAILFLEET_VM_MIRROR";
/// What Debian's archives are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where whoever runs this keeps caches: outside every checkout.
///
/// # Errors
/// When there is no home folder.
pub fn above_all_caches() -> Result<PathBuf> {
    match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(std::env::home_dir()
            .context("find a home folder: set XDG_CACHE_HOME")?
            .join(".cache")),
    }
}

/// The mirror that this system takes Debian from.
///
/// # Errors
/// When apt cannot be asked, or knows none.
pub fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR) {
        return Ok(mirror);
    }
    let mut targets = command("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)"]);
    let text = capture("apt-get indextargets", &mut targets)?;
    match debian_among(&text) {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!(
            "find a mirror of Debian among this system's package sources: name one in {MIRROR}"
        ),
    }
}

/// Unpacks a Debian of `suite` with the packages `include`, a list with commas, into `root`; what
/// debootstrap says goes into `log`. What it mounts meanwhile is seen by nobody else, and ends with it.
///
/// # Errors
/// When it does not come to its end: its last line.
pub fn unpack(suite: &str, include: &str, root: &Path, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
    let mut debootstrap = command("unshare");
    debootstrap
        .args(["--mount", "--propagation", "private", "debootstrap"])
        .args(["--variant=minbase", &format!("--include={include}")])
        .arg(format!("--keyring={KEYRING}"))
        .arg(suite)
        .arg(root)
        .arg(mirror()?)
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("write a log")?)
        .stderr(file);
    let status = debootstrap.status().context("start debootstrap")?;
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        bail!("unpack Debian {suite}: debootstrap ended with {status}: {last}");
    }
    Ok(())
}

/// The first that is an archive of Debian itself, by the name that each of its mirrors has.
fn debian_among(repositories: &str) -> Option<&str> {
    repositories
        .lines()
        .map(|line| line.trim().trim_end_matches('/'))
        .find(|line| line.ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::debian_among;

    #[test]
    fn a_mirror_of_debian_is_told_from_other_repositories() {
        let text = "https://a.example/node/\nhttp://b.example/debian-security/\n\
                    http://b.example/debian/\nhttp://c.example/debian/\n";
        assert_eq!(debian_among(text), Some("http://b.example/debian"));
        assert_eq!(debian_among("http://a.example/ubuntu/\n"), None);
    }
}
