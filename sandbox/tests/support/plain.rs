//! Tests of the same binary once more, as a user without any privilege.

use jailfleet_harness::noted::{NOTED, NOTES, tell};
use jailfleet_harness::requirement::{NO_SKIPS, SKIPS};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

/// A user who owns nothing on any host. Not the one that stands for every uid which a user namespace
/// does not map: it would hide a map that names the wrong user.
const PLAIN: u32 = 54_321;

/// Runs these tests of this very binary as a plain user; all must pass. Only root can call it.
#[expect(
    clippy::disallowed_methods,
    reason = "this test is the program that it starts"
)]
pub(crate) fn as_a_plain_user(tests: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).expect("it is ours");
    let output = std::process::Command::new(std::env::current_exe().expect("we run"))
        .args(["--exact", "--test-threads=1", "--nocapture"])
        .args(tests)
        .env("TMPDIR", folder.path())
        // What a plain user cannot have is nothing that this machine lacks: the same tests run as
        // root, where each skip counts.
        .env_remove(NO_SKIPS)
        .env_remove(SKIPS)
        // It may not write there; what it tells is told again below.
        .env_remove(NOTES)
        .uid(PLAIN)
        .gid(PLAIN)
        .output()
        .expect("the tests can be executed by everybody");
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    eprintln!("{words}");
    let noted = words.lines().filter_map(|line| line.split_once(NOTED));
    noted.for_each(|(_, note)| tell(&format!("{note} (in a plain user's jails)")));
    assert!(
        text.contains(&format!("{} passed; 0 failed", tests.len())),
        "{text}"
    );
}
