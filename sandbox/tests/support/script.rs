//! Wardens that are started by a script: in a place that differs from the test's own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A script that becomes the warden in the end. `before` is shell, in which `"$@"` is the warden with its
/// arguments.
pub(crate) fn script(folder: &Path, before: &str) -> PathBuf {
    let warden = env!("CARGO_BIN_EXE_jailfleet-warden");
    let path = folder.join("jailfleet-warden");
    let text = format!("#!/bin/sh\nset -e -- {warden} \"$@\"\n{before}\n");
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    path
}
