//! TLS of the front door: whose certificate is shown, and who signed it.
//!
//! Without a certificate of the operator's own, the server is its own authority: made at the first start, kept in
//! `DATA/tls`, asked for by clients that are to trust it. What it signs lives in memory only, for 90 days at most,
//! and is signed anew long before it ends.

mod authority;
mod names;
mod served;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use updraft_base::Clock;

use authority::Authority;
pub use names::names;
use served::{Served, Source};

/// Protocols that a client may choose from, the preferred first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whose certificate the server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// One for these names, signed by an authority of our own in `DATA/tls`.
    Own(Vec<String>),
    /// The operator's. The files are read again now and then, so that a renewal needs no restart.
    Files {
        /// The chain in PEM, the server's own certificate first.
        chain: PathBuf,
        /// The key in PEM.
        key: PathBuf,
    },
}

/// What a listener needs for TLS, and what a client needs to trust it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    authority: Option<Arc<str>>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// `read`, `write` or `make`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Others on this machine can read a key.
    #[error("the key {} can be read by others (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in a file is no certificate or key, or they do not belong together.
    #[error("{} cannot be used: {rule}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
    /// A certificate could not be signed.
    #[error("cannot sign a certificate: {0}")]
    Sign(String),
    /// The provider of cryptography does not do what TLS needs; a fault of the build.
    #[error("TLS is not available: {0}")]
    Provider(#[from] rustls::Error),
}

// === impl Tls ===

impl Tls {
    /// TLS with this certificate. `data_dir` is a directory that is there; it keeps the authority.
    ///
    /// # Errors
    /// When a key or certificate cannot be read, made or used.
    pub fn open(data_dir: &Path, certificate: Certificate, clock: Clock) -> Result<Self, TlsError> {
        let now = clock.now();
        let (source, authority) = match certificate {
            Certificate::Files { chain, key } => (Source::Files { chain, key }, None),
            Certificate::Own(names) => {
                let authority = Authority::open(&data_dir.join("tls"), now)?;
                let pem = authority.pem().into();
                (Source::Own { authority: Box::new(authority), names }, Some(pem))
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let served = Served::new(source, provider.clone(), clock)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(served));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self { config: Arc::new(config), authority })
    }

    /// For the listener.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The certificate of our authority in PEM, for clients; `None` when the operator's certificate is shown.
    pub fn authority(&self) -> Option<Arc<str>> {
        self.authority.clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("own", &self.authority.is_some()).finish_non_exhaustive()
    }
}

// === impl TlsError ===

impl TlsError {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!(
                "if nobody has seen it, run 'chmod 600 {}'; else remove its directory and restart: clients must trust the new authority then",
                path.display()
            )),
            Self::Unfit { path, .. } if path.file_name().is_some_and(|name| name == authority::CERTIFICATE) => {
                Some(format!("remove {} and restart; it is signed anew with the same key", path.display()))
            }
            Self::File { .. } | Self::Unfit { .. } => {
                Some("--tls-cert and --tls-key name PEM files; without them the server signs its own".to_owned())
            }
            Self::Sign(_) | Self::Provider(_) => None,
        }
    }
}
