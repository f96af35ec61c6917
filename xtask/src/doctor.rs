//! What this machine lacks for developing jailfleet.

use crate::needs::Need;
use crate::programs::is_there;
use crate::table::Table;
use anyhow::{Result, bail};

/// Tools that are used where they are there.
const TOOLS: [(&str, &str, &str); 3] = [
    (
        "cargo-nextest",
        "runs the tests",
        "cargo install cargo-nextest --locked",
    ),
    (
        "cargo-deny",
        "looks for known flaws and foreign licences",
        "cargo install cargo-deny --locked",
    ),
    (
        "c++",
        "builds libFuzzer, which throws damaged messages at the decoders",
        "apt-get install g++",
    ),
];

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
    for (tool, reason, remedy) in TOOLS {
        let met = is_there(tool);
        let why = if met {
            reason.to_owned()
        } else {
            format!("{reason}; {remedy}")
        };
        table.row([
            tool.to_owned(),
            if met { "yes" } else { "no" }.to_owned(),
            why,
        ]);
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
