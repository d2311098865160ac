//! The name of content: its SHA-256.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, in the form `sha256:` and 64 lower-case hexadecimal digits.
///
/// Other algorithms are legal in the OCI specification and used by nobody; they are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// The text is not a digest; says which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest '{text}': {rule}")]
pub struct DigestError {
    text: String,
    rule: &'static str,
}

const PREFIX: &str = "sha256:";

// === impl Digest ===

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    /// The digest of everything that was fed to `hash`.
    pub(crate) fn from_hash(hash: Sha256) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hash.finalize())))
    }

    /// The digest with these 64 digits, such as a file's name; `None` when they are something else.
    pub(crate) fn from_hex(digits: &str) -> Option<Self> {
        format!("{PREFIX}{digits}").parse().ok()
    }

    /// The whole, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits alone: a safe file name.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let error = |rule| DigestError { text: text.chars().take(160).collect(), rule };
        let Some((algorithm, digits)) = text.split_once(':') else {
            return Err(error("a digest has the form sha256:<64 hexadecimal digits>"));
        };
        if algorithm != "sha256" {
            return Err(error("only sha256 digests are supported"));
        }
        if digits.len() != 64 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error("sha256: is followed by 64 lower-case hexadecimal digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_well_known_one() {
        let empty = Digest::of(b"");
        assert_eq!(empty.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.as_str().parse(), Ok(empty.clone()));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let long = format!("sha256:{}", "0".repeat(65));
        let upper = format!("sha256:{}", "A".repeat(64));
        let other = format!("sha512:{}", "0".repeat(128));
        for text in ["", "sha256", "sha256:", "sha256:../../etc/passwd", &long, &upper, &other] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
