//! How much memory the group that we were started in may use, and those above it: in a container that is less
//! than the host has.

use super::find::{Controller, Found, Version, find};
use std::io;
use std::path::Path;

/// The lowest limit on memory from our own group upwards; `None` where none is set or can be seen.
///
/// # Errors
/// When it cannot be read which groups we are in.
pub fn memory_bytes() -> io::Result<Option<u64>> {
    let found = find()?;
    let has_memory = |found: &&Found| found.controllers.contains(&Controller::Memory);
    let limits = found.iter().filter(has_memory);
    Ok(limits
        .filter_map(|found| lowest_from(found.version, &found.folder))
        .min())
}

/// The lowest limit of a group and those above it, up to the first folder that is no group.
fn lowest_from(version: Version, group: &Path) -> Option<u64> {
    let limit = match version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    let groups = group.ancestors();
    let groups = groups.take_while(|folder| folder.join("cgroup.procs").exists());
    // The root of version 2 has no such file, and a group without a limit says `max`.
    let limits = groups.filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join(limit)).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::{Version, lowest_from};
    use std::fs;
    use std::path::Path;

    fn group(folder: &Path, file: &str, limit: Option<&str>) {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join("cgroup.procs"), "").expect("a file");
        if let Some(limit) = limit {
            fs::write(folder.join(file), limit).expect("a file");
        }
    }

    #[test]
    fn the_lowest_limit_from_a_group_upwards_counts_and_one_beyond_the_groups_does_not() {
        let versions = [
            (
                Version::One,
                "memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (Version::Two, "memory.max", "max\n"),
        ];
        for (version, file, none) in versions {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join(file), "1\n").expect("a file");
            let [top, middle, own] = ["top", "top/middle", "top/middle/own"];
            let [top, middle, own] = [top, middle, own].map(|name| folder.path().join(name));
            group(&top, file, None);
            group(&middle, file, Some("4096\n"));
            group(&own, file, Some(none));
            assert_eq!(lowest_from(version, &own), Some(4096));
            fs::write(own.join(file), "1024\n").expect("a file");
            assert_eq!(lowest_from(version, &own), Some(1024));
            assert_eq!(lowest_from(version, &top), None);
        }
    }
}
