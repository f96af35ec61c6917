//! The keys of both configurations: one table for the reader, its messages and the reference.
//!
//! Defaults are not here but in the TOML texts; what is here is what a value may be, and what for.

use super::{AUTO, Group, KeySpec, Kind, Range, Schema, Secrecy, Shape};

const fn key(name: &'static str, kind: Kind, meaning: &'static str) -> KeySpec {
    KeySpec {
        name,
        kind,
        secrecy: Secrecy::Open,
        meaning,
    }
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

/// The worker's schema.
pub(in crate::settings) const WORKER: Schema = Schema {
    groups: &[
        group(&["worker"], WORKER_KEYS),
        group(&["worker", "lanes"], LANE_KEYS),
        group(&["amqp"], AMQP_KEYS),
        group(&["tenant_defaults"], TENANT_DEFAULT_KEYS),
        group(&["tenants", "*"], TENANT_KEYS),
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
    foreign: &["producer", "serve", "api"],
};

/// The producer's schema.
pub(in crate::settings) const PRODUCER: Schema = Schema {
    groups: &[
        group(&["amqp"], AMQP_KEYS),
        group(&["producer"], PRODUCER_KEYS),
        group(&["serve"], SERVE_KEYS),
        group(&["api"], API_KEYS),
        group(&["log"], LOG_KEYS),
    ],
    foreign: &[
        "worker",
        "tenant_defaults",
        "tenants",
        "admin",
        "warden",
        "caps",
        "retry",
        "runtime_defaults",
        "runtimes",
        "profiles",
    ],
};

// Tables are read down the columns: a key begins a line, and rustfmt leaves them so.
#[rustfmt::skip]
const WORKER_KEYS: &[KeySpec] = &[
    key("slots", Kind::WholeOr(AUTO, Range { unit: "slots", min: 1, max: 1024 }),
        "Jobs at one time; `auto`: one for each core, and one more."),
    key("user", Kind::Text(Shape::Label), "The user that the worker becomes once the warden runs."),
    key("apparmor", Kind::Optional(Shape::Label),
        "The AppArmor profile that the worker enters; `\"\"`: none."),
    key("host", Kind::Optional(Shape::Label),
        "The host's name in results and logs; `\"\"`: the machine's own."),
    key("walls", Kind::Word(&["full", "container", "laptop"]),
        "The walls that must hold before the first job is taken."),
    key("pool", Kind::Text(Shape::Name), "The pool served."),
    key("drain_ms", whole(MS, 1, DAY_MS), "How long running jobs have to end after SIGTERM."),
    key("publish_timeout_ms", whole(MS, 100, DAY_MS),
        "How long a result may go unconfirmed over a connection that is up; its job then goes back."),
    key("canary_interval_s", whole("seconds", 1, 86_400),
        "Each slot's walls are proven by an escape attempt once in this time."),
    key("overcommit_memory", Kind::Switch,
        "Start although slots times memory ceilings exceed the host's memory."),
];

#[rustfmt::skip]
const LANE_KEYS: &[KeySpec] = &[
    key("interactive", whole("shares", 0, 1000),
        "Weight of the lane for which somebody waits; 0: not served."),
    key("bulk", whole("shares", 0, 1000),
        "Weight of the lane for which nobody waits; 0: not served."),
];

#[rustfmt::skip]
const AMQP_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "uri",
        kind: Kind::Text(Shape::Uri),
        secrecy: Secrecy::Secret,
        meaning: "The broker and the vhost: `amqp://user:password@host:port/vhost`, or `amqps://`.",
    },
    key("uri_file", Kind::Optional(Shape::Path),
        "A file that holds the URI; takes precedence over `amqp.uri`."),
    key("password_file", Kind::Optional(Shape::Path),
        "A file that holds the password of the URI's user; takes precedence over the URI's own."),
    key("ca_file", Kind::Optional(Shape::Path),
        "PEM: the only authorities that `amqps://` trusts; `\"\"`: those of the host."),
    key("client_cert_file", Kind::Optional(Shape::Path),
        "PEM: the certificate to show to the broker, and those between it and its authority."),
    key("client_key_file", Kind::Optional(Shape::Path), "PEM: the key of that certificate."),
    key("prefix", Kind::Text(Shape::Label), "First part of the name of every exchange and queue."),
    key("heartbeat_s", whole("seconds", 1, 600), "Heartbeat interval."),
    key("connect_timeout_ms", whole(MS, 100, 600_000),
        "Deadline of connecting, handshake included."),
    key("confirm_timeout_ms", whole(MS, 100, 600_000),
        "Deadline of the broker's confirm of a message; messages get a second more for each 256 KiB."),
    key("reply_mode", Kind::Word(&["default", "exchange"]),
        "Where results are published: the default exchange, or `<prefix>.results`."),
    key("prefetch_extra", whole("jobs", 0, 1000), "Jobs that a lane holds beyond its slots."),
    key("backoff_min_ms", whole(MS, 1, 600_000), "First pause before a reconnect."),
    key("backoff_max_ms", whole(MS, 1, 600_000), "Longest pause before a reconnect."),
    key("topology_check_ms", whole(MS, 100, 86_400_000),
        "How often a worker compares the broker's exchanges and queues with what they should be."),
    key("threads", whole("threads", 1, 64), "Threads that serve AMQP and nothing else."),
];

const WEIGHT: KeySpec = key(
    "weight",
    whole("shares", 1, 1000),
    "Weight by which the tenants share the slots while several have jobs.",
);

#[rustfmt::skip]
const TENANT_DEFAULT_KEYS: &[KeySpec] = &[WEIGHT];

#[rustfmt::skip]
const TENANT_KEYS: &[KeySpec] = &[
    key("vhost", Kind::Text(Shape::Line), "The tenant's vhost, as the broker spells it: `/`, not `%2f`."),
    WEIGHT,
    KeySpec {
        name: "uri",
        kind: Kind::Text(Shape::Uri),
        secrecy: Secrecy::Secret,
        meaning: "The tenant's own user, or broker; left out: `amqp.uri`. The vhost in it does not count.",
    },
    key("uri_file", Kind::Text(Shape::Path), "A file that holds that URI; takes precedence over it."),
    key("password_file", Kind::Text(Shape::Path),
        "A file that holds the password of the URI's user; left out with a URI of the tenant's own: none."),
];

#[rustfmt::skip]
const ADMIN_KEYS: &[KeySpec] = &[
    key("listen", Kind::Text(Shape::Address),
        "Where `/metrics`, `/healthz` and `/readyz` answer; port 0 takes any."),
];

#[rustfmt::skip]
const WARDEN_KEYS: &[KeySpec] = &[
    key("path", Kind::Optional(Shape::Path),
        "The privileged program; `\"\"`: beside the worker's own."),
    key("apparmor", Kind::Optional(Shape::Label),
        "The AppArmor profile that the warden enters; `\"\"`: none."),
    // The kernel keeps 2^32 - 1 for "no change", and Debian 65534 and 65535 for nobody and the like.
    key("uid_base", whole("uid", 1000, 4_294_000_000), "First uid (and gid) that slots lease."),
    key("uid_count", whole("uids", 1, 65_536), "How many uids may be leased on this host."),
    key("state_dir", Kind::Text(Shape::Path), "Where the locks of leased uids are kept."),
    key("cgroup_name", Kind::Text(Shape::Label),
        "Name of our group below the cgroup that we were started in."),
    key("sweep_timeout_ms", whole(MS, 100, 60_000), "Deadline of proving a slot clean."),
    key("system_binds", Kind::Binds, "What every jail sees of the host, read-only."),
];

#[rustfmt::skip]
const CAPS_KEYS: &[KeySpec] = &[
    key("message_bytes", whole(BYTES, KIB, 128 * MIB), "Encoded bytes of a job."),
    key("result_bytes", whole(BYTES, 64 * KIB, 128 * MIB), "Encoded bytes of a result."),
    key("depth", whole("levels", 4, 128), "Nesting of a job's JSON."),
    key("files", whole("files", 0, 100_000), "Files of a job."),
    key("argv", whole("arguments", 0, 100_000), "Arguments of a job."),
    key("env", whole("variables", 0, 10_000), "Variables of a job."),
    key("python_path", whole("entries", 0, 1000), "Entries of `python_path`."),
    key("artifacts", whole("paths", 0, 1000), "Entries of `artifacts`; 0: no job may have any."),
    key("artifact_entries", whole("entries", 1, 8192),
        "Files and folders looked at in the folders among `artifacts`."),
    key("artifact_bytes", whole(BYTES, 1, 64 * MIB), "Bytes of one artifact."),
    key("artifacts_bytes", whole(BYTES, 1, 64 * MIB), "Bytes of all artifacts of a job together."),
    key("globals_bytes", whole(BYTES, 2, 64 * MIB), "Bytes of `globals`, a job's and a result's."),
    key("argument_bytes", whole(BYTES, 0, MIB), "Bytes of arguments and variables together."),
];

#[rustfmt::skip]
const RETRY_KEYS: &[KeySpec] = &[
    key("faults", whole("tries", 0, 10),
        "Tries again after a fault of ours, before the requester is told."),
    key("suspect_deliveries", whole("deliveries", 1, 15),
        "Deliveries without an end after which a job runs apart."),
    // The suspects' queue has a delivery limit of two: what goes beyond it the broker drops.
    key("suspect_tries", whole("deliveries", 1, 2),
        "Deliveries that a suspect gets before it is given up."),
    key("delay_min_ms", whole(MS, 1, DAY_MS), "Shortest wait before a retry."),
    key("delay_max_ms", whole(MS, 1, DAY_MS), "Longest wait before a retry."),
];

#[rustfmt::skip]
const LOG_KEYS: &[KeySpec] = &[
    key("format", Kind::Word(&["text", "json"]), "Lines for people, or one JSON object a line."),
    key("level", Kind::Text(Shape::Line),
        "The least severe level, or a filter such as `info,jailfleet_queue=debug`."),
];

#[rustfmt::skip]
const PRODUCER_KEYS: &[KeySpec] = &[
    key("pool", Kind::Text(Shape::Name), "The pool of jobs that name none."),
    key("lane", Kind::Word(&["interactive", "bulk"]), "The lane of jobs that name none."),
    key("window", whole("messages", 1, 10_000),
        "Messages published and not yet confirmed, at most."),
    key("prefetch", whole("results", 1, 2000), "Results delivered and not yet written, at most."),
    key("idle_timeout_ms", whole(MS, 1000, 7 * DAY_MS),
        "Give up after this long without any result."),
    key("message_bytes", whole(BYTES, KIB, 128 * MIB), "Encoded bytes of a job."),
    key("result_bytes", whole(BYTES, 64 * KIB, 128 * MIB), "Encoded bytes of a result."),
];

#[rustfmt::skip]
const SERVE_KEYS: &[KeySpec] = &[
    key("listen", Kind::Text(Shape::Address),
        "Where codejail's interface answers: loopback or a private address, since it asks for no \
         authentication; port 0 takes any."),
    key("admin_listen", Kind::Text(Shape::Address),
        "Where `/metrics`, `/healthz` and `/readyz` of the gateway answer; port 0 takes any."),
    key("shape", Kind::Word(&["openedx", "edunext"]),
        "Whose answers are given: those of openedx/codejail-service, or of the older eduNEXT/codejailservice."),
    key("enabled", Kind::Switch, "Whether code is run at all; without it every request gets a 500."),
    key("hosts", Kind::Texts,
        "Names, without a port, that callers may put into `Host` beside `localhost` and private addresses."),
    key("runtime", Kind::Text(Shape::Name), "The runtime that runs the code; it must take globals."),
    key("profile", Kind::Optional(Shape::Line),
        "The limit profile of requests that name none which is allowed; `\"\"`: the runtime's own limits and `serve.wall_ms`."),
    key("profiles", Kind::Texts,
        "The profiles that a request may ask for by `limit_overrides_context`; all other names mean `serve.profile`."),
    key("wall_ms", whole(MS, 1, DAY_MS), "Wall time of a run without a profile."),
    key("read_timeout_ms", whole(MS, 200, DAY_MS),
        "How long a caller waits for the answer, from the end of its request."),
    key("margin_ms", whole(MS, 1, 60_000),
        "How long before that the gateway gives up, so that its word still arrives."),
    key("body_bytes", whole(BYTES, KIB, 128 * MIB), "The most that a request's body may be, encoded."),
    key("connections", whole("connections", 1, 10_000),
        "Connections served at one time; a further one waits in the listen queue."),
    key("head_timeout_ms", whole(MS, 10, 600_000), "How long a request's head may take."),
    key("body_timeout_ms", whole(MS, 10, 600_000), "How long a request's body may take."),
    key("check_interval_ms", whole(MS, 100, DAY_MS),
        "From one round of safety checks that all passed to the next."),
];

#[rustfmt::skip]
const API_KEYS: &[KeySpec] = &[
    key("listen", Kind::Optional(Shape::Address),
        "Where the gateway's own interface answers; without TLS a loopback or private address; port 0 takes any; `\"\"`: nowhere."),
    key("tenants_file", Kind::Optional(Shape::Path),
        "A file with the tenants, the hashes of their tokens and what each may do; read again when it changes."),
    key("tls_cert_file", Kind::Optional(Shape::Path),
        "PEM file of our certificate and those between it and its authority; `\"\"`: no TLS. Read again when it changes."),
    key("tls_key_file", Kind::Optional(Shape::Path), "PEM file of the certificate's key."),
    key("logbook", Kind::Text(Shape::Label),
        "The stream `<prefix>.reply.<logbook>`: gateways with the same one answer for each other's jobs."),
    key("body_bytes", whole(BYTES, KIB, 128 * MIB), "The most that a request's body may be."),
    key("jobs", whole("jobs", 1, 10_000), "The most jobs of one request."),
    key("connections", whole("connections", 2, 10_000),
        "Connections served at one time; a further one waits in the listen queue."),
    key("waits", whole("requests", 1, 9999),
        "Requests that wait for results at one time, event streams among them; a further one gets a 503."),
    key("head_timeout_ms", whole(MS, 10, 600_000), "How long a request's head, and a TLS handshake, may take."),
    key("body_timeout_ms", whole(MS, 10, 600_000), "How long a request's body may take."),
    key("wait_ms", whole(MS, 1, 600_000), "The longest that `wait_ms` of a question can be."),
    key("events_ms", whole(MS, 10, DAY_MS), "How long a stream of events lasts; its client connects again."),
    key("kept_jobs", whole("jobs", 1, 10_000_000),
        "Jobs that are known at one time, of all tenants; the oldest are forgotten first."),
    key("cache_bytes", whole(BYTES, MIB, 64 * GIB),
        "Results of late that are kept in memory; older ones are read from the logbook when asked for."),
];

#[rustfmt::skip]
const RUNTIME_KEYS: &[KeySpec] = &[
    key("offered", Kind::Word(&["always", "if_present", "never"]),
        "Whether the runtime is offered where its program is missing, and whether at all."),
    key("program", Kind::Text(Shape::Program),
        "What is executed: an absolute path inside the jail, or `main_file` (the job's own)."),
    key("args", Kind::Texts, "Arguments between the program and the main file."),
    key("main_file", Kind::Text(Shape::FileName), "The file that a job's `code` becomes."),
    key("env", Kind::Variables, "Variables of every run."),
    key("binds", Kind::Binds, "Read-only binds on top of `warden.system_binds`."),
    key("cwd", Kind::Word(&["read_only", "writable"]),
        "Whether the program may write beside its files."),
    key("passwd", Kind::Switch, "Whether the program can read an `/etc/passwd` of one line."),
    key("globals", Kind::Switch, "Whether jobs may carry `globals` (python)."),
    key("unknown_profile", Kind::Word(&["reject", "default"]),
        "What becomes of a job that names an unknown profile."),
    key("apparmor", Kind::Optional(Shape::Label), "The AppArmor profile of the runtime's jails."),
    key("execute_scratch", Kind::Switch,
        "Whether files in the jail's own folders may be executed."),
];

/// The limits, by the names that jobs use.
#[rustfmt::skip]
pub(in crate::settings) const LIMIT_KEYS: &[KeySpec] = &[
    key("cpu_ms", whole(MS, 1, DAY_MS), "CPU time of all processes together."),
    key("wall_ms", whole(MS, 1, DAY_MS), "Wall time."),
    key("memory_bytes", whole(BYTES, MIB, TIB),
        "Memory of all processes and scratch files together."),
    key("address_space_bytes", whole(BYTES, MIB, 16 * TIB),
        "Address space of each process; left out: bounded by the cgroup alone."),
    key("file_bytes", whole(BYTES, 0, TIB), "The largest file that may grow; 0: none."),
    key("disk_bytes", whole(BYTES, 4 * KIB, TIB), "All scratch files together."),
    key("disk_files", whole("files", 1, 10_000_000), "Files and folders in the scratch."),
    key("processes", whole("tasks", 1, 32_768), "Processes and threads at one time."),
    key("open_files", whole("descriptors", 4, 1_048_576), "Open descriptors of each process."),
    key("output_bytes", whole(BYTES, 1, 64 * MIB), "stdout and stderr together."),
    key("stack_bytes", whole(BYTES, 64 * KIB, 16 * GIB), "Stack of the main thread."),
];
