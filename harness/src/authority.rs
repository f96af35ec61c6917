//! A certificate authority of a test's own, and what it issues.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use crate::packages::ensure_packages;
use crate::process::{capture, command};

/// An authority that nobody else trusts; gone when dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// A certificate with its key, as PEM files that anybody may read: they protect nothing.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When `openssl` is missing and may not be installed, or fails.
    pub fn new() -> Result<Self> {
        ensure_packages(&[("openssl", "the tests of TLS make certificates of their own")])?;
        let folder = tempfile::tempdir().context("make a folder for certificates")?;
        // The broker runs as a user of its own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        // Two authorities of one name would be told apart by their signatures only.
        let subject = format!(
            "/CN={}",
            folder.path().display().to_string().replace('/', " ")
        );
        let authority = Self { folder };
        authority.openssl(
            &[&["req", "-x509", "-days", "2", "-subj", &subject][..], &KEY].concat(),
            &[("-keyout", "ca.key"), ("-out", "ca.pem")],
        )?;
        Ok(authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Issues a certificate for `host` that ends in so many days, or ended already.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn issue(&self, name: &str, host: &str, days: i32) -> Result<Issued> {
        let file = |end: &str| format!("{name}.{end}");
        let subject = format!("/CN={host}");
        self.openssl(
            &[&["req", "-subj", &subject][..], &KEY].concat(),
            &[("-keyout", &file("key")), ("-out", &file("csr"))],
        )?;
        fs::write(
            self.path(&file("ext")),
            format!("subjectAltName=DNS:{host}\n"),
        )?;
        self.openssl(
            &[
                "x509",
                "-req",
                "-CAcreateserial",
                "-days",
                &days.to_string(),
            ],
            &[
                ("-in", &file("csr")),
                ("-CA", "ca.pem"),
                ("-CAkey", "ca.key"),
                ("-extfile", &file("ext")),
                ("-out", &file("pem")),
            ],
        )?;
        let issued = Issued {
            certificate: self.path(&file("pem")),
            key: self.path(&file("key")),
        };
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o644))?;
        Ok(issued)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str], files: &[(&str, &str)]) -> Result<()> {
        let mut program = command(Path::new("openssl"));
        program.args(arguments);
        for (option, name) in files {
            program.arg(option).arg(self.path(name));
        }
        capture("openssl", &mut program).map(drop)
    }
}
