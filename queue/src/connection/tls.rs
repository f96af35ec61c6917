//! TLS: whom we trust, who we are, and the handshake.

use async_rs::TokioRuntime;
use async_rs::traits::Reactor;
use jailfleet::settings::AmqpSection;
use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
use lapin::uri::AMQPUri;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;

/// Why there is nothing to shake hands with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("read {key} {path}: {reason}")]
    File {
        key: &'static str,
        path: String,
        reason: String,
    },
    /// The host's authorities cannot be read.
    #[error("read the host's certificate authorities: {0}")]
    Host(io::Error),
    /// The certificate and its key do not fit.
    #[error("use amqp.client_cert_file with amqp.client_key_file: {0}")]
    Own(io::Error),
}

/// What the settings say of TLS, read now: certificates are renewed, and sessions come again.
/// Blocks.
pub(super) fn connector(amqp: &AmqpSection) -> Result<RustlsConnector, TlsError> {
    let config = match &amqp.ca_file {
        // Nobody else: whoever names an authority of his own does not mean all others too.
        Some(path) => RustlsConnectorConfig::default()
            .with_parsable_certificates(certificates("amqp.ca_file", path)?),
        None => RustlsConnectorConfig::new_with_native_certs().map_err(TlsError::Host)?,
    };
    match (&amqp.client_cert_file, &amqp.client_key_file) {
        (Some(chain), Some(path)) => {
            let chain = certificates("amqp.client_cert_file", chain)?;
            let key = PrivateKeyDer::from_pem_file(path)
                .map_err(|error| about("amqp.client_key_file", path, error))?;
            config.connector_with_single_cert(chain, key)
        }
        (None, _) | (_, None) => config.connector_with_no_client_auth(),
    }
    .map_err(TlsError::Own)
}

fn certificates(key: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|error| about(key, path, error))?;
    if found.is_empty() {
        return Err(about(key, path, "it holds no certificate"));
    }
    Ok(found)
}

fn about(key: &'static str, path: &str, reason: impl ToString) -> TlsError {
    TlsError::File {
        key,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Connects and shakes hands; the certificate must be for the host that the URI names.
pub(super) async fn dial(
    connector: &RustlsConnector,
    uri: AMQPUri,
    runtime: &TokioRuntime,
) -> lapin::Result<AsyncTcpStream<<async_rs::Tokio as Reactor>::TcpStream>> {
    let host = uri.authority.host;
    let addresses = runtime.to_socket_addrs((host.clone(), uri.authority.port));
    let stream = AsyncTcpStream::connect(runtime, addresses).await?;
    Ok(stream.into_rustls(connector, &host).await?)
}
