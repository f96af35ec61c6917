//! A node that speaks TLS too, and asks its clients for a certificate.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

use super::Broker;
use crate::authority::{Authority, Issued};
use crate::release::Release;

const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

impl Broker {
    /// A node of our own that shows `server` and lets in whom `authority` knows.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn own_with_tls(authority: &Authority, server: &Issued) -> Result<Self> {
        Self::own_with(Release::asked()?, |place| {
            let port = place.free_port()?;
            show_at(&place.folder, server)?;
            let ca = authority.certificate();
            let folder = place.folder.display();
            let configuration = format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\n\
                 ssl_options.cacertfile = {}\n\
                 ssl_options.certfile = {folder}/{CERTIFICATE}\n\
                 ssl_options.keyfile = {folder}/{KEY}\n\
                 ssl_options.verify = verify_peer\n\
                 ssl_options.fail_if_no_peer_cert = true\n",
                ca.display(),
            );
            fs::write(place.configuration(), configuration).context("configure the node")?;
            Ok(Some(port))
        })
    }

    /// From now on the node shows another certificate.
    ///
    /// # Errors
    /// When its files cannot be written, or the node is gone.
    pub fn show(&self, server: &Issued) -> Result<()> {
        show_at(&self.place.folder, server)?;
        self.ctl(&["eval", "ssl:clear_pem_cache()."]).map(drop)
    }

    /// The URI of the default vhost over TLS, by this name of the host.
    ///
    /// # Errors
    /// When the node speaks no TLS.
    pub fn tls_uri(&self, host: &str) -> Result<String> {
        let port = self.tls_port.context("find the port for TLS")?;
        Ok(format!("amqps://guest:guest@{host}:{port}/%2f"))
    }
}

fn show_at(folder: &Path, server: &Issued) -> Result<()> {
    fs::copy(&server.certificate, folder.join(CERTIFICATE)).context("show a certificate")?;
    fs::copy(&server.key, folder.join(KEY)).context("show a certificate")?;
    Ok(())
}
