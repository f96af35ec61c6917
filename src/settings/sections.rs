//! The sections of the two configurations as typed values. Every number in them comes from a TOML
//! text; there are no defaults in code.

use super::api::ApiSection;
use super::mistake::Mistake;
use super::schema::Shape;
use super::secret::Secret;
use super::serve::ServeSection;
use super::tenants::Tenant;
use crate::job::{Lane, Name, ProfileName};
use crate::limits::LimitsRequest;
use crate::retry::RetryPolicy;
use crate::runtime::{Bind, Runtime};
use crate::units::Millis;
use crate::wall::WallSet;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Everything that a worker and its warden need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// `[worker]`.
    pub worker: WorkerSection,
    /// `[amqp]`.
    pub amqp: AmqpSection,
    /// `[tenants.*]`, sorted by name; none: the vhost of `amqp.uri` is the only one.
    pub tenants: Vec<Tenant>,
    /// `[admin]`.
    pub admin: AdminSection,
    /// `[warden]`.
    pub warden: WardenSection,
    /// `[caps]`.
    pub caps: CapsSection,
    /// `[retry]`.
    pub retry: RetryPolicy,
    /// `[log]`.
    pub log: LogSection,
    /// `[runtimes.*]`, sorted by name: the index is the number on the warden's protocol.
    pub runtimes: Vec<Runtime>,
    /// `[profiles.*]`: named sets of limits that jobs may ask for.
    pub profiles: BTreeMap<ProfileName, LimitsRequest>,
}

impl WorkerSettings {
    /// The runtime that `name` names, and its number on the warden's protocol.
    #[must_use]
    pub fn runtime(&self, name: &Name) -> Option<(usize, &Runtime)> {
        self.runtimes
            .iter()
            .enumerate()
            .find(|(_, runtime)| runtime.name == *name)
    }
}

/// How a worker shares itself out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSection {
    /// How many jobs run at one time.
    pub slots: Slots,
    /// The user that the worker becomes after starting the warden.
    pub user: String,
    /// The AppArmor profile that the worker enters.
    pub apparmor: Option<String>,
    /// The host's name in results and logs; `None`: the machine's own.
    pub host: Option<String>,
    /// The walls that must hold before the first job is taken.
    pub walls: WallSet,
    /// The pool served.
    pub pool: Name,
    /// How the slots are shared between the lanes.
    pub lanes: LaneShares,
    /// How long running jobs may take to end after SIGTERM.
    pub drain_ms: Millis,
    /// How long a result may go unconfirmed over a connection that is up.
    pub publish_timeout_ms: Millis,
    /// Seconds between two escape attempts in one slot.
    pub canary_interval_s: u32,
    /// Start even where slots times ceilings exceed the host's memory.
    pub overcommit_memory: bool,
}

/// How many jobs run at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// One for each core, and one more: the lanes share the slots out, and the one that is kept for
    /// the interactive lane would otherwise leave a core idle while nobody waits.
    Auto,
    /// This many, at least one.
    Count(usize),
}

impl Slots {
    /// The number of slots on a host with `cores`; at least one.
    #[must_use]
    pub fn count(self, cores: usize) -> usize {
        match self {
            Self::Auto => cores.max(1).saturating_add(1),
            Self::Count(count) => count.max(1),
        }
    }
}

/// Weights, or after [`LaneShares::split`] numbers of slots, of the two lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneShares {
    /// Somebody waits for the answer.
    pub interactive: usize,
    /// Nobody waits.
    pub bulk: usize,
}

impl LaneShares {
    /// Shares `slots` out by weight. A lane with a weight gets at least one, also where there is
    /// only one slot in all: both lanes then wait for the same slot.
    #[must_use]
    pub fn split(self, slots: usize) -> Self {
        let weights = self.interactive.saturating_add(self.bulk).max(1);
        match (self.interactive, self.bulk) {
            (_, 0) => Self {
                interactive: slots,
                bulk: 0,
            },
            (0, _) => Self {
                interactive: 0,
                bulk: slots,
            },
            (weight, _) => {
                let most = slots.saturating_sub(1).max(1);
                let interactive = (slots.saturating_mul(weight) / weights).clamp(1, most);
                Self {
                    interactive,
                    bulk: slots.saturating_sub(interactive).max(1),
                }
            }
        }
    }
}

/// How to reach the broker, in both binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpSection {
    /// `amqp://user:password@host:port/vhost`.
    pub uri: Secret,
    /// A file that holds the URI and takes precedence over `uri`.
    pub uri_file: Option<String>,
    /// A file that holds the password and takes precedence over that of the URI.
    pub password_file: Option<String>,
    /// The vhost, where it is not that of the URI: a tenant's. No key of its own.
    pub vhost: Option<String>,
    /// The only certificate authorities that `amqps://` trusts; those of the host without it.
    pub ca_file: Option<String>,
    /// Our own certificate, with those between it and its authority.
    pub client_cert_file: Option<String>,
    /// The key of that certificate.
    pub client_key_file: Option<String>,
    /// First part of the name of every exchange and queue.
    pub prefix: String,
    /// Heartbeat interval.
    pub heartbeat_s: u16,
    /// Deadline of connecting, handshake included.
    pub connect_timeout_ms: Millis,
    /// Deadline of the broker's confirm of a message.
    pub confirm_timeout_ms: Millis,
    /// Where results are published.
    pub reply_mode: ReplyMode,
    /// Jobs that a lane holds beyond its slots.
    pub prefetch_extra: u16,
    /// First pause before a reconnect.
    pub backoff_min_ms: Millis,
    /// Longest pause before a reconnect.
    pub backoff_max_ms: Millis,
    /// From one comparison of the broker with the topology to the next.
    pub topology_check_ms: Millis,
    /// Threads of the runtime that serves AMQP and nothing else.
    pub threads: usize,
}

/// A file that holds credentials and is read again at each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialFile {
    /// `amqp.uri_file`: the whole URI.
    Uri,
    /// `amqp.password_file`: the password alone.
    Password,
}

impl CredentialFile {
    /// The setting that names it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Uri => "amqp.uri_file",
            Self::Password => "amqp.password_file",
        }
    }
}

impl AmqpSection {
    /// The files that hold credentials, in the order in which they are to be taken. Reading them is
    /// the caller's work.
    #[must_use]
    pub fn credential_files(&self) -> Vec<(CredentialFile, String)> {
        let uri = self.uri_file.iter().map(|path| (CredentialFile::Uri, path));
        let password = self.password_file.iter();
        let password = password.map(|path| (CredentialFile::Password, path));
        uri.chain(password)
            .map(|(file, path)| (file, path.clone()))
            .collect()
    }

    /// Takes the credentials from the content of such a file.
    ///
    /// # Errors
    /// A mistake, when it holds something else; what it holds is not shown.
    pub fn take_credentials(&mut self, file: CredentialFile, content: &str) -> Result<(), Mistake> {
        let (taken, expected, path) = match file {
            CredentialFile::Uri => {
                let uri = content.trim();
                (
                    Shape::Uri.fits(uri).then(|| Secret::new(uri)),
                    "expected a file that holds amqp://user:password@host:port/vhost",
                    &self.uri_file,
                )
            }
            CredentialFile::Password => (
                self.uri
                    .with_password(content.trim_end_matches(['\n', '\r'])),
                "expected a file that holds a password, and a user's name in the URI",
                &self.password_file,
            ),
        };
        if let Some(uri) = taken {
            self.uri = uri;
            return Ok(());
        }
        Err(Mistake {
            key: file.key().to_owned(),
            value: path.clone(),
            expected: expected.to_owned(),
            source: "the file that it names".to_owned(),
        })
    }
}

/// Where a worker publishes results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// The default exchange, for plain AMQP clients.
    Default,
    /// `<prefix>.results`, to which the client bound its queue: least privilege.
    Exchange,
}

/// The admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminSection {
    /// Where `/metrics`, `/healthz` and `/readyz` answer; port 0: any.
    pub listen: SocketAddr,
}

/// What the privileged process needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WardenSection {
    /// The program; `None`: `jailfleet-warden` beside the worker's own executable.
    pub path: Option<String>,
    /// The AppArmor profile that the warden enters.
    pub apparmor: Option<String>,
    /// First of the uids that slots lease.
    pub uid_base: u32,
    /// How many uids may be leased on this host.
    pub uid_count: u32,
    /// Where lease locks are kept.
    pub state_dir: String,
    /// Name of our group below the one that we were started in.
    pub cgroup_name: String,
    /// Deadline of proving a slot clean.
    pub sweep_timeout_ms: Millis,
    /// What every jail sees of the host, read-only.
    pub system_binds: Vec<Bind>,
}

/// Sizes beyond which a message is refused unread, or a result cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapsSection {
    /// Encoded bytes of one job.
    pub message_bytes: usize,
    /// Encoded bytes of one result.
    pub result_bytes: usize,
    /// Nesting of a job's JSON.
    pub depth: usize,
    /// Files of one job.
    pub files: usize,
    /// Arguments of one job.
    pub argv: usize,
    /// Variables of one job.
    pub env: usize,
    /// Entries of `python_path`.
    pub python_path: usize,
    /// Entries of `artifacts`.
    pub artifacts: usize,
    /// Files and folders looked at in the folders among them.
    pub artifact_entries: usize,
    /// Bytes of one artifact.
    pub artifact_bytes: usize,
    /// Bytes of all artifacts of one job.
    pub artifacts_bytes: usize,
    /// Bytes of `globals`, a job's and a result's.
    pub globals_bytes: usize,
    /// Bytes of arguments and variables together.
    pub argument_bytes: usize,
}

impl CapsSection {
    /// What the artifacts of one job may be.
    #[must_use]
    pub const fn artifacts(&self) -> crate::artifact::ArtifactCaps {
        crate::artifact::ArtifactCaps {
            entries: self.artifact_entries,
            file_bytes: self.artifact_bytes,
            all_bytes: self.artifacts_bytes,
        }
    }
}

#[cfg(feature = "wire")]
impl CapsSection {
    /// The caps as the decoder of jobs takes them.
    #[must_use]
    pub const fn wire(&self) -> crate::wire::WireCaps {
        crate::wire::WireCaps {
            body_bytes: self.message_bytes,
            depth: self.depth,
            files: self.files,
            argv: self.argv,
            env: self.env,
            python_path: self.python_path,
            artifacts: self.artifacts,
            globals_bytes: self.globals_bytes,
            argument_bytes: self.argument_bytes,
        }
    }
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// The least severe level that is logged, or a filter such as `info,jailfleet_queue=debug`.
    pub level: String,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that a producer needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// `[amqp]`, the same as the worker's.
    pub amqp: AmqpSection,
    /// `[producer]`.
    pub producer: ProducerSection,
    /// `[serve]`.
    pub serve: ServeSection,
    /// `[api]`.
    pub api: ApiSection,
    /// `[log]`.
    pub log: LogSection,
}

/// How a producer publishes and collects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSection {
    /// The pool of jobs that name none.
    pub pool: Name,
    /// The lane of jobs that name none.
    pub lane: Lane,
    /// Messages published and not yet confirmed, at most.
    pub window: usize,
    /// Results held and not yet written, at most.
    pub prefetch: u16,
    /// How long to wait without any result before giving up.
    pub idle_timeout_ms: Millis,
    /// Encoded bytes of one job: a larger one is refused before it is published.
    pub message_bytes: usize,
    /// Encoded bytes of one result: a larger one is not parsed.
    pub result_bytes: usize,
}
