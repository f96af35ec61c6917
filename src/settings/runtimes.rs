//! Reads runtimes, their limits and ceilings, and the profiles.

use super::key;
use super::reader::Reader;
use super::schema::{LIMIT_KEYS, MAIN_FILE};
use crate::job::{Name, ProfileName};
use crate::limits::{Ceiling, Limits, LimitsRequest};
use crate::runtime::{Bind, Cwd, Presence, Program, Runtime, UnknownProfile};
use crate::units::{ByteCount, Count, FileBytes};
use std::collections::BTreeMap;

const DEFAULTS: &str = "runtime_defaults";

/// The runtimes that are offered, sorted by name. All of them are read, so that a mistake in one
/// does not hide those in the next.
pub(super) fn runtimes(read: &mut Reader) -> Option<Vec<Runtime>> {
    let names = read.names("runtimes");
    let all: Vec<Option<Option<Runtime>>> = names
        .iter()
        .map(|name| Section::new(name).runtime(read))
        .collect();
    let offered: Vec<Runtime> = all
        .into_iter()
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    if offered.is_empty() {
        read.complain(
            "runtimes",
            "every runtime says offered = \"never\": offer at least one",
        );
        return None;
    }
    Some(offered)
}

/// The profiles by name.
pub(super) fn profiles(read: &mut Reader) -> Option<BTreeMap<ProfileName, LimitsRequest>> {
    let mut profiles = BTreeMap::new();
    let mut right = true;
    for name in read.names("profiles") {
        let section = key::join(&["profiles", &name]);
        let request = request(read, &section);
        // The sorter has let only names through.
        match (ProfileName::parse(&name), request) {
            (Ok(name), Some(request)) => {
                right &= fits_a_runtime(read, &section);
                profiles.insert(name, request);
            }
            _ => right = false,
        }
    }
    right.then_some(profiles)
}

/// A profile that no runtime's ceiling admits could only ever get jobs refused.
fn fits_a_runtime(read: &mut Reader, section: &str) -> bool {
    let mut right = true;
    for spec in LIMIT_KEYS {
        let key = format!("{section}.{}", spec.name);
        let Some(asked) = read.whole_if_set(&key).flatten() else {
            continue;
        };
        let runtimes = read.names("runtimes");
        let ceilings: Vec<Option<u64>> = runtimes
            .iter()
            .map(|name| {
                let ceiling = Section::new(name).key(read, &format!("ceiling.{}", spec.name));
                read.whole_if_set(&ceiling).flatten()
            })
            .collect();
        let fits = ceilings
            .iter()
            .any(|ceiling| ceiling.is_none_or(|ceiling| asked <= ceiling));
        if !fits {
            let highest = ceilings.into_iter().flatten().max().unwrap_or_default();
            let expected =
                format!("above the ceiling of every runtime: expected at most {highest}");
            read.complain(&key, expected);
            right = false;
        }
    }
    right
}

/// One `[runtimes.NAME]`, and beneath it `[runtime_defaults]`.
struct Section<'a> {
    name: &'a str,
}

impl<'a> Section<'a> {
    const fn new(name: &'a str) -> Self {
        Self { name }
    }

    /// The key that counts: the runtime's own where it is set, else that of the defaults.
    fn key(&self, read: &Reader, rest: &str) -> String {
        let own = format!("runtimes.{}.{rest}", self.name);
        let below = format!("{DEFAULTS}.{rest}");
        // Where neither is set, the mistake should name the runtime.
        if read.has(&own) || !read.has(&below) {
            own
        } else {
            below
        }
    }

    /// The runtime; `Some(None)` for one that is not offered.
    fn runtime(&self, read: &mut Reader) -> Option<Option<Runtime>> {
        let offered = read.word(&self.key(read, "offered"), |word| match word {
            "never" => Some(None),
            word => Presence::parse(word).map(Some),
        });
        let program = read
            .text(&self.key(read, "program"))
            .map(|text| match text.as_str() {
                MAIN_FILE => Program::MainFile,
                _ => Program::Path(text),
            });
        let args = read.texts(&self.key(read, "args"));
        let main_file = read.text(&self.key(read, "main_file"));
        let env = self.env(read);
        let binds = self.binds(read);
        let cwd = read.word(&self.key(read, "cwd"), Cwd::parse);
        let passwd = read.switch(&self.key(read, "passwd"));
        let globals = read.switch(&self.key(read, "globals"));
        let unknown = read.word(&self.key(read, "unknown_profile"), UnknownProfile::parse);
        let apparmor = read.optional(&self.key(read, "apparmor"));
        let execute_scratch = read.switch(&self.key(read, "execute_scratch"));
        let limits = self.limits(read, "limits");
        let ceiling = self.limits(read, "ceiling");
        self.check_limits(read);
        let limits = limits.zip(ceiling).map(|(limits, ceiling)| Limits {
            // The only limit that may be left out, which would be wider than a ceiling that is not.
            address_space_bytes: limits.address_space_bytes.or(ceiling.address_space_bytes),
            ..limits
        });
        if program == Some(Program::MainFile) && execute_scratch == Some(false) {
            let key = self.key(read, "execute_scratch");
            read.complain(
                &key,
                "expected true: the program is the job's own main_file",
            );
        }
        let runtime = Runtime {
            name: Name::parse(self.name).ok()?,
            program: program?,
            presence: offered?.unwrap_or(Presence::IfPresent),
            args: args?,
            main_file: main_file?,
            env: env?,
            binds: binds?,
            cwd: cwd?,
            passwd: passwd?,
            globals: globals?,
            unknown_profile: unknown?,
            apparmor: apparmor?,
            execute_scratch: execute_scratch?,
            limits: limits?,
            ceiling: Ceiling(ceiling?),
        };
        Some(offered?.map(|_| runtime))
    }

    /// The runtime's own variables over those of the defaults.
    fn env(&self, read: &mut Reader) -> Option<Vec<(String, String)>> {
        let mut merged = BTreeMap::new();
        let mut right = true;
        for key in [
            format!("{DEFAULTS}.env"),
            format!("runtimes.{}.env", self.name),
        ] {
            if read.has(&key) {
                let variables = read.variables(&key);
                right &= variables.is_some();
                merged.extend(variables.into_iter().flatten());
            }
        }
        right.then(|| merged.into_iter().collect())
    }

    fn binds(&self, read: &mut Reader) -> Option<Vec<Bind>> {
        read.binds(&self.key(read, "binds"))
    }

    /// A full set of limits.
    fn limits(&self, read: &mut Reader, set: &str) -> Option<Limits> {
        let keys = |name: &str| format!("{set}.{name}");
        let mut get = |name: &str| read_key(self, read, &keys(name));
        let cpu_ms = get("cpu_ms");
        let wall_ms = get("wall_ms");
        let memory_bytes = get("memory_bytes");
        let file_bytes = get("file_bytes");
        let disk_bytes = get("disk_bytes");
        let disk_files = get("disk_files");
        let processes = get("processes");
        let open_files = get("open_files");
        let output_bytes = get("output_bytes");
        let stack_bytes = get("stack_bytes");
        let address_space = self.key(read, &keys("address_space_bytes"));
        let address_space_bytes = read.whole_if_set(&address_space);
        // The schema's ranges begin above zero, so that none of these is refused for it.
        Some(Limits {
            cpu_ms: crate::units::Millis::new(cpu_ms?)?,
            wall_ms: crate::units::Millis::new(wall_ms?)?,
            memory_bytes: ByteCount::new(memory_bytes?)?,
            address_space_bytes: address_space_bytes?.and_then(ByteCount::new),
            file_bytes: FileBytes::new(file_bytes?),
            disk_bytes: ByteCount::new(disk_bytes?)?,
            disk_files: Count::new(disk_files?)?,
            processes: Count::new(processes?)?,
            open_files: Count::new(open_files?)?,
            output_bytes: ByteCount::new(output_bytes?)?,
            stack_bytes: ByteCount::new(stack_bytes?)?,
        })
    }

    /// No limit may lie above its ceiling.
    fn check_limits(&self, read: &mut Reader) {
        for spec in LIMIT_KEYS {
            let limit = self.key(read, &format!("limits.{}", spec.name));
            let ceiling = self.key(read, &format!("ceiling.{}", spec.name));
            let granted = read.whole_if_set(&limit).flatten();
            let highest = read.whole_if_set(&ceiling).flatten();
            if let (Some(granted), Some(highest)) = (granted, highest)
                && granted > highest
            {
                let expected = format!(
                    "runtime {}: above its ceiling, {ceiling} = {highest}",
                    self.name
                );
                read.complain(&limit, expected);
            }
        }
    }
}

fn read_key(section: &Section<'_>, read: &mut Reader, rest: &str) -> Option<u64> {
    let key = section.key(read, rest);
    read.whole(&key)
}

fn request(read: &mut Reader, section: &str) -> Option<LimitsRequest> {
    let mut get = |name: &str| read.whole_if_set(&format!("{section}.{name}"));
    let cpu_ms = get("cpu_ms");
    let wall_ms = get("wall_ms");
    let memory_bytes = get("memory_bytes");
    let address_space_bytes = get("address_space_bytes");
    let file_bytes = get("file_bytes");
    let disk_bytes = get("disk_bytes");
    let disk_files = get("disk_files");
    let processes = get("processes");
    let open_files = get("open_files");
    let output_bytes = get("output_bytes");
    let stack_bytes = get("stack_bytes");
    Some(LimitsRequest {
        cpu_ms: cpu_ms?,
        wall_ms: wall_ms?,
        memory_bytes: memory_bytes?,
        address_space_bytes: address_space_bytes?,
        file_bytes: file_bytes?,
        disk_bytes: disk_bytes?,
        disk_files: disk_files?,
        processes: processes?,
        open_files: open_files?,
        output_bytes: output_bytes?,
        stack_bytes: stack_bytes?,
    })
}
