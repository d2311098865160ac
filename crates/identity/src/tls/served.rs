//! The certificate that is shown now.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use updraft_base::Clock;

use super::{
    TlsError,
    authority::{Authority, unfit},
};

/// How long the operator's files are taken to be what they were.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Where the certificate comes from.
pub(super) enum Source {
    /// Our authority signs it, for these names.
    Own {
        /// Who signs.
        authority: Box<Authority>,
        /// What for.
        names: Vec<String>,
    },
    /// The operator's files.
    Files {
        /// The chain.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// Shows a certificate to every client, and takes another one in time. There is no task for that: the first
/// handshake after the time does it, within a millisecond.
pub(super) struct Served {
    source: Source,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    shown: RwLock<Shown>,
}

#[derive(Clone)]
struct Shown {
    key: Arc<CertifiedKey>,
    /// From then on another one is taken.
    until: SystemTime,
}

// === impl Served ===

impl Served {
    pub(super) fn new(source: Source, provider: Arc<CryptoProvider>, clock: Clock) -> Result<Self, TlsError> {
        let shown = source.take(&provider, clock.now())?;
        Ok(Self { source, provider, clock, shown: RwLock::new(shown) })
    }

    /// The certificate to show now. One that cannot be replaced is shown further: a client may still accept it.
    fn current(&self) -> Arc<CertifiedKey> {
        let now = self.clock.now();
        let shown = self.shown.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if now < shown.until {
            return shown.key;
        }
        let mut place = self.shown.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now < place.until {
            return place.key.clone();
        }
        match self.source.take(&self.provider, now) {
            Ok(next) => *place = next,
            Err(error) => {
                tracing::warn!(%error, "the certificate cannot be renewed; the old one is shown");
                place.until = now + LOOK_AGAIN;
            }
        }
        place.key.clone()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // One certificate has all names. A client that asked for another refuses it, and can say which it wanted.
        Some(self.current())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}

// === impl Source ===

impl Source {
    fn take(&self, provider: &CryptoProvider, now: SystemTime) -> Result<Shown, TlsError> {
        match self {
            Self::Own { authority, names } => {
                let leaf = authority.sign(names, now)?;
                let key = CertifiedKey::from_der(leaf.chain, leaf.key, provider)?;
                Ok(Shown { key: Arc::new(key), until: leaf.renewal })
            }
            Self::Files { chain, key } => {
                let key = read(chain, key, provider)?;
                Ok(Shown { key: Arc::new(key), until: now + LOOK_AGAIN })
            }
        }
    }
}

fn read(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(unfit(chain))?;
    if certificates.is_empty() {
        return Err(unfit(chain)("there is no certificate in it"));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(unfit(key))?;
    // Also holds that the key is the certificate's.
    CertifiedKey::from_der(certificates, key_der, provider).map_err(unfit(key))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use rustls::crypto::aws_lc_rs::default_provider;
    use tempfile::TempDir;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn own(dir: &Path, clock: &Clock) -> Served {
        let authority = Box::new(Authority::open(dir, clock.now()).unwrap());
        let source = Source::Own { authority, names: vec!["localhost".to_owned()] };
        Served::new(source, Arc::new(default_provider()), clock.clone()).unwrap()
    }

    #[test]
    fn a_certificate_of_ours_is_signed_anew_while_the_old_one_is_still_valid() {
        let dir = TempDir::new().unwrap();
        let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + DAY * 20_000);
        let served = own(dir.path(), &clock);
        let first = served.current();
        hand.advance(DAY * 59);
        assert_eq!(served.current().cert, first.cert);
        hand.advance(DAY * 2);
        let second = served.current();
        assert_ne!(second.cert, first.cert);
        assert_eq!(served.current().cert, second.cert, "and then kept");
    }

    #[test]
    fn files_of_the_operator_are_read_again_and_kept_when_they_break() {
        let dir = TempDir::new().unwrap();
        let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + DAY * 20_000);
        let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
        let renew = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            fs::write(&chain, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        };
        renew("first.test");
        let source = || Source::Files { chain: chain.clone(), key: key.clone() };
        let served = Served::new(source(), Arc::new(default_provider()), clock.clone()).unwrap();
        let first = served.current();
        renew("second.test");
        assert_eq!(served.current().cert, first.cert, "not looked at with every handshake");
        hand.advance(LOOK_AGAIN);
        let second = served.current();
        assert_ne!(second.cert, first.cert);
        fs::write(&key, "nothing").unwrap();
        hand.advance(LOOK_AGAIN);
        assert_eq!(served.current().cert, second.cert);
        let error = Served::new(source(), Arc::new(default_provider()), clock).err().unwrap();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = TempDir::new().unwrap();
        let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
        let make = || rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        fs::write(&chain, make().cert.pem()).unwrap();
        fs::write(&key, make().signing_key.serialize_pem()).unwrap();
        assert!(read(&chain, &key, &default_provider()).is_err());
    }
}
