//! `cargo xtask vm test`: the sandbox's tests in guests, one process a test.

use crate::attacks;
use crate::needs::Install;
use crate::programs::{capture, command};
use crate::vm::machine::{self, Clock, Done};
use crate::vm::recipe::{C_LIBRARY, Kernel};
use crate::vm::selection::{self, Case, Wanted};
use crate::vm::test_programs::{self, TestProgram};
use crate::vm::tier::Learned;
use crate::vm::verdict::{Verdict, notes};
use crate::vm::{Guest, NoGuest};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet_guest::{Access, End, Errand, Plan, Share, User};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is tested.
#[derive(Debug)]
pub(crate) struct Order {
    /// Under which kernels, a guest each.
    pub(crate) kernels: Vec<Kernel>,
    /// Which tests.
    pub(crate) wanted: Wanted,
    /// As whom, instead of as the selection says.
    pub(crate) user: Option<User>,
    /// What may be done to the host.
    pub(crate) install: Install,
}

/// A test takes a few seconds of the guest's clock, and waits for nothing longer than a minute.
const TEST_LIMIT: Duration = Duration::from_secs(150);
const PREPARATION_LIMIT: Duration = Duration::from_secs(60);

/// Runs what is ordered and puts down in `learned` what came of it.
///
/// # Errors
/// When a guest could not be used. Tests that fail are counted and no error: the caller looks.
pub(crate) fn run(workspace: &Workspace, order: &Order, learned: &mut Learned) -> Result<()> {
    let programs = test_programs::build(workspace)?;
    // There is no compiler in the guest.
    let attacks = workspace.fresh_folder("attacks")?;
    attacks::build(workspace, order.install, &attacks)?;
    let names = test_programs::names(&programs)?;
    let cases = match selection::choose(&names, &order.wanted, order.user) {
        Ok(cases) => cases,
        Err(unknown) => bail!(
            "find tests that vm/selection.rs names: {}; were they renamed?",
            unknown.join(", ")
        ),
    };
    ensure!(!cases.is_empty(), "find a test that was asked for");
    // As good as no guest: nothing that is built here could be tried in it.
    the_c_library_fits().context(NoGuest)?;
    let mut errands = preparations(workspace)?;
    for case in &cases {
        errands.push(errand(workspace, &programs, &attacks, case)?);
    }
    for kernel in &order.kernels {
        let guest = Guest::get(workspace, *kernel, order.install)?;
        let count = cases.len();
        println!("\n{count} tests in a guest with Linux {kernel}, AppArmor and cgroup v2:");
        one_guest(workspace, &guest, &errands, &cases, |case, done| {
            report(*kernel, case, done, learned);
        })
        .with_context(|| format!("test under Linux {kernel}"))?;
    }
    Ok(())
}

/// Boots one guest for all of the cases.
fn one_guest(
    workspace: &Workspace,
    guest: &Guest,
    errands: &[Errand],
    cases: &[Case],
    mut report: impl FnMut(&Case, &Done),
) -> Result<()> {
    let prepared = errands.len().saturating_sub(cases.len());
    let plan = Plan {
        shares: shares(workspace),
        errands: errands.to_vec(),
    };
    machine::perform(guest, Clock::Virtual, &plan, |number, done| {
        match number
            .checked_sub(prepared)
            .and_then(|number| cases.get(number))
        {
            Some(case) => report(case, &done),
            None => prepared_well(&done)?,
        }
        Ok(())
    })
}

/// What must be so before a test means anything: the kernel has what this is about, cores of crashed
/// programs go to a program of the host as on most systems, and the profiles are loaded.
fn preparations(workspace: &Workspace) -> Result<Vec<Errand>> {
    let facts = "grep -qx Y /sys/module/apparmor/parameters/enabled || \
                 { echo 'this kernel does not enforce AppArmor'; exit 1; }\n\
                 grep -qw landlock /sys/kernel/security/lsm || \
                 { echo \"there is no Landlock in $(cat /sys/kernel/security/lsm)\"; exit 1; }\n\
                 for controller in memory pids cpu; do\n\
                 grep -qw $controller /sys/fs/cgroup/cgroup.controllers || \
                 { echo \"there is no $controller in cgroup v2\"; exit 1; }\ndone\n\
                 echo '|/bin/false' > /proc/sys/kernel/core_pattern\n";
    let facts = preparation(["bash", "-c", facts].map(str::to_owned).into());
    let folder = workspace.root().join("apparmor");
    let include = format!("--Include={}", folder.display());
    let mut load = ["apparmor_parser", "--replace", &include]
        .map(str::to_owned)
        .to_vec();
    load.extend(
        profiles(&folder)?
            .iter()
            .map(|path| path.display().to_string()),
    );
    Ok(vec![facts, preparation(load)])
}

fn preparation(argv: Vec<String>) -> Errand {
    Errand {
        argv,
        cwd: "/".into(),
        env: Vec::new(),
        user: User::Root,
        limit_ms: millis(PREPARATION_LIMIT),
    }
}

fn prepared_well(done: &Done) -> Result<()> {
    if done.end == End::Exited(0) {
        return Ok(());
    }
    let words = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    bail!(
        "prepare the guest: {:?} {}{}",
        done.end,
        words[0].trim(),
        words[1].trim()
    )
}

/// The profiles, which bear our name and no ending; what they include has another one.
///
/// # Errors
/// When there is none: nothing would be enforced, and tests of that would skip.
fn profiles(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context("list the profiles")? {
        let path = entry.context("list the profiles")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && name.starts_with("jailfleet-") && path.extension().is_none() {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "find a profile in {}", folder.display());
    found.sort();
    Ok(found)
}

/// The checkout and what is built in it, at their own paths: the tests know them by these.
fn shares(workspace: &Workspace) -> Vec<Share> {
    let share = |tag: &str, path: &Path| Share {
        tag: tag.to_owned(),
        path: path.to_owned(),
        access: Access::Read,
    };
    let mut shares = vec![share("checkout", workspace.root())];
    if !workspace.target().starts_with(workspace.root()) {
        shares.push(share("target", workspace.target()));
    }
    shares
}

fn errand(
    workspace: &Workspace,
    programs: &[TestProgram],
    attacks: &Path,
    case: &Case,
) -> Result<Errand> {
    let program = programs
        .iter()
        .find(|program| program.name == case.name.program)
        .context("find the program of a test")?;
    let path = program.path.to_str().context("read a program's path")?;
    Ok(Errand {
        argv: [path, "--exact", "--nocapture", &case.name.test]
            .map(str::to_owned)
            .into(),
        cwd: workspace.root().join("sandbox"),
        env: vec![
            ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
            (attacks::COMPILED.to_owned(), attacks.display().to_string()),
        ],
        user: case.user,
        limit_ms: millis(TEST_LIMIT),
    })
}

fn report(kernel: Kernel, case: &Case, done: &Done, learned: &mut Learned) {
    let verdict = Verdict::of(done, case.user);
    let user = match case.user {
        User::Root => "root",
        User::Plain => "plain",
    };
    learned.tally.note(&verdict);
    let place = format!("in the guest {kernel} as {user}");
    for note in notes(done) {
        learned.notes.note(&place, &note);
    }
    match &verdict {
        Verdict::Passed => {
            let test = format!("{}::{}", case.name.program, case.name.test);
            learned.passed.note(&format!("guest {kernel}"), &test);
        }
        Verdict::Skipped(skips) => {
            let lines = skips.iter().map(|skip| format!("{skip}, {place}"));
            learned.skips.extend(lines);
        }
        Verdict::Failed(_) => {}
    }
    println!(
        "  {:<7}  {:>5.1} s  {user:<5}  {}::{}",
        verdict.to_string(),
        done.took.as_secs_f64(),
        case.name.program,
        case.name.test
    );
    if let Verdict::Failed(reason) = &verdict {
        println!("--- it {reason}; what it wrote:");
        for bytes in [&done.stdout, &done.stderr] {
            println!("{}", String::from_utf8_lossy(bytes).trim_end());
        }
        println!("---");
    }
}

/// Programs built here do not start in the guest when this host's C library is newer.
fn the_c_library_fits() -> Result<()> {
    let text = capture("getconf", command("getconf").arg("GNU_LIBC_VERSION"))?;
    let here = version(&text).with_context(|| format!("understand getconf: {text}"))?;
    ensure!(
        here <= C_LIBRARY,
        "run programs of this host in the guest: its C library is {}.{}, the guest's {}.{}",
        here.0,
        here.1,
        C_LIBRARY.0,
        C_LIBRARY.1
    );
    Ok(())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).expect("limits are minutes")
}

#[cfg(test)]
mod tests {
    use super::{profiles, version};

    #[test]
    fn profiles_are_told_from_what_lies_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "jailfleet-python",
            "jailfleet-bash",
            "jailfleet-x.inc",
            "README.md",
        ] {
            std::fs::write(folder.path().join(name), "").expect("a file");
        }
        std::fs::create_dir(folder.path().join("jailfleet-folder")).expect("a folder");
        let found = profiles(folder.path()).expect("a list");
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["jailfleet-bash", "jailfleet-python"]);
        profiles(&folder.path().join("jailfleet-folder")).expect_err("a folder without profiles");
    }

    #[test]
    fn the_version_of_a_c_library_is_two_numbers() {
        assert_eq!(version("glibc 2.36\n"), Some((2, 36)));
        assert!(version("glibc 2.4") < version("glibc 2.36"));
        assert_eq!(version("musl 1.2"), None);
    }
}
