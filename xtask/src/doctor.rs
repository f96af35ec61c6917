//! What this machine lacks for developing jailfleet.

use crate::needs::Need;
use crate::table::Table;
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Result, bail};

/// Prints a table; an error when something that the tests need is missing.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut table = Table::new(&["what", "here", "why"]);
    let mut missing = 0;
    for need in Need::ALL {
        let met = need.is_met();
        missing += usize::from(!met);
        let word = if met { "yes" } else { "MISSING" };
        table.row([
            need.packages().join(", "),
            word.to_owned(),
            need.reason().to_owned(),
        ]);
    }
    // What only some tasks want.
    let tools = [tools::NEXTEST, tools::DENY].map(|tool| {
        let met = tool.find(workspace).is_some();
        (tool.name.to_owned(), met, tool.why, tool.remedy())
    });
    let needs = [Need::Cxx, Need::Debootstrap].map(|need| {
        let packages = need.packages();
        let remedy = format!("apt-get install {}", packages.join(" "));
        (packages.join(", "), need.is_met(), need.reason(), remedy)
    });
    for (name, met, reason, remedy) in tools.into_iter().chain(needs) {
        let (word, why) = match met {
            true => ("yes", reason.to_owned()),
            false => ("no", format!("{reason}; {remedy}")),
        };
        table.row([name, word.to_owned(), why]);
    }
    let root = rustix::process::geteuid().is_root();
    table.row([
        "root".to_owned(),
        if root { "yes" } else { "no" }.to_owned(),
        "slots of their own uid and cgroup; without it the tests of those are skipped aloud"
            .to_owned(),
    ]);
    print!("{}", table.render());
    println!("\nWhich walls this host offers: cargo run --release --bin jailfleet-worker doctor");
    if missing > 0 {
        bail!("find all that the tests need: `cargo xtask test` installs it as root");
    }
    Ok(())
}
