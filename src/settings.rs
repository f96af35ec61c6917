//! Configuration: text in, settings or all mistakes out. Reading files and variables is the
//! binaries' work.
//!
//! Order of the layers, the later one wins: the embedded default, the operator's file, the
//! environment, flags.

mod sections;
mod secret;
mod mistake;
mod key;
mod schema;
mod words;
mod layers;
mod reader;
mod worker;
mod cautions;
mod runtimes;
mod tenants;
mod serve;
mod api;
mod producer;
mod print;
mod reference;

pub use api::{ApiDoor, ApiSection, TlsFiles};
pub use key::join as dotted_key;
pub use mistake::{Mistake, Mistakes};
pub use print::quoted as toml_text;
pub use reference::{producer_key_names, reference, worker_key_names};
pub use schema::is_label;
pub use secret::Secret;
pub use sections::{
    AdminSection, AmqpSection, CapsSection, CredentialFile, LaneShares, LogFormat, LogSection,
    ProducerSection, ProducerSettings, ReplyMode, Slots, WardenSection, WorkerSection,
    WorkerSettings,
};
pub use serve::{ServeSection, Shape as ServeShape, is_private};
pub use tenants::Tenant;

use std::ffi::OsString;

/// The worker's defaults, and the only place where they stand.
pub const WORKER_DEFAULTS: &str = include_str!("../config/worker.toml");
/// The producer's defaults, and the only place where they stand.
pub const PRODUCER_DEFAULTS: &str = include_str!("../config/producer.toml");

/// The text of a configuration file, with the name that mistakes cite.
#[derive(Debug, Clone, Copy)]
pub struct SourceText<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// Settings of a worker and its warden.
///
/// `env` holds variables as [`env_pairs`] gives them; `flags` are dotted keys and values.
///
/// # Errors
/// Every mistake of every layer.
pub fn worker_settings(
    file: Option<SourceText<'_>>,
    env: &[(String, String)],
    flags: &[(String, String)],
) -> Result<WorkerSettings, Mistakes> {
    let pile = layers::pile(&schema::WORKER, WORKER_DEFAULTS, file, env, flags);
    let mut read = reader::Reader::new(&schema::WORKER, pile);
    let settings = worker::worker_settings(&mut read);
    read.finish(settings)
}

/// Settings of a producer.
///
/// # Errors
/// Every mistake of every layer.
pub fn producer_settings(
    file: Option<SourceText<'_>>,
    env: &[(String, String)],
    flags: &[(String, String)],
) -> Result<ProducerSettings, Mistakes> {
    let pile = layers::pile(&schema::PRODUCER, PRODUCER_DEFAULTS, file, env, flags);
    let mut read = reader::Reader::new(&schema::PRODUCER, pile);
    let settings = producer::producer_settings(&mut read);
    read.finish(settings)
}

/// The variables that concern the configuration: names that start with `JAILFLEET__`, in any case.
/// A binary hands in `std::env::vars_os()`. What is not UTF-8 is carried lossily and refused later
/// with the variable's name.
pub fn env_pairs(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = vars
        .into_iter()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| {
            name.get(..ENV_PREFIX.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(ENV_PREFIX))
        })
        .collect();
    pairs.sort();
    pairs
}

/// What a variable's name starts with.
pub const ENV_PREFIX: &str = "JAILFLEET__";
