//! Whether a run's memory is limited where the host has swap: a limit on memory alone has the pages above it
//! put out to swap, and stops nobody.

use super::find::Version;
use std::io;
use std::path::Path;

/// What limits swap in a group of this version: memory and swap together, or swap alone.
pub(super) const fn limit_file(version: Version) -> &'static str {
    match version {
        Version::One => "memory.memsw.limit_in_bytes",
        Version::Two => "memory.swap.max",
    }
}

/// Whether this host has swap, and a group like this one no limit on it.
pub(super) fn is_unlimited(version: Version, group: &Path) -> bool {
    !group.join(limit_file(version)).exists() && has_swap(std::fs::read_to_string("/proc/swaps"))
}

/// Whether the kernel lists any, below the line of headings.
///
/// # Source
/// proc_swaps(5)
fn has_swap(swaps: io::Result<String>) -> bool {
    match swaps {
        Ok(list) => list.lines().nth(1).is_some(),
        // A kernel that has none has no list.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::{Version, has_swap, is_unlimited, limit_file};
    use std::io;

    #[test]
    fn a_host_has_swap_where_the_kernel_lists_some_or_does_not_say() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(Ok(heading.to_owned())));
        let one = format!("{heading}/dev/zram0 partition\t8388604\t0\t100\n");
        assert!(has_swap(Ok(one)));
        assert!(!has_swap(Err(io::ErrorKind::NotFound.into())));
        assert!(has_swap(Err(io::ErrorKind::PermissionDenied.into())));
    }

    #[test]
    fn a_group_that_can_limit_swap_does() {
        for version in [Version::One, Version::Two] {
            let group = tempfile::tempdir().expect("a folder");
            std::fs::write(group.path().join(limit_file(version)), "").expect("a file");
            assert!(!is_unlimited(version, group.path()));
        }
    }
}
