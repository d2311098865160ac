//! A sealed value as bytes:
//!
//! ```text
//! 1 | length of the key's id | id | nonce (12) data key (32) tag (16) | nonce (12) value tag (16)
//!                                   └ under the installation key ────┘ └ under the data key ────┘
//! ```
//!
//! AES-256-GCM both times, with a random nonce; an installation key may so wrap 2³² data keys. The name that the value
//! belongs to is authenticated with both parts, the key's id with the first.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use updraft_model::Confidential;

use super::ring::{KEY_BYTES, Key, Ring};

const FORMAT: u8 = 1;
const TAG_LEN: usize = 16;
const WRAPPED_LEN: usize = NONCE_LEN + KEY_BYTES + TAG_LEN;

/// Why a value does not open. Tells nothing of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("the sealed value of {0} is not in a form that this version knows")]
    Form(String),
    #[error("the value of {name} is sealed with the key {key}, which is not there")]
    Key { name: String, key: String },
    #[error("the sealed value of {0} was changed, or belongs to something else")]
    Changed(String),
    #[error("the system could not seal a value")]
    System,
}

/// The parts of a sealed value.
struct Parts<'a> {
    key: &'a str,
    wrapped: &'a [u8],
    value: &'a [u8],
}

pub(super) fn seal(key: &Key, name: &str, value: &Confidential) -> Result<Vec<u8>, EnvelopeError> {
    let mut data_key = vec![0; KEY_BYTES];
    rand::fill(&mut data_key).map_err(|_| EnvelopeError::System)?;
    let data_key = Confidential::new(data_key);
    let sealer = cipher(&data_key)?;
    let sealed = encrypt(&sealer, &value_aad(name), value)?;
    written(key, name, (&data_key, &sealed))
}

pub(super) fn open(ring: &Ring, name: &str, sealed: &[u8]) -> Result<Confidential, EnvelopeError> {
    let parts = Parts::read(sealed).ok_or_else(|| EnvelopeError::Form(name.to_owned()))?;
    let data_key = parts.unwrap(ring, name)?;
    decrypt(&cipher(&data_key)?, &value_aad(name), parts.value).ok_or_else(|| EnvelopeError::Changed(name.to_owned()))
}

/// The same value under the ring's current key: only the data key is sealed anew.
pub(super) fn rewrap(ring: &Ring, name: &str, sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let parts = Parts::read(sealed).ok_or_else(|| EnvelopeError::Form(name.to_owned()))?;
    let data_key = parts.unwrap(ring, name)?;
    written(ring.current(), name, (&data_key, parts.value))
}

// === impl Parts ===

impl<'a> Parts<'a> {
    fn read(sealed: &'a [u8]) -> Option<Self> {
        let (&format, rest) = sealed.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (key, rest) = rest.split_at_checked(length.into())?;
        let (wrapped, value) = rest.split_at_checked(WRAPPED_LEN)?;
        let is_known = format == FORMAT && value.len() >= NONCE_LEN + TAG_LEN;
        is_known.then_some(Self { key: std::str::from_utf8(key).ok()?, wrapped, value })
    }

    fn unwrap(&self, ring: &Ring, name: &str) -> Result<Confidential, EnvelopeError> {
        let unknown = || EnvelopeError::Key { name: name.to_owned(), key: self.key.to_owned() };
        let key = ring.find(self.key).ok_or_else(unknown)?;
        let opened = decrypt(&key.key, &key_aad(self.key, name), self.wrapped);
        opened.ok_or_else(|| EnvelopeError::Changed(name.to_owned()))
    }
}

fn written(key: &Key, name: &str, (data_key, value): (&Confidential, &[u8])) -> Result<Vec<u8>, EnvelopeError> {
    let wrapped = encrypt(&key.key, &key_aad(&key.id, name), data_key)?;
    let length = u8::try_from(key.id.len()).map_err(|_| EnvelopeError::System)?;
    Ok([&[FORMAT, length], key.id.as_bytes(), &wrapped, value].concat())
}

fn cipher(key: &Confidential) -> Result<RandomizedNonceKey, EnvelopeError> {
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(|_| EnvelopeError::System)
}

fn value_aad(name: &str) -> Vec<u8> {
    [b"updraft value 1\0", name.as_bytes()].concat()
}

fn key_aad(key: &str, name: &str) -> Vec<u8> {
    [b"updraft data key 1\0", key.as_bytes(), b"\0", name.as_bytes()].concat()
}

/// Nonce, then what was sealed, then the tag.
fn encrypt(key: &RandomizedNonceKey, aad: &[u8], plain: &Confidential) -> Result<Vec<u8>, EnvelopeError> {
    // In one piece from the beginning, so that growing leaves no copy of the value behind.
    let plain = plain.expose();
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
    sealed.resize(NONCE_LEN, 0);
    sealed.extend_from_slice(plain);
    let sealing = key.seal_in_place_separate_tag(Aad::from(aad), &mut sealed[NONCE_LEN..]);
    let (nonce, tag) = sealing.map_err(|_| EnvelopeError::System)?;
    sealed[..NONCE_LEN].copy_from_slice(nonce.as_ref());
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// `None` when something was changed.
fn decrypt(key: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Option<Confidential> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut plain = sealed.to_vec();
    let length = key.open_in_place(nonce, Aad::from(aad), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(Confidential::new(plain))
}
