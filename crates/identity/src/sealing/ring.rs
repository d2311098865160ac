//! Installation keys: their text, their ids, their order.

use aws_lc_rs::{
    aead::{AES_256_GCM, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use updraft_model::Confidential;

use super::SealingError;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of the hash that an id shows, in hex.
const ID_BYTES: usize = 8;
/// The most keys that are kept: each rotation leaves one, and a file that grows for ever is a mistake.
const KEYS_MAX: usize = 256;

/// An installation key.
pub(super) struct Key {
    /// Follows from the key, so that a wrong one is known before it is tried.
    pub(super) id: String,
    pub(super) key: RandomizedNonceKey,
}

/// At least one key; the first seals, all open.
pub(super) struct Ring(Vec<Key>);

/// A line with a new key.
pub(super) fn fresh() -> Result<Confidential, SealingError> {
    let mut bytes = vec![0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| SealingError::Random)?;
    let bytes = Confidential::new(bytes);
    let mut line = STANDARD.encode(bytes.expose());
    line.push('\n');
    Ok(Confidential::new(line.into_bytes()))
}

// === impl Ring ===

impl Ring {
    /// Reads keys out of a text: words of base64, 32 bytes each; what follows a `#` in a line is for people.
    ///
    /// # Errors
    /// What is wrong, and where; nothing of the text itself.
    pub(super) fn parse(text: &Confidential) -> Result<Self, String> {
        let text = std::str::from_utf8(text.expose()).map_err(|_| "it is not text".to_owned())?;
        let mut keys: Vec<Key> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let words = line.split('#').next().unwrap_or_default().split_whitespace();
            for word in words {
                let bytes = Confidential::new(STANDARD.decode(word).unwrap_or_default());
                if bytes.expose().len() != KEY_BYTES {
                    return Err(format!("line {number} has something that is not {KEY_BYTES} bytes in base64"));
                }
                let key = Key::new(bytes.expose())?;
                if keys.iter().all(|known| known.id != key.id) {
                    keys.push(key);
                }
            }
        }
        match keys.len() {
            0 => Err("there is no key in it".to_owned()),
            1..=KEYS_MAX => Ok(Self(keys)),
            count => {
                Err(format!("it has {count} keys, and {KEYS_MAX} are the most; take away those that nothing needs"))
            }
        }
    }

    /// The key that seals.
    pub(super) fn current(&self) -> &Key {
        // There is one: `parse` sees to it.
        &self.0[0]
    }

    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }
}

// === impl Key ===

impl Key {
    fn new(bytes: &[u8]) -> Result<Self, String> {
        let mut hash = Sha256::new();
        hash.update(b"updraft installation key\0");
        hash.update(bytes);
        let id = hex::encode(&hash.finalize()[..ID_BYTES]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| "a key is refused".to_owned())?;
        Ok(Self { id, key })
    }
}
