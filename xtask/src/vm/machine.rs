//! One guest from its boot to its end.

use crate::clock::Stopwatch;
use crate::programs::{Owned, command, next_line};
use crate::vm::kernel::ELF;
use crate::vm::root::IMAGE;
use crate::vm::{Guest, NoGuest, boot_image};
use anyhow::{Context, Result, bail};
use jailfleet_guest::{Access, DESK_TAG, End, Event, Left, PLAN, Plan, Share, output_names};
use jailfleet_harness::{Watcher, mark};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

/// How the guest's clock goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// With the host's: a guest that is slow sees time fly.
    Host,
    /// With its own instructions, one a nanosecond: however busy the host is, a second of the guest
    /// is enough for what a second is meant for.
    Virtual,
}

/// What came of one errand.
#[derive(Debug)]
pub(crate) struct Done {
    /// How its program ended.
    pub(crate) end: End,
    /// Whether it left processes.
    pub(crate) left: Left,
    /// How long it took by the host's clock.
    pub(crate) took: Duration,
    /// What it wrote on its standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote on its standard error.
    pub(crate) stderr: Vec<u8>,
}

/// A guest takes two seconds to boot on an idle machine.
const BOOT: Duration = Duration::from_secs(90);
/// An errand's limit is by the guest's clock, which a busy host can make this much slower.
const SLOWEST_CLOCK: u32 = 8;
const MEMORY: &str = "1024M";

/// Boots a guest, has the plan's errands done and hands each result to `on_done`, with its place.
///
/// # Errors
/// When the guest gives no answer in time or gives up; its console is printed then. [`NoGuest`] when it
/// never gave one.
pub(crate) fn perform(
    guest: &Guest,
    clock: Clock,
    plan: &Plan,
    mut on_done: impl FnMut(usize, Done) -> Result<()>,
) -> Result<()> {
    let desk = Desk::lay_out(guest, plan)?;
    let mut qemu = qemu(guest, clock, plan, &desk);
    let log = std::fs::File::create(desk.path("qemu.log")).context("make QEMU's log")?;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut machine = Owned::start("qemu-system-x86_64", &mut qemu).context(NoGuest)?;
    let events = machine.take_stdout().context("listen to the guest")?;
    let mut events = BufReader::new(events);
    let first = first_event(&mut events).context(NoGuest);
    let heard = first.and_then(|first| listen(first, &mut events, &desk, plan, &mut on_done));
    if let Err(error) = heard {
        desk.show_console();
        return Err(error);
    }
    match machine.wait_within(BOOT)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            desk.show_console();
            bail!("see the guest power off: QEMU ended with {status}")
        }
        None => bail!("see the guest power off within {BOOT:?}"),
    }
}

fn first_event(events: &mut BufReader<ChildStdout>) -> Result<Event> {
    let line = next_line(events, BOOT).context("hear from the guest")?;
    understood(&line.context("hear from the guest before QEMU ends")?)
}

fn understood(line: &str) -> Result<Event> {
    serde_json::from_str(line.trim())
        .with_context(|| format!("understand the guest, which says {line:?}"))
}

/// Follows the guest's events to the last one.
fn listen(
    first: Event,
    events: &mut BufReader<ChildStdout>,
    desk: &Desk,
    plan: &Plan,
    on_done: &mut impl FnMut(usize, Done) -> Result<()>,
) -> Result<()> {
    let mut event = first;
    let mut patience = BOOT;
    let mut watch = Stopwatch::start();
    let mut done = 0;
    loop {
        match event {
            Event::Ready => {}
            Event::Began { errand } => {
                let limit = plan.errands.get(errand).map_or(0, |errand| errand.limit_ms);
                patience = BOOT + Duration::from_millis(limit) * SLOWEST_CLOCK;
                watch = Stopwatch::start();
            }
            Event::Ended { errand, end, left } => {
                let [stdout, stderr] = output_names(errand).map(|name| desk.read(&name));
                let result = Done {
                    end,
                    left,
                    took: watch.elapsed(),
                    stdout: stdout?,
                    stderr: stderr?,
                };
                on_done(errand, result)?;
                done += 1;
            }
            Event::Trouble { words } => bail!("use the guest: it {words}"),
        }
        match next_line(events, patience).context("hear from the guest")? {
            Some(line) => event = understood(&line)?,
            None if done == plan.errands.len() => return Ok(()),
            None => bail!(
                "get an answer from the guest: it ended after {done} of {} errands",
                plan.errands.len()
            ),
        }
    }
}

fn qemu(guest: &Guest, clock: Clock, plan: &Plan, desk: &Desk) -> Command {
    let mut qemu = command("qemu-system-x86_64");
    mark(&mut qemu, desk.folder.path());
    match clock {
        Clock::Host => qemu.args(["-accel", "tcg,thread=multi"]),
        Clock::Virtual => qemu
            .args(["-accel", "tcg,thread=single"])
            .args(["-icount", "shift=0,sleep=on"]),
    };
    qemu.args(["-machine", "pc,graphics=off", "-cpu", "max", "-smp", "1"])
        .args(["-m", MEMORY])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-append", KERNEL_OPTIONS])
        .arg("-kernel")
        .arg(guest.kernel.join(ELF))
        .arg("-initrd")
        .arg(desk.path(INITRD))
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=virtio,snapshot=on,cache=unsafe",
            quoted(&guest.root.join(IMAGE))
        ))
        .arg("-serial")
        .arg(format!("file:{}", desk.path(CONSOLE).display()))
        .args(["-chardev", "stdio,id=events,signal=off"])
        .args(["-serial", "chardev:events"]);
    let own = Share {
        tag: DESK_TAG.to_owned(),
        path: desk.path(SHARED),
        access: Access::Write,
    };
    for share in plan.shares.iter().chain([&own]) {
        let only = match share.access {
            Access::Read => ",readonly=on",
            Access::Write => "",
        };
        let (tag, path) = (&share.tag, quoted(&share.path));
        qemu.arg("-fsdev")
            .arg(format!(
                "local,id={tag},path={path},security_model=none{only}"
            ))
            .arg("-device")
            .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
    }
    qemu
}

/// A comma separates options.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Quiet and quick: no mitigations on a processor that does not exist, no self-tests, no waiting for
/// entropy, and no interrupt controller of the processor's own, whose calibration would take most of
/// a boot by virtual time. AppArmor is asked for by name, so that no other module can be in its place.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests \
                              acpi=noirq nolapic random.trust_cpu=1 apparmor=1 security=apparmor";

const SHARED: &str = "shared";
const CONSOLE: &str = "console.log";
const INITRD: &str = "initrd";

/// The folder of one boot.
#[derive(Debug)]
struct Desk {
    folder: tempfile::TempDir,
    // Dropped after the folder; QEMU ends before both.
    _watcher: Watcher,
}

impl Desk {
    fn lay_out(guest: &Guest, plan: &Plan) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("jailfleet-vm-").tempdir();
        let folder = folder.context("make a folder for the guest")?;
        let desk = Self {
            _watcher: Watcher::over(folder.path())?,
            folder,
        };
        std::fs::create_dir(desk.path(SHARED)).context("make a folder to share")?;
        let text = serde_json::to_string(plan).context("write the plan down")?;
        std::fs::write(desk.path(SHARED).join(PLAN), text).context("write the plan down")?;
        let archive = boot_image::archive(&guest.first_process, &guest.kernel)?;
        std::fs::write(desk.path(INITRD), archive).context("write the guest's first root")?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(SHARED).join(name);
        match std::fs::read(&path) {
            // An errand that could not be started wrote nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.with_context(|| format!("read {}", path.display())),
        }
    }

    /// For people, when something went wrong: what kernel and QEMU said, the last of it.
    fn show_console(&self) {
        for name in [CONSOLE, "qemu.log"] {
            let text = std::fs::read(self.path(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("--- the last lines of the guest's {name}");
            for line in lines.iter().skip(last) {
                eprintln!("{line}");
            }
        }
    }
}
