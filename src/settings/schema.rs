//! The keys of both configurations: one table for the reader, its messages and the reference.
//!
//! Defaults are not here but in the TOML texts; what is here is what a value may be, and why.

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Whole(Range),
    /// A whole number, or this word.
    WholeOr(&'static str, Range),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A text.
    Text(Shape),
    /// A text that may be absent, which is written `""`.
    Optional(Shape),
    /// A list of texts.
    Texts,
    /// A table of variables.
    Variables,
    /// A list of tables `{ source, target, optional }`.
    Binds,
}

/// The numbers that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) unit: &'static str,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// What a text must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A path that starts with `/` and has no `..`.
    Path,
    /// Such a path, or `main_file`.
    Program,
    /// A relative path that cannot leave its folder.
    FileName,
    /// A name as jobs use it.
    Name,
    /// 1 to 64 of `[A-Za-z0-9._-]`.
    Label,
    /// 1 to 200 of `[A-Za-z0-9._-]`, not `amq.`: the start of a queue's name.
    QueuePrefix,
    /// An IP address and a port.
    Address,
    /// `amqp://` or `amqps://`.
    Uri,
    /// Something printable.
    Line,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// To anybody.
    Open,
    /// Redacted.
    Secret,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeySpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) secrecy: Secrecy,
    pub(super) meaning: &'static str,
}

/// A table of keys; `*` in the path stands for a name that the operator chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) path: &'static [&'static str],
    pub(super) keys: &'static [KeySpec],
}

/// All that one binary reads, and what it leaves to the other one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    pub(super) groups: &'static [Group],
    pub(super) foreign: &'static [&'static str],
}

const fn key(name: &'static str, kind: Kind, meaning: &'static str) -> KeySpec {
    KeySpec { name, kind, secrecy: Secrecy::Open, meaning }
}

const fn group(path: &'static [&'static str], keys: &'static [KeySpec]) -> Group {
    Group { path, keys }
}

const fn whole(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Whole(Range { unit, min, max })
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const MS: &str = "milliseconds";
const BYTES: &str = "bytes";

/// What `worker.slots` may say instead of a number.
pub(super) const AUTO: &str = "auto";
/// What a runtime's `program` may say instead of a path.
pub(super) const MAIN_FILE: &str = "main_file";

/// The worker's schema.
pub(super) const WORKER: Schema = Schema {
    groups: &[
        group(&["worker"], WORKER_KEYS),
        group(&["worker", "lanes"], LANE_KEYS),
        group(&["amqp"], AMQP_KEYS),
        group(&["admin"], ADMIN_KEYS),
        group(&["warden"], WARDEN_KEYS),
        group(&["caps"], CAPS_KEYS),
        group(&["retry"], RETRY_KEYS),
        group(&["log"], LOG_KEYS),
        group(&["runtime_defaults"], RUNTIME_KEYS),
        group(&["runtime_defaults", "limits"], LIMIT_KEYS),
        group(&["runtime_defaults", "ceiling"], LIMIT_KEYS),
        group(&["runtimes", "*"], RUNTIME_KEYS),
        group(&["runtimes", "*", "limits"], LIMIT_KEYS),
        group(&["runtimes", "*", "ceiling"], LIMIT_KEYS),
        group(&["profiles", "*"], LIMIT_KEYS),
    ],
    foreign: &["producer"],
};

/// The producer's schema.
pub(super) const PRODUCER: Schema = Schema {
    groups: &[
        group(&["amqp"], AMQP_KEYS),
        group(&["producer"], PRODUCER_KEYS),
        group(&["log"], LOG_KEYS),
    ],
    foreign: &[
        "worker", "admin", "warden", "caps", "retry", "runtime_defaults", "runtimes", "profiles",
    ],
};

const WORKER_KEYS: &[KeySpec] = &[
    key("slots", Kind::WholeOr(AUTO, Range { unit: "slots", min: 1, max: 1024 }),
        "Jobs at one time; `auto`: one for each core."),
    key("user", Kind::Text(Shape::Label), "The user that the worker becomes once the warden runs."),
    key("host", Kind::Optional(Shape::Label), "The host's name in results and logs; `\"\"`: the machine's own."),
    key("walls", Kind::Word(&["full", "container", "laptop"]), "The walls that must hold before the first job is taken."),
    key("pool", Kind::Text(Shape::Name), "The pool served."),
    key("drain_ms", whole(MS, 1, DAY_MS), "How long running jobs have to end after SIGTERM."),
    key("overcommit_memory", Kind::Switch, "Start although slots times memory ceilings exceed the host's memory."),
];

const LANE_KEYS: &[KeySpec] = &[
    key("interactive", whole("shares", 0, 1000), "Weight of the lane for which somebody waits; 0: not served."),
    key("bulk", whole("shares", 0, 1000), "Weight of the lane for which nobody waits; 0: not served."),
];

const AMQP_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "uri",
        kind: Kind::Text(Shape::Uri),
        secrecy: Secrecy::Secret,
        meaning: "The broker and the vhost: `amqp://user:password@host:port/vhost`, or `amqps://`.",
    },
    key("uri_file", Kind::Optional(Shape::Path), "A file that holds the URI; takes precedence over `amqp.uri`."),
    key("prefix", Kind::Text(Shape::Label), "First part of the name of every exchange and queue."),
    key("heartbeat_s", whole("seconds", 1, 600), "Heartbeat interval."),
    key("connect_timeout_ms", whole(MS, 100, 600_000), "Deadline of connecting, handshake included."),
    key("confirm_timeout_ms", whole(MS, 100, 600_000), "Deadline of the broker's confirm of a message."),
    key("reply_mode", Kind::Word(&["default", "exchange"]), "Where results are published: the default exchange, or `<prefix>.results`."),
    key("prefetch_extra", whole("jobs", 0, 1000), "Jobs that a lane holds beyond its slots."),
    key("backoff_min_ms", whole(MS, 1, 600_000), "First pause before a reconnect."),
    key("backoff_max_ms", whole(MS, 1, 600_000), "Longest pause before a reconnect."),
    key("threads", whole("threads", 1, 64), "Threads that serve AMQP and nothing else."),
];

const ADMIN_KEYS: &[KeySpec] = &[
    key("listen", Kind::Text(Shape::Address), "Where `/metrics`, `/healthz` and `/readyz` answer; port 0 takes any."),
];

const WARDEN_KEYS: &[KeySpec] = &[
    key("path", Kind::Optional(Shape::Path), "The privileged program; `\"\"`: beside the worker's own."),
    // The kernel keeps 2^32 - 1 for "no change", and Debian 65534 and 65535 for nobody and the like.
    key("uid_base", whole("uid", 1000, 4_294_000_000), "First uid (and gid) that slots lease."),
    key("uid_count", whole("uids", 1, 65_536), "How many uids may be leased on this host."),
    key("state_dir", Kind::Text(Shape::Path), "Where the locks of leased uids are kept."),
    key("cgroup_name", Kind::Text(Shape::Label), "Name of our group below the cgroup that we were started in."),
    key("sweep_timeout_ms", whole(MS, 100, 60_000), "Deadline of proving a slot clean."),
    key("system_binds", Kind::Binds, "What every jail sees of the host, read-only."),
];

const CAPS_KEYS: &[KeySpec] = &[
    key("message_bytes", whole(BYTES, KIB, 128 * MIB), "Encoded bytes of a job."),
    key("result_bytes", whole(BYTES, 64 * KIB, 128 * MIB), "Encoded bytes of a result."),
    key("depth", whole("levels", 4, 128), "Nesting of a job's JSON."),
    key("files", whole("files", 0, 100_000), "Files of a job."),
    key("argv", whole("arguments", 0, 100_000), "Arguments of a job."),
    key("env", whole("variables", 0, 10_000), "Variables of a job."),
    key("python_path", whole("entries", 0, 1000), "Entries of `python_path`."),
    key("argument_bytes", whole(BYTES, 0, MIB), "Bytes of arguments and variables together."),
];

const RETRY_KEYS: &[KeySpec] = &[
    key("faults", whole("tries", 0, 10), "Tries again after a fault of ours, before the requester is told."),
    key("suspect_deliveries", whole("deliveries", 1, 15), "Deliveries without an end after which a job runs apart."),
    // The suspects' queue has a delivery limit of two: what goes beyond it the broker drops.
    key("suspect_tries", whole("deliveries", 1, 2), "Deliveries that a suspect gets before it is given up."),
    key("delay_min_ms", whole(MS, 1, DAY_MS), "Shortest wait before a retry."),
    key("delay_max_ms", whole(MS, 1, DAY_MS), "Longest wait before a retry."),
];

const LOG_KEYS: &[KeySpec] = &[
    key("format", Kind::Word(&["text", "json"]), "Lines for people, or one JSON object a line."),
    key("level", Kind::Text(Shape::Line), "The least severe level, or a filter such as `info,jailfleet_queue=debug`."),
];

const PRODUCER_KEYS: &[KeySpec] = &[
    key("pool", Kind::Text(Shape::Name), "The pool of jobs that name none."),
    key("lane", Kind::Word(&["interactive", "bulk"]), "The lane of jobs that name none."),
    key("window", whole("messages", 1, 10_000), "Messages published and not yet confirmed, at most."),
    key("prefetch", whole("results", 1, 2000), "Results delivered and not yet written, at most."),
    key("reply_prefix", Kind::Optional(Shape::QueuePrefix), "First part of the reply queue's name; `\"\"`: `<amqp.prefix>.reply.`"),
    key("idle_timeout_ms", whole(MS, 1000, 7 * DAY_MS), "Give up after this long without any result."),
    key("message_bytes", whole(BYTES, KIB, 128 * MIB), "Encoded bytes of a job."),
    key("result_bytes", whole(BYTES, 64 * KIB, 128 * MIB), "Encoded bytes of a result."),
];

const RUNTIME_KEYS: &[KeySpec] = &[
    key("offered", Kind::Word(&["always", "if_present", "never"]), "Whether the runtime is offered where its program is missing, and whether at all."),
    key("program", Kind::Text(Shape::Program), "What is executed: an absolute path inside the jail, or `main_file` (the job's own)."),
    key("args", Kind::Texts, "Arguments between the program and the main file."),
    key("main_file", Kind::Text(Shape::FileName), "The file that a job's `code` becomes."),
    key("env", Kind::Variables, "Variables of every run."),
    key("binds", Kind::Binds, "Read-only binds on top of `warden.system_binds`."),
    key("cwd", Kind::Word(&["read_only", "writable"]), "Whether the program may write beside its files."),
    key("passwd", Kind::Switch, "Whether the program can read an `/etc/passwd` of one line."),
    key("globals", Kind::Switch, "Whether jobs may carry `globals` (python)."),
    key("unknown_profile", Kind::Word(&["reject", "default"]), "What becomes of a job that names an unknown profile."),
    key("apparmor", Kind::Optional(Shape::Label), "The AppArmor profile of the runtime's jails."),
    key("execute_scratch", Kind::Switch, "Whether files in the jail's own folders may be executed."),
];

/// The limits, by the names that jobs use.
pub(super) const LIMIT_KEYS: &[KeySpec] = &[
    key("cpu_ms", whole(MS, 1, DAY_MS), "CPU time of all processes together."),
    key("wall_ms", whole(MS, 1, DAY_MS), "Wall time."),
    key("memory_bytes", whole(BYTES, MIB, TIB), "Memory of all processes and scratch files together."),
    key("address_space_bytes", whole(BYTES, MIB, 16 * TIB), "Address space of each process; left out: bounded by the cgroup alone."),
    key("file_bytes", whole(BYTES, 0, TIB), "The largest file that may grow; 0: none."),
    key("disk_bytes", whole(BYTES, 4 * KIB, TIB), "All scratch files together."),
    key("disk_files", whole("files", 1, 10_000_000), "Files and folders in the scratch."),
    key("processes", whole("tasks", 1, 32_768), "Processes and threads at one time."),
    key("open_files", whole("descriptors", 4, 1_048_576), "Open descriptors of each process."),
    key("output_bytes", whole(BYTES, 1, 64 * MIB), "stdout and stderr together."),
    key("stack_bytes", whole(BYTES, 64 * KIB, 16 * GIB), "Stack of the main thread."),
];

impl Kind {
    /// What is right, for people: fits after "expected".
    pub(super) fn expected(self) -> String {
        match self {
            Self::Whole(range) => range.expected(),
            Self::WholeOr(word, range) => format!("\"{word}\" or {}", range.expected()),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".to_owned(),
            Self::Text(shape) => shape.expected().to_owned(),
            Self::Optional(shape) => format!("{}, or \"\"", shape.expected()),
            Self::Texts => "a list of texts without NUL".to_owned(),
            Self::Variables => "a table of texts, each named by A-Z a-z 0-9 _".to_owned(),
            Self::Binds => {
                "a list of { source = \"/path\", target = \"/path\", optional = false } with the \
                 last two optional"
                    .to_owned()
            }
        }
    }

    /// Whether one variable or flag can hold the value.
    pub(super) const fn is_scalar(self) -> bool {
        match self {
            Self::Whole(_)
            | Self::WholeOr(..)
            | Self::Word(_)
            | Self::Switch
            | Self::Text(_)
            | Self::Optional(_) => true,
            Self::Texts | Self::Variables | Self::Binds => false,
        }
    }
}

impl Range {
    fn expected(self) -> String {
        format!("a whole number of {} from {} to {}", self.unit, self.min, self.max)
    }
}

impl Shape {
    const fn expected(self) -> &'static str {
        match self {
            Self::Path => "an absolute path without ..",
            Self::Program => "an absolute path without .., or main_file",
            Self::FileName => "a relative path without ..",
            Self::Name => "1 to 64 characters of a-z 0-9 _ -, a letter first",
            Self::Label => "1 to 64 characters of A-Z a-z 0-9 . _ -",
            Self::QueuePrefix => "1 to 200 characters of A-Z a-z 0-9 . _ -, not amq. first",
            Self::Address => "an IP address and a port, such as 127.0.0.1:9464",
            Self::Uri => "amqp://user:password@host:port/vhost, or amqps://",
            Self::Line => "1 to 1000 printable characters",
        }
    }

    /// Whether `text` looks right.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Path => is_path(text),
            Self::Program => text == MAIN_FILE || is_path(text),
            Self::FileName => crate::job::RelativePath::parse(text).is_ok(),
            Self::Name => crate::job::Name::parse(text).is_ok(),
            Self::Label => is_label(text, 64),
            Self::QueuePrefix => is_label(text, 200) && !text.starts_with("amq."),
            Self::Address => text.parse::<std::net::SocketAddr>().is_ok(),
            Self::Uri => is_uri(text),
            Self::Line => {
                (1..=1000).contains(&text.len()) && !text.chars().any(char::is_control)
            }
        }
    }
}

fn is_path(text: &str) -> bool {
    let without_dots = || text.split('/').all(|part| part != ".." && part != ".");
    text.len() <= 4000
        && text.starts_with('/')
        && !text.chars().any(char::is_control)
        && without_dots()
}

fn is_label(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_uri(text: &str) -> bool {
    let rest = text.strip_prefix("amqp://").or_else(|| text.strip_prefix("amqps://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.len() <= 2000)
        && !text.chars().any(|char| char.is_whitespace() || char.is_control())
}

/// What stands at a place of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot {
    /// A table.
    Section,
    /// A value.
    Key(&'static KeySpec),
    /// A section that the other binary reads.
    Foreign,
    /// A name of the operator's that cannot be one.
    BadName,
    /// Nothing.
    Unknown,
}

impl Schema {
    /// What stands at `path`.
    pub(super) fn look(&self, path: &[String]) -> Spot {
        let Some((last, parent)) = path.split_last() else {
            return Spot::Section;
        };
        if path.first().is_some_and(|section| self.foreign.contains(&section.as_str())) {
            return Spot::Foreign;
        }
        let of_parent = self.groups.iter().filter(|group| group.names(parent));
        if let Some(spec) =
            of_parent.flat_map(|group| group.keys).find(|spec| spec.name == last.as_str())
        {
            return Spot::Key(spec);
        }
        let mut beneath = self.groups.iter().filter_map(|group| group.path.get(..path.len()));
        match beneath.find(|start| matches_path(start, path)) {
            None => Spot::Unknown,
            Some(start) => {
                let chosen = start.iter().zip(path).filter(|(word, _)| **word == "*");
                let named = chosen.into_iter().all(|(_, name)| Shape::Name.fits(name));
                if named { Spot::Section } else { Spot::BadName }
            }
        }
    }

    /// What is known at the dotted `key`.
    pub(super) fn spec(&self, key: &str) -> Option<&'static KeySpec> {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        match self.look(&path) {
            Spot::Key(spec) => Some(spec),
            Spot::Section | Spot::Foreign | Spot::BadName | Spot::Unknown => None,
        }
    }

    /// What to say of an unknown key: the nearest known one, if one is near.
    pub(super) fn unknown(&self, path: &[String]) -> String {
        let given = path.join(".");
        let nearest = self
            .known_like(path)
            .map(|known| (distance(&known, &given), known))
            .min_by(|left, right| left.cmp(right));
        match nearest {
            Some((far, known)) if far <= 3.max(given.len() / 4) => {
                format!("unknown key: did you mean {known}?")
            }
            _ => "unknown key: docs/configuration.md lists all".to_owned(),
        }
    }

    /// All keys and sections, with the operator's own names put in for `*`.
    fn known_like(&self, path: &[String]) -> impl Iterator<Item = String> {
        self.groups.iter().flat_map(move |group| {
            let words: Vec<&str> = group
                .path
                .iter()
                .enumerate()
                .map(|(at, word)| match path.get(at) {
                    Some(name) if *word == "*" => name.as_str(),
                    _ => word,
                })
                .collect();
            let section = words.join(".");
            let keys = group.keys.iter().map(|spec| format!("{section}.{}", spec.name));
            let keys: Vec<String> = keys.chain([section.clone()]).collect();
            keys
        })
    }
}

impl Group {
    fn names(&self, path: &[String]) -> bool {
        self.path.len() == path.len() && matches_path(self.path, path)
    }
}

fn matches_path(words: &[&str], path: &[String]) -> bool {
    words.iter().zip(path).all(|(word, name)| *word == "*" || *word == name.as_str())
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        let mut next = vec![before];
        for (cell, to) in row.iter().skip(1).zip(right.chars()) {
            let change = diagonal + usize::from(from != to);
            before = change.min(before + 1).min(*cell + 1);
            diagonal = *cell;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
