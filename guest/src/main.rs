//! Pid 1 of the guest: loads the modules, enters the root, mounts the shares, does the errands,
//! powers off.
//!
//! It is a program of our own, and static, since a shell and a dozen small programs would take as
//! long as the kernel's whole boot on an emulated processor.

#![forbid(unsafe_code)]

mod modules;
mod mounts;
mod network;
mod groups;
mod children;
mod errand;

use anyhow::{Context, Result, bail};
use jailfleet_guest::{DESK, Event, PLAN, Plan};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The serial port that the host reads events from.
const EVENTS: &str = "/dev/ttyS1";

fn main() -> Result<()> {
    if std::process::id() != 1 {
        bail!("start: this is the first process of a virtual machine and of no use anywhere else");
    }
    if let Err(error) = be_init() {
        let words = format!("failed to {error:#}");
        // The console is kept by the host and shown when a guest gives no answer.
        eprintln!("guest: {words}");
        if let Err(error) = tell(&Event::Trouble { words }) {
            eprintln!("guest: failed to {error:#}");
        }
    }
    nix::unistd::sync();
    reboot(RebootMode::RB_POWER_OFF).context("power off")?;
    Ok(())
}

fn be_init() -> Result<()> {
    mounts::kernel_interfaces()?;
    modules::load_all()?;
    mounts::enter_root()?;
    mounts::folders()?;
    groups::prepare()?;
    network::loopback_up()?;
    nix::unistd::sethostname("guest").context("set the host's name")?;
    mounts::desk()?;
    let path = Path::new(DESK).join(PLAN);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("read the plan {}", path.display()))?;
    let plan: Plan = serde_json::from_str(&text).context("understand the plan")?;
    for share in &plan.shares {
        mounts::share(share)?;
    }
    let mut children = children::Children::watch()?;
    tell(&Event::Ready)?;
    for (number, errand) in plan.errands.iter().enumerate() {
        tell(&Event::Began { errand: number })?;
        let (end, left) = errand::perform(number, errand, &mut children)?;
        tell(&Event::Ended {
            errand: number,
            end,
            left,
        })?;
    }
    Ok(())
}

/// Tells the host, in one line. The port is opened anew each time: events are few, and what is not
/// open cannot be inherited by an errand.
fn tell(event: &Event) -> Result<()> {
    let line = serde_json::to_string(event).context("write an event down")?;
    let mut port = File::options()
        .write(true)
        .open(EVENTS)
        .with_context(|| format!("open {EVENTS}"))?;
    writeln!(port, "{line}").with_context(|| format!("write to {EVENTS}"))
}
