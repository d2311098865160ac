//! The seam between who stores values and who can make them unreadable.

use crate::{Confidential, Error};

/// Makes values unreadable for whoever has only the store, and readable again. A name goes with each value: under another
/// one it does not open, so that sealed values cannot be put in each other's place.
pub trait Sealer: Send + Sync + 'static {
    /// The id of the key that seals now.
    fn current(&self) -> String;

    /// Seals a value.
    ///
    /// # Errors
    /// `Internal`.
    fn seal(&self, name: &str, value: &Confidential) -> Result<Sealed, Error>;

    /// Opens what was sealed under this name, by whichever key.
    ///
    /// # Errors
    /// `Internal` when the key is not there, or what was sealed was changed.
    fn open(&self, name: &str, sealed: &[u8]) -> Result<Confidential, Error>;

    /// The same value under the key that seals now.
    ///
    /// # Errors
    /// As [`Sealer::open`].
    fn rewrap(&self, name: &str, sealed: &[u8]) -> Result<Sealed, Error>;

    /// Makes a new key that seals from now on; those before it go on opening. Once it returns, all of them are there after
    /// a power cut. Blocks on the disk.
    ///
    /// # Errors
    /// `FailedPrecondition` when the keys are not ours to write, `Internal`.
    fn renew(&self) -> Result<(), Error>;
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the key that opens it, which the bytes say as well.
    pub key: String,
    /// What is stored.
    pub bytes: Vec<u8>,
}
