//! Lists, page by page.
//!
//! A token says after which element the next page begins. It carries a digest of what was asked, so a
//! token of another list, or one made up, is refused.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use updraft_model::Error;
use updraft_store::{Envelope, Page, Selection, Store};

use crate::failure::of_store;

/// How many elements a page has when the client does not say.
pub(crate) const PAGE_DEFAULT: usize = 100;
/// The most elements a page may have; a larger wish gets this.
pub(crate) const PAGE_MAX: usize = 1000;

const DIGEST_BYTES: usize = 12;

/// What a client asks for.
pub(crate) struct Wish<'a> {
    /// At most so many; 0 means the default.
    pub(crate) size: i32,
    /// Where to go on; empty means at the beginning.
    pub(crate) token: &'a str,
    /// The most the method allows.
    pub(crate) max: usize,
}

/// The envelopes of one page for which `keep` holds, and the token of the next page (empty at the end).
pub(crate) async fn list(
    store: &dyn Store,
    selection: &Selection,
    wish: Wish<'_>,
    keep: impl Fn(&Envelope) -> Result<bool, Error>,
) -> Result<(Vec<Envelope>, String), Error> {
    let size = match usize::try_from(wish.size) {
        Ok(0) => PAGE_DEFAULT.min(wish.max),
        Ok(size) => size.min(wish.max),
        Err(_) => return Err(Error::invalid_field("page_size", format!("must not be negative, got {}", wish.size))),
    };
    let mut after = if wish.token.is_empty() { None } else { Some(decode(selection, wish.token)?) };
    let mut found = Vec::new();
    loop {
        // One more than wanted tells whether there is a next page.
        let limit = size + 1 - found.len();
        let page = Page { limit, after: after.take() };
        let batch = store.list(selection, &page).await.map_err(of_store)?;
        let is_last = batch.len() < limit;
        after = batch.last().map(|envelope| (envelope.created, envelope.key.name.clone()));
        for envelope in batch {
            if keep(&envelope)? {
                found.push(envelope);
            }
        }
        if is_last || found.len() > size {
            break;
        }
    }
    let more = found.len() > size;
    found.truncate(size);
    let token = found.last().filter(|_| more).map(|last| encode(selection, last)).unwrap_or_default();
    Ok((found, token))
}

fn encode(selection: &Selection, last: &Envelope) -> String {
    let since = last.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
    let position = [&nanos[..], last.key.name.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode([&digest(selection, &position)[..], &position].concat())
}

fn decode(selection: &Selection, token: &str) -> Result<(std::time::SystemTime, String), Error> {
    let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (digested, position) = bytes.split_at_checked(DIGEST_BYTES)?;
        let (nanos, name) = position.split_first_chunk::<8>()?;
        if digest(selection, position) != digested {
            return None;
        }
        let created = UNIX_EPOCH.checked_add(Duration::from_nanos(u64::from_be_bytes(*nanos)))?;
        Some((created, String::from_utf8(name.to_vec()).ok()?))
    });
    parsed.ok_or_else(|| Error::invalid_field("page_token", "must be a token that this list gave out"))
}

fn digest(selection: &Selection, position: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    hash.update(format!("{selection:?}"));
    hash.update(position);
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&hash.finalize()[..DIGEST_BYTES]);
    digest
}
