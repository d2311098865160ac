//! Keys that follow each other: every value is sealed anew under the one that seals now.
//!
//! There is nothing to resume: which values are left is what is stored. A value opens before, while and after it is sealed
//! anew, so nobody who reads notices.

use updraft_model::{Error, iam::Principal, secret::SecretName};
use updraft_store::{Change, Envelope, Kind, Selection};

use super::{number_of, sealed_name, secret_key};
use crate::{
    Control, Inner,
    access::{Permitted, Proof, Resource},
    failure::of_store,
};

/// How many values are read together, and written in one commit.
const PAGE: usize = 64;
/// How often all are gone through before a rotation gives up: only values that were being added meanwhile are left by the
/// first time.
const PASSES: usize = 8;

/// How values are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the key that seals now.
    pub key: String,
    /// How many values it was put on.
    pub resealed: usize,
    /// How many values there are.
    pub values: usize,
}

/// What came of going through all values once.
#[derive(Debug, Default)]
struct Pass {
    resealed: usize,
    /// Of values that do not open, one's reason.
    broken: Option<Error>,
}

// === impl Control ===

impl Control {
    /// Makes a new key and seals every value with it. Ended halfway, the server goes on at its next start.
    ///
    /// # Errors
    /// `PermissionDenied` for everybody but who owns the server; `FailedPrecondition` when the keys are not the server's to
    /// write.
    pub async fn secrets_rotate_key(&self, caller: &Principal) -> Result<Rotated, Error> {
        let inner = &*self.inner;
        let permit: Permitted = inner.permit(caller, "updraft.keys.rotate", &Resource::Server).await?;
        let sealer = inner.sealer.clone();
        // It waits for the disk.
        tokio::task::spawn_blocking(move || sealer.renew()).await.map_err(Error::internal)??;
        let key = inner.sealer.current();
        tracing::info!(key, by = %caller, "values of secrets are sealed with a new key");
        let resealed = inner.reseal(&permit).await?;
        let values = inner.count_values(&permit, None).await?;
        Ok(Rotated { key, resealed, values })
    }
}

// === impl Inner ===

impl Inner {
    /// Seals with the current key what is sealed with others; tells how many values that were. One that does not open keeps
    /// none of the others back.
    ///
    /// # Errors
    /// When the store fails, a value does not open, or others seal with older keys for ever.
    pub(crate) async fn reseal(&self, proof: &impl Proof) -> Result<usize, Error> {
        let mut resealed = 0;
        for _ in 0..PASSES {
            let key = self.sealer.current();
            if self.count_values(proof, Some(&key)).await? == self.count_values(proof, None).await? {
                return Ok(resealed);
            }
            let pass = self.reseal_once(proof, &key).await?;
            resealed += pass.resealed;
            if let Some(error) = pass.broken {
                return Err(error);
            }
        }
        Err(Error::internal("values of secrets are being added with an older key"))
    }

    async fn count_values(&self, proof: &impl Proof, key: Option<&str>) -> Result<usize, Error> {
        let all = Selection::of(Kind::SecretValue);
        let selection = match key {
            Some(key) => all.owned_by(key),
            None => all,
        };
        self.store.open(proof).count(&selection).await.map_err(of_store)
    }

    async fn reseal_once(&self, proof: &impl Proof, key: &str) -> Result<Pass, Error> {
        let (mut last, mut pass) = (None, Pass::default());
        loop {
            let store = self.store.open(proof);
            let page = store.scan(Kind::SecretValue, last.as_ref(), PAGE).await.map_err(of_store)?;
            let Some(end) = page.last().map(|envelope| envelope.key.clone()) else { return Ok(pass) };
            last = Some(end);
            let mut changes = Vec::new();
            // Values of one secret stand side by side. One that is replaced meanwhile has taken its values with it: what is
            // written of them then is refused.
            let mut secret: Option<(SecretName, Option<String>)> = None;
            for envelope in page.into_iter().filter(|envelope| envelope.owner != key) {
                let name = secret_of(&envelope);
                let uid = match secret.take().filter(|(known, _)| *known == name) {
                    Some((_, uid)) => uid,
                    None => self.get(proof, &secret_key(&name)).await?.map(|found| found.uid),
                };
                match uid.as_deref().map(|uid| self.resealed(&name, uid, envelope)).transpose() {
                    Ok(change) => changes.extend(change),
                    Err(error) => pass.broken = Some(error),
                }
                secret = Some((name, uid));
            }
            let count = changes.len();
            if changes.is_empty() {
                continue;
            }
            if self.committed(proof, changes.clone()).await?.is_some() {
                pass.resealed += count;
                continue;
            }
            // One of them was destroyed meanwhile, or sealed by another pass: the others one by one.
            for change in changes {
                pass.resealed += usize::from(self.committed(proof, vec![change]).await?.is_some());
            }
        }
    }

    /// The change that seals a value anew.
    fn resealed(&self, name: &SecretName, uid: &str, envelope: Envelope) -> Result<Change, Error> {
        let sealed = self.sealer.rewrap(&sealed_name(name, number_of(&envelope.key), uid), &envelope.spec)?;
        Ok(Change::Put(Box::new(Envelope { owner: sealed.key, spec: sealed.bytes, ..envelope })))
    }
}

/// The secret that a value is of.
fn secret_of(envelope: &Envelope) -> SecretName {
    let secret = envelope.key.name.split('/').next().unwrap_or_default().to_owned();
    SecretName { parent: envelope.key.parent.clone(), secret }
}
