//! Keeping the services down that a package brings: no test uses a system's broker.

use anyhow::{Context, Result};
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What `invoke-rc.d` and `deb-systemd-invoke` ask before they start anything.
///
/// # Source
/// invoke-rc.d(8) and the file `README.policy-rc.d` of Debian's package init-system-helpers.
pub(crate) const POLICY: &str = "/usr/sbin/policy-rc.d";

/// 101 is "action forbidden by policy", which is no failure of the installation.
const ANSWER: &str = "\
#!/bin/sh
# Written by jailfleet's tests while they install packages; to be removed by hand if it is still here
# when none of them runs.
exit 101
";

/// While this lives, no package starts a service. What we wrote goes with it, also after a failure.
#[derive(Debug)]
pub(crate) struct ServicesHeld {
    /// The file, if it is ours. Somebody else's policy stays in force, and stays.
    ours: Option<PathBuf>,
}

impl ServicesHeld {
    /// Holds them by a policy at `path`, unless there is one.
    pub(crate) fn by(path: &Path) -> Result<Self> {
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path);
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Ok(Self { ours: None });
            }
            Err(error) => {
                return Err(error).with_context(|| format!("write {}", path.display()));
            }
        };
        // From here on it is ours to remove, whatever fails.
        let held = Self {
            ours: Some(path.to_owned()),
        };
        file.write_all(ANSWER.as_bytes())
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(held)
    }
}

impl Drop for ServicesHeld {
    fn drop(&mut self) {
        let Some(path) = &self.ours else { return };
        if let Err(error) = std::fs::remove_file(path) {
            eprintln!(
                "{} is left behind and keeps services from starting; remove it: {error}",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServicesHeld;
    use crate::process::command;
    use std::path::Path;

    fn failing_installation(policy: &Path) -> Result<(), &'static str> {
        let _held = ServicesHeld::by(policy).expect("held");
        let asked = command(policy).args(["rabbitmq-server", "start"]).status();
        assert_eq!(asked.expect("it is executable").code(), Some(101));
        Err("the installation fails")
    }

    #[test]
    fn our_policy_forbids_while_it_is_held_and_is_gone_after_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy-rc.d");
        failing_installation(&path).expect_err("it failed");
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_of_somebody_else_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy-rc.d");
        std::fs::write(&path, "theirs").expect("written");
        drop(ServicesHeld::by(&path).expect("held by theirs"));
        assert_eq!(std::fs::read_to_string(&path).expect("kept"), "theirs");
    }
}
