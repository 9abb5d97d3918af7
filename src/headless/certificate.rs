//! The certificate of `--tls-cert`: read at the start of a node, and again when it was renewed.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, info};

use crate::cli::key_file;
use crate::error::{Error, shown};
use crate::net::tls::ServerTls;

/// The files of a certificate, and what presents it.
#[derive(Clone)]
pub(super) struct CertificateFiles {
    files: (PathBuf, PathBuf),
    tls: Arc<ServerTls>,
}

impl CertificateFiles {
    /// Reads both files, and presents the certificate.
    ///
    /// # Errors
    /// `Error::Input` if a file cannot be read or used.
    pub(super) fn open(files: &(PathBuf, PathBuf), tls: &Arc<ServerTls>) -> Result<Self, Error> {
        let opened = Self { files: files.clone(), tls: Arc::clone(tls) };
        opened.present()?;
        Ok(opened)
    }

    /// Reads the files again; on an error the certificate remains as it is.
    pub(super) fn reload(&self) {
        match self.present() {
            Ok(()) => info!("{}: certificate read again", shown(&self.files.0)),
            Err(error) => error!("{error}: the certificate of before remains in use"),
        }
    }

    fn present(&self) -> Result<(), Error> {
        let (certificates, key) = key_file::certificate(&self.files)?;
        let wrong = |error| Error::Input { path: shown(&self.files.0), reason: format!(": {error}") };
        self.tls.present(&certificates, &key).map_err(wrong)
    }
}
