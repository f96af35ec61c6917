//! Where this host's hierarchies are mounted, and where in them we are.

use std::io;
use std::path::{Path, PathBuf};

/// The two interfaces of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// What we want of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    CpuTime,
}

/// A hierarchy, with the group in it that we were started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
    pub(super) folder: PathBuf,
}

/// Reads this host's.
pub(super) fn find() -> io::Result<Vec<Found>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    Ok(parse(&mounts, &own, |folder| {
        std::fs::read_to_string(folder.join("cgroup.controllers")).ok()
    }))
}

/// Pure but for `enabled`, which reads a version 2 group's list of controllers.
fn parse(mounts: &str, own: &str, enabled: impl Fn(&Path) -> Option<String>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for mount in mounts.lines().filter_map(parse_mount) {
        let wanted: Vec<Controller> = match mount.version {
            Version::One => mount
                .options
                .split(',')
                .filter_map(|name| named(name, true))
                .collect(),
            Version::Two => vec![],
        };
        if mount.version == Version::One && wanted.is_empty() {
            continue;
        }
        let Some(place) = own_group(own, &mount) else {
            continue;
        };
        let below = place
            .strip_prefix(mount.root)
            .unwrap_or(place)
            .trim_start_matches('/');
        let folder = Path::new(mount.point).join(below);
        let controllers = match mount.version {
            Version::One => wanted,
            // CPU time is counted in every version 2 group, with no controller at all.
            Version::Two => enabled(&folder)
                .unwrap_or_default()
                .split_whitespace()
                .filter_map(|name| named(name, false))
                .chain([Controller::CpuTime])
                .collect(),
        };
        found.push(Found {
            version: mount.version,
            controllers,
            folder,
        });
    }
    // What version 1 has a controller for, version 2 cannot have; CPU time alone can be in both,
    // and version 2 counts it in every group.
    let in_two = found.iter().any(|found| found.version == Version::Two);
    if in_two {
        for found in found
            .iter_mut()
            .filter(|found| found.version == Version::One)
        {
            found
                .controllers
                .retain(|controller| *controller != Controller::CpuTime);
        }
    }
    found.retain(|found| !found.controllers.is_empty());
    found
}

struct Mount<'a> {
    version: Version,
    root: &'a str,
    point: &'a str,
    options: &'a str,
}

fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = after.nth(1)?;
    let mut before = before.split(' ').skip(3);
    Some(Mount {
        version,
        root: before.next()?,
        point: before.next()?,
        options,
    })
}

fn named(name: &str, version_one: bool) -> Option<Controller> {
    match (name, version_one) {
        ("memory", _) => Some(Controller::Memory),
        ("pids", _) => Some(Controller::Pids),
        ("cpuacct", true) => Some(Controller::CpuTime),
        _ => None,
    }
}

/// Our group in this hierarchy, from lines such as `4:memory:/a/b` and `0::/a`.
fn own_group<'a>(own: &'a str, mount: &Mount<'_>) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, place) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = match mount.version {
            Version::Two => controllers.is_empty(),
            Version::One => {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .any(|name| mount.options.split(',').any(|option| option == name))
            }
        };
        fits.then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::{Controller, Version, parse};
    use std::path::Path;

    const HYBRID: &str = "\
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
24 1 8:1 / / rw - ext4 /dev/vda rw";

    #[test]
    fn a_hybrid_host_gives_memory_and_pids_by_one_and_cpu_time_by_two() {
        let own = "8:pids:/\n4:memory:/a/b\n2:cpuacct:/\n0::/\n";
        let found = parse(HYBRID, own, |_| Some("hugetlb".to_owned()));
        let seen: Vec<_> = found
            .iter()
            .map(|found| {
                (
                    found.version,
                    found.controllers.clone(),
                    found.folder.as_path(),
                )
            })
            .collect();
        let at = Path::new;
        assert_eq!(
            seen,
            [
                (
                    Version::One,
                    vec![Controller::Memory],
                    at("/sys/fs/cgroup/memory/a/b")
                ),
                (
                    Version::One,
                    vec![Controller::Pids],
                    at("/sys/fs/cgroup/pids")
                ),
                (
                    Version::Two,
                    vec![Controller::CpuTime],
                    at("/sys/fs/cgroup/unified")
                ),
            ]
        );
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_is_found_at_the_mount() {
        let mounts = "41 31 0:38 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw";
        let found = parse(mounts, "0::/docker/x\n", |_| {
            Some("cpu memory pids".to_owned())
        });
        let folders: Vec<_> = found.iter().map(|found| found.folder.as_path()).collect();
        assert_eq!(folders, [Path::new("/sys/fs/cgroup")]);
        let controllers = &found.first().expect("one was found").controllers;
        assert!(
            controllers.contains(&Controller::Memory) && controllers.contains(&Controller::Pids)
        );
    }

    #[test]
    fn without_version_two_the_old_clock_counts() {
        let mounts = "33 31 0:30 / /cg/cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        let found = parse(mounts, "3:cpu,cpuacct:/\n", |_| None);
        let controllers: Vec<_> = found
            .into_iter()
            .flat_map(|found| found.controllers)
            .collect();
        assert_eq!(controllers, [Controller::CpuTime]);
    }
}
