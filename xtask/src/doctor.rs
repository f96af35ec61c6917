//! What this machine lacks for developing jailfleet.

use crate::needs::Need;
use crate::programs::is_there;
use crate::table::Table;
use crate::tools;
use anyhow::{Result, bail};

/// Prints a table; an error when something that the tests need is missing.
pub(crate) fn run() -> Result<()> {
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
    let libfuzzer = "builds libFuzzer, which throws damaged messages at the decoders";
    let tools = [tools::NEXTEST, tools::DENY].map(|tool| (tool.name, tool.why, tool.remedy()));
    let compiler = ("c++", libfuzzer, "apt-get install g++".to_owned());
    let second = Need::Debootstrap.reason();
    let second = (
        "debootstrap",
        second,
        "apt-get install debootstrap".to_owned(),
    );
    for (name, reason, remedy) in tools.into_iter().chain([compiler, second]) {
        let (word, why) = match is_there(name) {
            true => ("yes", reason.to_owned()),
            false => ("no", format!("{reason}; {remedy}")),
        };
        table.row([name.to_owned(), word.to_owned(), why]);
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
