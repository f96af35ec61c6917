//! What a warden says to its operator, who reads its standard error.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

use fleet::Fleet;
use jailfleet_harness::require;
use jailfleet_sandbox::protocol::{Order, Report, Residue};
use nix::unistd::{dup, dup2_stderr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A warden whose words go into a file; ours go where they went before.
fn overheard(words: &Path, slots: usize, config: &str) -> Fleet {
    let before: OwnedFd = dup(std::io::stderr()).expect("a copy");
    dup2_stderr(File::create(words).expect("a file")).expect("redirected");
    let fleet = Fleet::configured(slots, config);
    dup2_stderr(before).expect("and back");
    fleet
}

#[test]
fn a_jail_that_cannot_be_built_is_told_once_with_its_cause() {
    require!(Root);
    let folder = tempfile::tempdir().expect("a folder");
    let (words, bind) = (folder.path().join("words"), folder.path().join("bind"));
    std::fs::create_dir(&bind).expect("a folder to show");
    let config = format!(
        "[warden]\nsystem_binds = [{{ source = \"/usr\" }}, {{ source = \"/bin\" }}, {{ source = \"/lib\" }}, \
         {{ source = \"/lib64\", optional = true }}, {{ source = \"{}\", target = \"/opt/shown\" }}]\n",
        bind.display()
    );
    let fleet = overheard(&words, 1, &config);
    std::fs::remove_dir(&bind).expect("nothing is in it");
    fleet.send(&Order::Replace { slot: 0 }, &[]);
    for expected in [Residue::Canary, Residue::Build] {
        match fleet.report() {
            Some(Report::Quarantined { slot: 0, residue }) => assert_eq!(residue, expected),
            other => panic!("not {other:?}"),
        }
    }
    let said = std::fs::read_to_string(&words).expect("its words");
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("could not be built"))
        .collect();
    let [line] = told.as_slice() else {
        panic!("told {} times: {said}", told.len());
    };
    assert!(line.contains("No such file or directory"), "{line}");
    fleet.stop();
}
