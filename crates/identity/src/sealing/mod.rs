//! Values of secrets at rest: sealed with keys of the installation, which are kept apart from what they seal.
//!
//! Each value has a data key of its own, which is wrapped by an installation key ([`envelope`]). Of several installation
//! keys ([`ring`]) the first seals and all open, so that one can follow the other while both are in use. Where they come
//! from says [`KeySource`].

mod envelope;
mod error;
mod ring;
mod source;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use updraft_model::{
    Confidential, Error, ErrorKind,
    secret::{Sealed, Sealer},
};

pub use error::SealingError;
pub use source::{KeySource, UnknownKeySource};

use ring::Ring;

/// Seals and opens with the keys of this installation.
pub struct Sealing {
    source: KeySource,
    ring: RwLock<Arc<Ring>>,
    /// One renewal at a time: each writes what it read and one key more.
    renewal: Mutex<()>,
}

// === impl Sealing ===

impl Sealing {
    /// With the keys that `source` has.
    ///
    /// # Errors
    /// When there are none, they cannot be read or are not fit, or others can read them.
    pub fn open(source: KeySource) -> Result<Self, SealingError> {
        let ring = Ring::parse(&source.read()?).map_err(|cause| source.unfit(cause))?;
        Ok(Self { source, ring: RwLock::new(Arc::new(ring)), renewal: Mutex::new(()) })
    }

    /// The same where nothing is sealed yet: a key file that is not there is made.
    ///
    /// # Errors
    /// As [`Sealing::open`].
    pub fn open_or_make(source: KeySource) -> Result<Self, SealingError> {
        if source.is_missing_file() {
            source.write(&ring::fresh()?)?;
            tracing::info!(%source, "made a new installation key");
        }
        Self::open(source)
    }

    /// The ids of its keys, the one that seals first.
    pub fn keys(&self) -> Vec<String> {
        self.ring().ids()
    }

    /// Where its keys are.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn renewed(&self) -> Result<(), SealingError> {
        let _turn = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.source.read()?;
        let keys = Confidential::new([ring::fresh()?.expose(), before.expose()].concat());
        let ring = Ring::parse(&keys).map_err(|cause| self.source.unfit(cause))?;
        // First what is on the disk: a value must never be sealed with a key that a crash takes away.
        self.source.write(&keys)?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }
}

impl Sealer for Sealing {
    fn current(&self) -> String {
        self.ring().current().id.clone()
    }

    fn seal(&self, name: &str, value: &Confidential) -> Result<Sealed, Error> {
        let ring = self.ring();
        let key = ring.current();
        let bytes = envelope::seal(key, name, value).map_err(Error::internal)?;
        Ok(Sealed { key: key.id.clone(), bytes })
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Confidential, Error> {
        envelope::open(&self.ring(), name, sealed).map_err(Error::internal)
    }

    fn rewrap(&self, name: &str, sealed: &[u8]) -> Result<Sealed, Error> {
        let ring = self.ring();
        let bytes = envelope::rewrap(&ring, name, sealed).map_err(Error::internal)?;
        Ok(Sealed { key: ring.current().id.clone(), bytes })
    }

    fn renew(&self) -> Result<(), Error> {
        self.renewed().map_err(|error| match error {
            SealingError::NotOurs { .. } => Error::new(ErrorKind::FailedPrecondition, error.to_string()),
            other => Error::internal(format!("{other}{}", other.because())),
        })
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("source", &self.source).field("keys", &self.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
