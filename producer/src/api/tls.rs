//! Our certificate, read from files, and again when they change.

use std::sync::Arc;

use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::{Error, ServerConfig};
use jailfleet::settings::TlsFiles;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no TLS. What is in the files is not shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("read {key} {path}: {source}")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        source: pem::Error,
    },
    /// It holds no certificate.
    #[error("read api.tls_cert_file {0}: it holds no certificate")]
    Empty(String),
    /// They do not fit.
    #[error("use api.tls_cert_file with api.tls_key_file: {0}")]
    Unfit(Error),
}

/// What is needed for handshakes. Blocks.
///
/// # Errors
/// When a file cannot be read, or they do not fit.
pub(super) fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let about = |key, path: &str| {
        let path = path.to_owned();
        move |source| TlsError::File { key, path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert_file).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(about("api.tls_cert_file", &files.cert_file))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(files.cert_file.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(about("api.tls_key_file", &files.key_file))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unfit)?;
    Ok(Arc::new(config))
}
