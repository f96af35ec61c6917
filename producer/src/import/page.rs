//! Writes the configuration, and beside each line what it was and why it is so now.

use jailfleet::job::{Name, ProfileName};
use jailfleet::settings::{WorkerSettings, dotted_key, toml_text};
use jailfleet::units::clipped;

use super::limits::{DEFAULTS, Effective, Ground, Row, complete, differences};
use super::read::{Amount, CodeJail, LimitSet};

/// The runtime that codejail's code goes to.
const RUNTIME: &str = "python";

/// The configuration's text.
pub(super) fn of(name: &str, jail: &CodeJail, defaults: &WorkerSettings) -> String {
    let runtime = Name::parse(RUNTIME).ok();
    let python = runtime.and_then(|name| defaults.runtime(&name));
    let (_, python) = python.expect("the embedded configuration has a runtime python");
    let base = DEFAULTS.with(&jail.limits);
    let contexts: Vec<Effective> = std::iter::once(base)
        .chain(jail.overrides.iter().map(|(_, set)| base.with(set)))
        .collect();
    let plain = Ground {
        limits: Row::of(&python.limits),
        ceiling: Row::of(&python.ceiling.0),
    };
    let ground = plain.raised_for(&contexts);

    let mut page = Page::default();
    head(&mut page, name, jail);
    interpreter(&mut page, jail);
    page.section(&dotted_key(&["runtimes", RUNTIME, "limits"]));
    limits(&mut page, jail, &ground.row(&base));
    let open = &python.ceiling.0;
    page.note("Of these codejail has no limit; they are at the ceiling.");
    page.whole("output_bytes", open.output_bytes.get());
    page.whole("open_files", open.open_files.get());
    page.whole("disk_files", open.disk_files.get());
    ceiling(&mut page, &plain.ceiling, &ground.ceiling);
    for (context, set) in &jail.overrides {
        profile(&mut page, (context, set), &base, &ground, defaults);
    }
    page.0
}

fn head(page: &mut Page, name: &str, jail: &CodeJail) {
    page.note(&format!(
        "What codejail's settings in {} are here; made by jailfleet-producer import-codejail.",
        clipped(name)
    ));
    page.note(
        "It lies over the embedded defaults: jailfleet-worker --config THIS_FILE. The guide is \
         docs/from-codejail.md.",
    );
    for stranger in &jail.strangers {
        page.note(&stranger.to_string());
    }
}

fn interpreter(page: &mut Page, jail: &CodeJail) {
    page.section(&dotted_key(&["runtimes", RUNTIME]));
    match &jail.python_bin {
        None => page.note("python_bin is not set: the program stays the host's own python3."),
        Some(path) => {
            page.note(
                "python_bin: the same interpreter; a worker without it refuses to start. It need be no \
                 copy of python any more.",
            );
            page.text("program", path);
            page.text("offered", "always");
            if let Some(folder) = to_bind(path) {
                page.note(
                    "Its environment, read-only in every jail. What it takes from elsewhere than /usr (the \
                     standard library of another python, say) needs a bind, too; and where the kernel \
                     enforces AppArmor, what is not under /opt needs a line in the profile \
                     (apparmor/README.md).",
                );
                page.line("binds", &format!("[{{ source = {} }}]", toml_text(folder)));
            }
        }
    }
    match &jail.user {
        None => page.note("user is not set; each slot has a uid of its own ([warden] uid_base)."),
        Some(user) => page.note(&format!(
            "user = \"{}\": dropped: each slot has a uid of its own, which the warden leases ([warden] \
             uid_base). The user, its sudoers file and its PAM settings are needed no more.",
            clipped(user)
        )),
    }
    page.note("A context without overrides has the default limits, as with codejail.");
    page.text("unknown_profile", "default");
}

/// What has to be bound for the interpreter: its environment, or itself; nothing where a jail sees it
/// already.
fn to_bind(program: &str) -> Option<&str> {
    let seen = ["/usr/", "/bin/", "/sbin/", "/lib/"];
    if seen.iter().any(|folder| program.starts_with(folder)) {
        return None;
    }
    let folder = program.rsplit_once('/').map(|(folder, _)| folder);
    let environment = folder.and_then(|folder| folder.strip_suffix("/bin"));
    Some(
        environment
            .filter(|path| !path.is_empty())
            .unwrap_or(program),
    )
}

fn limits(page: &mut Page, jail: &CodeJail, row: &Row) {
    let set = &jail.limits;
    page.note(&format!(
        "{}. Of all processes together; codejail's is each one's own.",
        was("CPU", set.cpu, "1 s", "ms")
    ));
    page.whole("cpu_ms", row.cpu_ms);
    page.note(&format!(
        "{}. From the program's start, by a clock that nobody can set; the wait in the queue does not count.",
        was("REALTIME", set.realtime, "1 s", "ms")
    ));
    page.whole("wall_ms", row.wall_ms);
    let vmem = was("VMEM", set.vmem, "off: this is the ceiling", "bytes");
    match row.address_space_bytes {
        None => page.note(&format!(
            "{vmem}. The memory of the whole run, its scratch files included."
        )),
        Some(bytes) => {
            page.note(&format!(
                "{vmem}. The address space of each process, so that Python raises MemoryError."
            ));
            page.whole("address_space_bytes", bytes);
            page.note(
                "The memory of the whole run: VMEM, the scratch files and 16 MiB for the kernel's books, so \
                 that one process meets its address space first. With codejail several could have VMEM each.",
            );
        }
    }
    page.whole("memory_bytes", row.memory_bytes);
    page.note(&format!(
        "{}. The same: the size of one file, and with 0 nothing can be written.",
        was("FSIZE", set.fsize, "0", "bytes")
    ));
    page.whole("file_bytes", row.file_bytes);
    page.note("Bounds all files together, those of the job included; codejail has no such limit.");
    page.whole("disk_bytes", row.disk_bytes);
    page.note(&format!(
        "{}. Processes and threads of this run; codejail counts those of all runs of its user on the \
         host, in all containers, so that a number that was raised for that can be lowered again.",
        was("NPROC", set.nproc, "15", "processes")
    ));
    page.whole("processes", row.processes);
    if let Some(proxy) = set.proxy {
        page.note(&format!(
            "PROXY = {proxy}: dropped: it makes the fork of a large process cheap; what forks here is small."
        ));
    }
}

/// What a limit was.
fn was(name: &str, amount: Option<Amount>, default: &str, unit: &str) -> String {
    match amount {
        None => format!("{name} is not set; codejail's default is {default}"),
        Some(Amount::Off) => format!("{name} is off: this is the ceiling"),
        Some(Amount::Of(amount)) => format!("{name}: {amount} {unit}"),
    }
}

/// What an override names.
fn overridden(set: &LimitSet) -> String {
    let amounts = [
        ("CPU", set.cpu, " ms"),
        ("REALTIME", set.realtime, " ms"),
        ("VMEM", set.vmem, " bytes"),
        ("FSIZE", set.fsize, " bytes"),
        ("NPROC", set.nproc, ""),
    ];
    let amounts = amounts
        .into_iter()
        .filter_map(|(name, amount, unit)| match amount? {
            Amount::Off => Some(format!("{name} is off: the ceiling")),
            Amount::Of(amount) => Some(format!("{name}: {amount}{unit}")),
        });
    let proxy = set
        .proxy
        .map(|proxy| format!("PROXY = {proxy}: dropped: codejail ignores it here, too"));
    let said: Vec<String> = amounts.chain(proxy).collect();
    if said.is_empty() {
        "It names no limit".to_owned()
    } else {
        said.join(", ")
    }
}

/// The lines of the ceiling that had to be raised.
fn ceiling(page: &mut Page, plain: &Row, raised: &Row) {
    let higher = differences(plain, raised);
    if higher.is_empty() {
        return;
    }
    page.section(&dotted_key(&["runtimes", RUNTIME, "ceiling"]));
    page.note(
        "Raised above the embedded ceiling, since limits or limit_overrides ask for so much. A worker \
         wants its slots times memory_bytes to fit into the host's memory.",
    );
    for (name, value) in higher {
        page.whole(name, value);
    }
}

fn profile(
    page: &mut Page,
    (context, set): (&str, &LimitSet),
    base: &Effective,
    ground: &Ground,
    defaults: &WorkerSettings,
) {
    let Ok(name) = ProfileName::parse(context) else {
        page.gap();
        page.note(&format!(
            "limit_overrides of \"{}\": dropped: no call can name this context (1 to 255 bytes, no control \
             characters).",
            clipped(context)
        ));
        return;
    };
    page.section(&dotted_key(&["profiles", name.as_str()]));
    page.note(&format!(
        "{}. What else there is comes from the runtime.",
        overridden(set)
    ));
    let (below, row) = (ground.row(base), ground.row(&base.with(set)));
    let named = if defaults.profiles.contains_key(&name) {
        page.note("Complete, since the embedded configuration has a profile of this name.");
        complete(&below, &row)
    } else {
        differences(&below, &row)
    };
    for (name, value) in named {
        page.whole(name, value);
    }
}

/// TOML being written, with its comments.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gap(&mut self) {
        self.0.push('\n');
    }

    fn section(&mut self, path: &str) {
        self.0.push_str(&format!("\n[{path}]\n"));
    }

    fn line(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("{name} = {value}\n"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.line(name, &toml_text(value));
    }

    fn whole(&mut self, name: &str, value: u64) {
        self.line(name, &value.to_string());
    }

    /// A comment, in lines of a readable length.
    fn note(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split(' ') {
            if line.len() > 1 && line.len() + word.len() >= 100 {
                self.0.push_str(&line);
                self.0.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.0.push_str(&line);
        self.0.push('\n');
    }
}
