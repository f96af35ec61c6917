//! A hundred thousand runs in one worker: what it holds at the end is what it held near the beginning.

use crate::answer::walls;
use crate::build;
use crate::clock::Stopwatch;
use crate::demo::without_detail;
use crate::embedded;
use crate::example::write_jobs;
use crate::needs::{self, Install, Need};
use crate::programs::Owned;
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet::wall::Wall;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

const SLOTS: usize = 2;
/// Resident memory may grow by this much between the two looks: an allocator keeps what it was once given.
const MOST_GROWTH_BYTES: u64 = 4 << 20;
/// As many dentries of the whole host may be in use that were not before: other programs run there, too.
const MOST_DENTRIES_IN_USE: u64 = 1_000;
/// As many may be kept as a cache: a run that left a single one would leave four times as many.
const MOST_DENTRIES: u64 = 20_000;
/// What a group answers that was removed while it was listed (ENODEV).
const GONE: i32 = 19;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Longer than any pause that is meant to be: the start of a worker, or its end after the last result.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Of the whole host: those that something holds, and those as well that the kernel keeps in case they are asked for.
const DENTRIES_IN_USE: &str = "host: dentries in use";
const DENTRIES: &str = "host: dentries";
/// Folders of the warden's own groups, of which each slot has some.
const GROUPS: &str = "slots: groups";

/// What worker, warden and inits hold at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Holdings(BTreeMap<&'static str, u64>);

/// Runs `runs` jobs and compares a look after a tenth of them with one near the end.
pub(crate) fn run(workspace: &Workspace, install: Install, runs: usize) -> Result<()> {
    needs::provide(&[Need::Pkill], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("soak")?;
    let (jobs, results) = (folder.join("jobs.jsonl"), folder.join("results.jsonl"));
    let all: Vec<_> = (0..runs).map(job).collect();
    write_jobs(&jobs, all.iter())?;
    println!("{runs} runs in one worker with {SLOTS} slots ...");
    let mut worker = embedded::worker(workspace);
    worker
        .arg("--set")
        .arg(format!("worker.slots={SLOTS}"))
        .arg("local")
        .arg(&jobs)
        .stdout(File::create(&results).context("make the results")?);
    let watch = Stopwatch::start();
    let mut soak = Soak::start(&mut worker, &results)?;
    let early = soak.look_after(runs / 10)?;
    let late = soak.look_after(runs - runs / 20)?;
    let status = soak.end()?;
    let seconds = watch.elapsed().as_secs_f64();
    ensure!(
        status.success(),
        "run all jobs: the worker ended with {status}"
    );
    let done = count_lines(&results)?;
    ensure!(done == runs, "get {runs} results: {done} came");
    println!("{}", table(&early, &late).render());
    println!("{runs} runs in {seconds:.0} s; looked at after a tenth of them and near the end");
    let limited = first_result(&results)?;
    for holdings in [&early, &late] {
        groups_were_found(&limited, holdings)?;
    }
    flat(&early, &late)
}

fn job(number: usize) -> serde_json::Value {
    // A file and an orphan, by means of the shell alone: this is about what stays, not about speed.
    let code = "#!/bin/bash\necho x > tmp/f; (: &); exit 0\n";
    json!({ "v": 1, "id": format!("soak.{number}"), "runtime": "native", "code": code })
}

/// A worker under way, and the results that it has written so far.
struct Soak {
    worker: Owned,
    results: BufReader<File>,
    seen: usize,
    moved: Stopwatch,
}

impl Soak {
    fn start(worker: &mut Command, results: &Path) -> Result<Self> {
        Ok(Self {
            worker: Owned::start("jailfleet-worker local", worker)?,
            results: BufReader::new(File::open(results).context("read the results")?),
            seen: 0,
            moved: Stopwatch::start(),
        })
    }

    /// Waits until so many results are there, then looks.
    fn look_after(&mut self, count: usize) -> Result<Holdings> {
        loop {
            self.read_on()?;
            if self.seen >= count {
                return look(self.worker.pid());
            }
            if let Some(status) = self.worker.wait_within(LOOK)? {
                let seen = self.seen;
                bail!("keep the worker for {count} runs: it ended with {status} after {seen}");
            }
        }
    }

    /// Waits until the worker has ended by itself.
    fn end(&mut self) -> Result<ExitStatus> {
        loop {
            self.read_on()?;
            if let Some(status) = self.worker.wait_within(LOOK)? {
                return Ok(status);
            }
        }
    }

    /// Counts the results that have come; an error where none has for too long.
    fn read_on(&mut self) -> Result<()> {
        let mut line = String::new();
        while self
            .results
            .read_line(&mut line)
            .context("read the results")?
            > 0
        {
            if line.ends_with('\n') {
                self.seen += 1;
                self.moved = Stopwatch::start();
            }
            line.clear();
        }
        ensure!(
            self.moved.elapsed() < STANDSTILL,
            "see more than {} results, or the worker's end, within {STANDSTILL:?}",
            self.seen
        );
        Ok(())
    }
}

fn first_result(results: &Path) -> Result<Value> {
    let file = File::open(results).context("read the results")?;
    let line = BufReader::new(file).lines().next();
    let line = line.context("find a result")?.context("read a result")?;
    serde_json::from_str(&line).context("understand a result")
}

/// Where groups limit memory, a look that finds none has looked in the wrong place, and compares nothing.
fn groups_were_found(result: &Value, held: &Holdings) -> Result<()> {
    let limited = walls(result).any(|wall| without_detail(wall) == Wall::CgroupMemory.as_str());
    let found = held.0.get(GROUPS).copied().unwrap_or(0);
    ensure!(
        !limited || found > 0,
        "find the groups that limit memory: there is none below a folder of the warden's"
    );
    Ok(())
}

fn count_lines(path: &Path) -> Result<usize> {
    let file = File::open(path).context("read the results")?;
    Ok(BufReader::new(file).lines().count())
}

/// Looks at the worker, its warden and the warden's inits.
fn look(worker: u32) -> Result<Holdings> {
    let warden = *children(worker)?.first().context("find the warden")?;
    let inits: Vec<u32> = children(warden)?;
    let mut held = BTreeMap::new();
    held.insert("worker: descriptors", entries(worker, "fd")?);
    held.insert("worker: threads", entries(worker, "task")?);
    held.insert("worker: resident bytes", resident(worker)?);
    held.insert("warden: descriptors", entries(warden, "fd")?);
    held.insert("warden: resident bytes", resident(warden)?);
    held.insert("warden: mounts", lines(warden, "mountinfo")?);
    held.insert(GROUPS, groups(warden)?);
    // A sweeper may be among them for a moment; the inits are the oldest.
    let inits = inits.get(..SLOTS).context("find an init for each slot")?;
    let sum = |of: &dyn Fn(u32) -> Result<u64>| -> Result<u64> {
        inits.iter().map(|init| of(*init)).sum()
    };
    held.insert("inits: descriptors", sum(&|init| entries(init, "fd"))?);
    held.insert("inits: mounts", sum(&|init| lines(init, "mountinfo"))?);
    held.insert("inits: resident bytes", sum(&resident)?);
    let state = "/proc/sys/fs/dentry-state";
    let text = std::fs::read_to_string(state).with_context(|| format!("read {state}"))?;
    let (all, in_use) =
        dentries_of(&text).with_context(|| format!("understand {state}: {text}"))?;
    held.insert(DENTRIES, all);
    held.insert(DENTRIES_IN_USE, in_use);
    Ok(Holdings(held))
}

/// How many dentries there are, and how many of them something holds (proc_sys_fs(5)).
fn dentries_of(state: &str) -> Option<(u64, u64)> {
    let mut numbers = state.split_whitespace().map(str::parse::<u64>);
    let (all, unused) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((all, all.saturating_sub(unused)))
}

fn proc(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let path = proc(pid, &format!("task/{pid}/children"));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let pids = text.split_whitespace().map(str::parse);
    pids.collect::<Result<_, _>>()
        .with_context(|| format!("understand {}", path.display()))
}

fn entries(pid: u32, name: &str) -> Result<u64> {
    let folder = std::fs::read_dir(proc(pid, name)).with_context(|| format!("list {name}"))?;
    Ok(folder.count() as u64)
}

fn lines(pid: u32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(proc(pid, name)).with_context(|| format!("read {name}"))?;
    Ok(text.lines().count() as u64)
}

fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(proc(pid, "status")).context("read a status")?;
    resident_of(&status).with_context(|| format!("find the memory of process {pid}"))
}

/// A process that has ended and was not waited for has no such line: no memory is not zero memory.
fn resident_of(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Folders of the warden's own groups in every hierarchy.
fn groups(warden: u32) -> Result<u64> {
    let own = format!("w-{warden}-");
    let is_own = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&own));
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    let mut count = 0;
    while let Some((folder, depth)) = open.pop() {
        for entry in folders_in(&folder)? {
            if entry.file_name().is_some_and(is_own) {
                count += folders_in(&entry)?.len() as u64;
            } else if depth < 5 {
                open.push((entry, depth + 1));
            }
        }
    }
    Ok(count)
}

/// The folders in a folder; none where it has gone, as others' groups may at any time.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let words = || format!("list the groups in {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(words)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        match entry {
            Err(error) if error.raw_os_error() == Some(GONE) => break,
            entry => {
                let entry = entry.with_context(words)?;
                if entry.file_type().with_context(words)?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
    }
    Ok(folders)
}

fn table(early: &Holdings, late: &Holdings) -> Table {
    let mut table = Table::new(&["held", "early", "late"]);
    for (what, before) in &early.0 {
        let after = late.0.get(what).map_or("-".to_owned(), u64::to_string);
        table.row([(*what).to_owned(), before.to_string(), after]);
    }
    table
}

/// By how much something may have grown.
fn allowance(what: &str) -> u64 {
    match what {
        DENTRIES => MOST_DENTRIES,
        DENTRIES_IN_USE => MOST_DENTRIES_IN_USE,
        bytes if bytes.ends_with("bytes") => MOST_GROWTH_BYTES,
        // Between two looks a run more or less may be under way in each slot.
        _ => 8 * SLOTS as u64,
    }
}

/// Counts must not have grown, memory by little.
fn flat(early: &Holdings, late: &Holdings) -> Result<()> {
    let grown: Vec<String> = early
        .0
        .iter()
        .filter_map(|(what, before)| {
            let Some(&after) = late.0.get(what) else {
                return Some(format!("{what}, which nobody looked at in the end"));
            };
            (after > before + allowance(what)).then(|| format!("{what} from {before} to {after}"))
        })
        .collect();
    ensure!(
        grown.is_empty(),
        "hold no more than before: {}",
        grown.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        DENTRIES, DENTRIES_IN_USE, GROUPS, Holdings, MOST_GROWTH_BYTES, dentries_of, flat,
        groups_were_found, resident_of,
    };
    use serde_json::json;
    use std::collections::BTreeMap;

    fn holdings(descriptors: u64, bytes: u64) -> Holdings {
        Holdings(BTreeMap::from([
            ("warden: descriptors", descriptors),
            ("warden: resident bytes", bytes),
        ]))
    }

    #[test]
    fn a_leak_of_descriptors_or_memory_is_no_flat_line() {
        let early = holdings(20, 1 << 20);
        flat(&early, &holdings(22, 2 << 20)).expect("as flat as runs under way allow");
        flat(&early, &holdings(120, 1 << 20)).expect_err("descriptors leak");
        let much = (1 << 20) + MOST_GROWTH_BYTES + 1;
        flat(&early, &holdings(20, much)).expect_err("memory leaks");
    }

    #[test]
    fn a_dentry_that_each_run_leaves_is_no_flat_line_whether_something_holds_it_or_not() {
        let held = |in_use, unused| {
            let text = format!("{}\t{unused}\t45\t0\t90985\t0\n", in_use + unused);
            let (all, in_use) = dentries_of(&text).expect("two numbers");
            Holdings(BTreeMap::from([(DENTRIES, all), (DENTRIES_IN_USE, in_use)]))
        };
        let (early, runs) = (held(1_400, 180_000), 85_000);
        flat(&early, &held(1_500, 190_000)).expect("other programs");
        flat(&early, &held(1_400 + runs, 180_000 - runs)).expect_err("they are held");
        flat(&early, &held(1_400, 180_000 + runs)).expect_err("they are kept");
        assert_eq!(dentries_of("1 and 2"), None);
    }

    #[test]
    fn no_group_at_all_is_no_flat_line_where_groups_limit_memory() {
        let held = |groups| Holdings(BTreeMap::from([(GROUPS, groups)]));
        let limited = json!({ "walls": ["rlimits", "cgroup_memory", "landlock:7"] });
        groups_were_found(&limited, &held(2)).expect("they were looked at");
        groups_were_found(&limited, &held(0)).expect_err("they were looked for elsewhere");
        let bare = json!({ "walls": ["rlimits", "cgroup_pids"] });
        groups_were_found(&bare, &held(0)).expect("there is none");
    }

    #[test]
    fn memory_that_nobody_tells_is_not_zero() {
        let alive = "Name:\tx\nVmHWM:\t 3000 kB\nVmRSS:\t 2000 kB\n";
        assert_eq!(resident_of(alive), Some(2000 << 10));
        assert_eq!(resident_of("Name:\tx\nState:\tZ (zombie)\n"), None);
        assert_eq!(resident_of("VmRSS:\tmuch kB\n"), None);
    }

    #[test]
    fn what_is_missing_in_the_end_is_no_flat_line() {
        let early = holdings(20, 1 << 20);
        let late = Holdings(BTreeMap::from([("warden: descriptors", 20)]));
        flat(&early, &late).expect_err("its memory was not looked at");
    }
}
