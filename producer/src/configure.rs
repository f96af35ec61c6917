//! Settings of the producer: from file, environment and flags.

use std::fs;
use std::io;

use jailfleet::settings::{self, Mistake, Mistakes, ProducerSettings, SourceText};

use crate::cli::Common;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// A file with credentials holds something else.
    #[error("read the credentials: {0}")]
    Credentials(Mistake),
    /// Values are wrong.
    #[error("read the configuration:\n{0}")]
    Wrong(Mistakes),
}

/// Reads the configuration: the embedded defaults, the file, the environment, the flags.
///
/// # Errors
/// When a file cannot be read, and for every mistake of every layer at once.
pub fn settings(common: &Common) -> Result<ProducerSettings, ConfigureError> {
    let file = match &common.config {
        Some(path) => Some((
            path.display().to_string(),
            read(&path.display().to_string())?,
        )),
        None => None,
    };
    let source = file.as_ref().map(|(name, text)| SourceText { name, text });
    let env = settings::env_pairs(std::env::vars_os());
    let mut settings =
        settings::producer_settings(source, &env, &common.set).map_err(ConfigureError::Wrong)?;
    for (file, path) in settings.amqp.credential_files() {
        let taken = settings.amqp.take_credentials(file, &read(&path)?);
        taken.map_err(ConfigureError::Credentials)?;
    }
    Ok(settings)
}

fn read(path: &str) -> Result<String, ConfigureError> {
    fs::read_to_string(path).map_err(|source| ConfigureError::Read {
        path: path.to_owned(),
        source,
    })
}
