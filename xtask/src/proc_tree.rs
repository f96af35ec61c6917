//! What /proc says of a process and of everything below it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

/// One look at a process and its descendants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TreeUse {
    /// CPU time of them and of all that they have reaped.
    pub(crate) cpu: Duration,
    /// Resident memory of the root and of its children, in bytes: worker and warden.
    pub(crate) resident_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    parent: u32,
    own_ticks: u64,
    reaped_ticks: u64,
    resident_pages: u64,
}

/// Looks at `root` and everything below it.
pub(crate) fn look(root: u32) -> Result<TreeUse> {
    let entries = all()?;
    // One that has gone uses nothing, which nobody must take for a measurement.
    ensure!(entries.contains_key(&root), "find process {root} in /proc");
    let depth_of = |mut pid: u32| {
        // Bounded: a process may be re-parented between two reads.
        for depth in 0..64_u32 {
            if pid == root {
                return Some(depth);
            }
            pid = entries.get(&pid)?.parent;
        }
        None
    };
    let mut used = TreeUse::default();
    for (&pid, entry) in &entries {
        if let Some(depth) = depth_of(pid) {
            used.cpu += ticks(entry.own_ticks + entry.reaped_ticks);
            if depth <= 1 {
                used.resident_bytes += entry.resident_pages * rustix::param::page_size() as u64;
            }
        }
    }
    Ok(used)
}

/// The processes that have `argument` among their arguments.
pub(crate) fn with_argument(argument: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile is no error.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line
            .split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The one of `ancestors` that a process descends from, if it is there still.
pub(crate) fn descends_from(mut pid: u32, ancestors: &[u32]) -> Option<u32> {
    // Bounded: a process may be re-parented between two reads.
    for _ in 0..64_u32 {
        pid = parent_of(pid).ok()?;
        if ancestors.contains(&pid) {
            return Some(pid);
        }
    }
    None
}

/// The pid of a process's parent.
pub(crate) fn parent_of(pid: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("look up the process {pid}"))?;
    let entry = parse(&stat).with_context(|| format!("understand the stat of {pid}"))?;
    Ok(entry.parent)
}

/// CPU time of all descendants of xtask that have ended and were waited for.
pub(crate) fn reaped_by_us() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    Ok(ticks(
        parse(&text)
            .context("understand /proc/self/stat")?
            .reaped_ticks,
    ))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1000) / rustix::param::clock_ticks_per_second())
}

fn all() -> Result<BTreeMap<u32, Entry>> {
    let mut entries = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is no error.
        if let Ok(text) = std::fs::read_to_string(entry.path().join("stat"))
            && let Some(found) = parse(&text)
        {
            entries.insert(pid, found);
        }
    }
    Ok(entries)
}

/// # Source
/// proc_pid_stat(5); the name in the second field may hold spaces and parentheses.
fn parse(stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // Counted from the field after the name, which the manual page numbers 3.
    let number = |field: usize| {
        fields
            .get(field.checked_sub(3)?)?
            .trim()
            .parse::<u64>()
            .ok()
    };
    Some(Entry {
        parent: u32::try_from(number(4)?).ok()?,
        own_ticks: number(14)? + number(15)?,
        reaped_ticks: number(16)? + number(17)?,
        resident_pages: number(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{descends_from, look, parent_of, parse, with_argument};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "12 (a) b (c) S 7 1 1 0 -1 4 0 0 0 0 10 20 30 40 20 0 1 0 5 1000 99 1\n";
        let entry = parse(line).expect("the line is well-formed");
        assert_eq!((entry.parent, entry.own_ticks), (7, 30));
        assert_eq!((entry.reaped_ticks, entry.resident_pages), (70, 99));
    }

    #[test]
    fn a_process_is_found_by_an_argument_and_its_ancestor_by_its_descent() {
        let mark = format!("600.{}", std::process::id());
        let mut sleep = crate::programs::command("sleep");
        let sleep = crate::programs::Owned::start("sleep", sleep.arg(&mark)).expect("it starts");
        // It may be on its way from being a copy of us to being what we asked for.
        let soon = std::time::Duration::from_secs(10);
        let found = || Ok(with_argument(&mark)? == [sleep.pid()]);
        jailfleet_harness::poll_until("its argument be seen", soon, found).expect("it is found");
        let us = std::process::id();
        assert_eq!(descends_from(sleep.pid(), &[us]), Some(us));
        let above = parent_of(us).expect("we have one");
        assert_eq!(descends_from(sleep.pid(), &[1 << 22, above]), Some(above));
        assert_eq!(descends_from(sleep.pid(), &[1 << 22]), None);
    }

    #[test]
    fn a_process_that_has_gone_is_an_error_and_uses_not_nothing() {
        look(std::process::id()).expect("we are there");
        // The kernel numbers processes within 22 bits.
        look(1 << 22).expect_err("nobody has that number");
    }
}
