//! The installation key, held against what is stored: a wrong one is noticed here, not when somebody asks for a secret.

use std::sync::Arc;

use updraft_identity::{Sealing, SealingError};
use updraft_store::{Kind, Selection, Store};

use super::StartError;
use crate::config::Config;

/// How many values are read together to find out which key one of them needs.
const PAGE: usize = 100;

/// Opens the keys. A key file is only made where nothing is sealed yet.
pub(super) async fn open(config: &Config, store: &dyn Store) -> Result<Arc<Sealing>, StartError> {
    let source = config.installation_key.clone();
    let values = store.count(&Selection::of(Kind::SecretValue)).await?;
    // It reads and writes a small file; nothing else is running yet.
    let sealing = if values == 0 { Sealing::open_or_make(source)? } else { Sealing::open(source)? };
    let mut opened = 0;
    for key in sealing.keys() {
        opened += store.count(&Selection::of(Kind::SecretValue).owned_by(key)).await?;
    }
    if opened < values {
        let (count, key) = (values - opened, missing(&sealing, store).await?);
        return Err(SealingError::Unknown { count, key, place: sealing.source().to_string() }.into());
    }
    Ok(Arc::new(sealing))
}

/// The id of a key that something is sealed with and that is not there.
async fn missing(sealing: &Sealing, store: &dyn Store) -> Result<String, StartError> {
    let (known, mut last) = (sealing.keys(), None);
    loop {
        let page = store.scan(Kind::SecretValue, last.as_ref(), PAGE).await?;
        let Some(end) = page.last().map(|envelope| envelope.key.clone()) else { return Ok("?".to_owned()) };
        if let Some(sealed) = page.into_iter().find(|envelope| !known.contains(&envelope.owner)) {
            return Ok(sealed.owner);
        }
        last = Some(end);
    }
}
