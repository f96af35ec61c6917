//! Whose things count as ours: the uids that slots lease, by the configuration and in the tests.

use anyhow::{Context, Result};
use jailfleet_harness::TestUids;
use std::ops::Range;
use std::path::Path;

/// Every uid that a slot may have had.
#[derive(Debug, Clone)]
pub(crate) struct Owners(Vec<Range<u32>>);

impl Owners {
    /// What `config/worker.toml` below `root` leases, and what the tests lease.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let path = root.join("config/worker.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let config: toml::Table = toml::from_str(&text).context("read the embedded config")?;
        let number = |key: &str| {
            config
                .get("warden")
                .and_then(|warden| warden.get(key))
                .and_then(toml::Value::as_integer)
                .and_then(|number| u32::try_from(number).ok())
                .with_context(|| format!("find warden.{key} in {}", path.display()))
        };
        let (first, count) = (number("uid_base")?, number("uid_count")?);
        let configured = first..first.saturating_add(count);
        let of_tests = TestUids::ALL.map(TestUids::range);
        Ok(Self(of_tests.into_iter().chain([configured]).collect()))
    }

    /// Whether `uid` is one of them.
    pub(crate) fn include(&self, uid: u32) -> bool {
        self.0.iter().any(|range| range.contains(&uid))
    }
}

/// One System V object: its number, and the uids of its owner and its maker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IpcObject {
    pub(super) id: String,
    pub(super) uids: [u32; 2],
}

/// Reads a table below /proc/sysvipc. The three tables differ in their columns; each has a heading.
///
/// # Source
/// sysvipc(7), proc_sysvipc(5)
pub(super) fn ipc_objects(table: &str) -> Result<Vec<IpcObject>> {
    let mut lines = table.lines();
    let heading: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let column = |name: &str| heading.iter().position(|word| *word == name);
    let (owner, maker) = (column("uid"), column("cuid"));
    let (owner, maker) = owner.zip(maker).context("find the columns of the uids")?;
    let mut objects = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let uid = |at: usize| -> Result<u32> {
            let cell = cells.get(at).context("find a uid in the table")?;
            cell.parse().with_context(|| format!("read the uid {cell}"))
        };
        // The second column is the number by which ipcrm(1) takes it.
        let id = cells.get(1).context("find the number of an IPC object")?;
        objects.push(IpcObject {
            id: (*id).to_owned(),
            uids: [uid(owner)?, uid(maker)?],
        });
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::{IpcObject, Owners, ipc_objects};
    use jailfleet_harness::TestUids;

    #[test]
    fn uids_of_the_defaults_and_of_every_family_of_tests_are_ours() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let owners = Owners::find(&root).expect("the embedded configuration");
        assert!(owners.include(70_000));
        for family in TestUids::ALL {
            assert!(owners.include(family.base()), "{family:?}");
        }
        assert!(!owners.include(0) && !owners.include(1000) && !owners.include(65_534));
    }

    #[test]
    fn ipc_objects_are_read_by_the_headings_of_their_table() {
        let table = "  key  semid perms nsems   uid   gid  cuid  cgid  otime  ctime\n\
                     \x20  0      7   600     1 70001 70001  1000  1000      0      9\n";
        let found = ipc_objects(table).expect("a table");
        let expected = IpcObject {
            id: "7".to_owned(),
            uids: [70_001, 1000],
        };
        assert_eq!(found, [expected]);
        ipc_objects("no heading at all").expect_err("a table that we do not know");
    }
}
