//! Keys that sign tokens, in a file.
//!
//! A ring is tended when it is used: whoever signs or reads the list of keys asks the plan first. There is no task and no
//! timer; a server that nobody asks makes no keys. A key is in the file before anybody sees it.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::plan::{Dated, plan};
use crate::{IdentityError, durable, jwt::seconds, key::PrivateKey};

/// The format of the file.
const FORMAT: u32 = 1;

/// A key of a ring.
pub(super) struct RingKey {
    pub(super) kid: String,
    /// From when on it signs, in seconds since 1970.
    pub(super) from: u64,
    pub(super) key: PrivateKey,
}

/// The keys.
pub(super) struct Keyring {
    path: PathBuf,
    keys: RwLock<Arc<Vec<Arc<RingKey>>>>,
    /// Held by who changes the file: making a key takes a while, and verifying must not wait for it.
    tending: Mutex<()>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    kid: String,
    from: u64,
    /// PKCS #8, in base64.
    key: String,
}

// === impl Keyring ===

impl Keyring {
    /// The ring in the file at `path`; an empty one if there is none. Its directory is made with the first key.
    ///
    /// # Errors
    /// When the file cannot be read, others can read it, or it holds no keys of ours.
    pub(super) fn open(path: PathBuf) -> Result<Self, IdentityError> {
        durable::remove(&durable::draft(&path)).map_err(|source| IdentityError::KeyFile {
            operation: "remove",
            path: durable::draft(&path),
            source,
        })?;
        let keys = read(&path)?;
        Ok(Self { path, keys: RwLock::new(Arc::new(keys)), tending: Mutex::default() })
    }

    /// Who signs now. May make a key and write it down: for a thread that may block.
    ///
    /// # Errors
    /// When a key has to be made and cannot.
    pub(super) fn signer(&self, now: SystemTime) -> Result<Arc<RingKey>, IdentityError> {
        let keys = self.tended(now)?;
        let dated = dated(&keys);
        let signer = plan(&dated, seconds(now)).signer;
        let found = keys.iter().find(|key| Some(key.kid.as_str()) == signer).cloned();
        found.ok_or(IdentityError::NoSigner)
    }

    /// The keys that verifiers are to know now, those that do not sign yet among them. May block as
    /// [`Keyring::signer`] does.
    ///
    /// # Errors
    /// As [`Keyring::signer`].
    pub(super) fn published(&self, now: SystemTime) -> Result<Arc<Vec<Arc<RingKey>>>, IdentityError> {
        self.tended(now)
    }

    /// The key of this id. Never blocks for long.
    pub(super) fn find(&self, kid: &str) -> Option<Arc<RingKey>> {
        self.current().iter().find(|key| key.kid == kid).cloned()
    }

    /// The keys as they are, whether or not it is time for others.
    pub(super) fn known(&self) -> Arc<Vec<Arc<RingKey>>> {
        self.current()
    }

    fn current(&self) -> Arc<Vec<Arc<RingKey>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does what the plan wants until it wants nothing.
    fn tended(&self, now: SystemTime) -> Result<Arc<Vec<Arc<RingKey>>>, IdentityError> {
        let keys = self.current();
        if !is_due(&keys, now) {
            return Ok(keys);
        }
        let _alone = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have done it meanwhile.
        let keys = self.current();
        if !is_due(&keys, now) {
            return Ok(keys);
        }
        let dated = dated(&keys);
        let plan = plan(&dated, seconds(now));
        let mut after: Vec<_> = keys.iter().filter(|key| !plan.drop.contains(&key.kid.as_str())).cloned().collect();
        if let Some(from) = plan.make {
            let key = PrivateKey::generate()?;
            after.push(Arc::new(RingKey { kid: key.public().id(), from, key }));
        }
        tracing::info!(file = %self.path.display(), "keys of signatures: {plan}");
        write(&self.path, &after)?;
        let after = Arc::new(after);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = after.clone();
        Ok(after)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.current().iter().map(|key| key.kid.clone()).collect();
        f.debug_struct("Keyring").field("path", &self.path).field("kids", &kids).finish_non_exhaustive()
    }
}

fn dated(keys: &[Arc<RingKey>]) -> Vec<Dated<'_>> {
    keys.iter().map(|key| Dated { kid: &key.kid, from: key.from }).collect()
}

fn is_due(keys: &[Arc<RingKey>], now: SystemTime) -> bool {
    let dated = dated(keys);
    let plan = plan(&dated, seconds(now));
    plan.make.is_some() || !plan.drop.is_empty()
}

fn read(path: &Path) -> Result<Vec<Arc<RingKey>>, IdentityError> {
    let failed = |source| IdentityError::KeyFile { operation: "read", path: path.to_owned(), source };
    let unfit = |rule: String| IdentityError::KeyFileUnfit { path: path.to_owned(), rule };
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    if mode & 0o077 != 0 {
        return Err(IdentityError::KeyFileExposed { path: path.to_owned(), mode });
    }
    let text = fs::read(path).map_err(failed)?;
    // The parser's own words could quote what is in the file.
    let stored: Stored =
        serde_json::from_slice(&text).map_err(|_| unfit("it holds no keys of signatures".to_owned()))?;
    if stored.format != FORMAT {
        return Err(unfit(format!("its format is {}, and {FORMAT} is known", stored.format)));
    }
    let open = |StoredKey { kid, from, key }| {
        let der = STANDARD.decode(key).map_err(|_| unfit(format!("the key {kid} is not base64")))?;
        let key = PrivateKey::from_pkcs8(&der).map_err(|error| unfit(format!("the key {kid}: {error}")))?;
        Ok(Arc::new(RingKey { kid, from, key }))
    };
    stored.keys.into_iter().map(open).collect()
}

fn write(path: &Path, keys: &[Arc<RingKey>]) -> Result<(), IdentityError> {
    let mut stored = Vec::with_capacity(keys.len());
    for key in keys {
        stored.push(StoredKey { kid: key.kid.clone(), from: key.from, key: STANDARD.encode(key.key.to_pkcs8()?) });
    }
    let failed = |source| IdentityError::KeyFile { operation: "write", path: path.to_owned(), source };
    let text = serde_json::to_vec(&Stored { format: FORMAT, keys: stored }).map_err(|error| failed(error.into()))?;
    if let Some(dir) = path.parent() {
        durable::private_dir(dir).map_err(failed)?;
    }
    durable::write(path, &text, 0o600).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use tempfile::TempDir;

    use super::{
        super::plan::{AHEAD, TERM, TRAIL},
        *,
    };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn kids(ring: &Keyring, now: SystemTime) -> Vec<String> {
        ring.published(now).unwrap().iter().map(|key| key.kid.clone()).collect()
    }

    #[test]
    fn a_key_is_made_when_it_is_first_needed_for_its_owner_only_and_found_again() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("identity/keys.json");
        let ring = Keyring::open(path.clone()).unwrap();
        assert!(!path.exists(), "nobody needs one yet");
        let signer = ring.signer(at(0)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        fs::write(durable::draft(&path), "half").unwrap();
        let again = Keyring::open(path.clone()).unwrap();
        assert!(!durable::draft(&path).exists(), "what a crash left is removed");
        assert_eq!(again.signer(at(1)).unwrap().kid, signer.kid);
        assert_eq!(again.find(&signer.kid).unwrap().key.public(), signer.key.public());
        assert!(again.find("other").is_none());
    }

    #[test]
    fn a_new_key_is_published_before_it_signs_and_an_old_one_after() {
        let dir = TempDir::new().unwrap();
        let ring = Keyring::open(dir.path().join("keys.json")).unwrap();
        let first = ring.signer(at(0)).unwrap().kid.clone();
        let both = kids(&ring, at(TERM - AHEAD));
        assert_eq!((both.len(), &both[0]), (2, &first));
        assert_eq!(ring.signer(at(TERM - 1)).unwrap().kid, first);
        assert_eq!(ring.signer(at(TERM)).unwrap().kid, both[1]);
        assert_eq!(kids(&ring, at(TERM + TRAIL)), both);
        assert_eq!(kids(&ring, at(TERM + TRAIL + 1)), both[1..]);
        let again = Keyring::open(dir.path().join("keys.json")).unwrap();
        assert_eq!(kids(&again, at(TERM + TRAIL + 1)), both[1..]);
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_none_of_ours_is_refused_without_its_contents() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("keys.json");
        Keyring::open(path.clone()).unwrap().signer(at(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keyring::open(path.clone()).unwrap_err();
        assert!(error.to_string().contains("mode 640") && error.hint().unwrap().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            "",
            "secret text",
            r#"{"format":2,"keys":[]}"#,
            r#"{"format":1,"keys":[{"kid":"k","from":1,"key":"AAAA"}]}"#,
        ] {
            fs::write(&path, text).unwrap();
            let error = Keyring::open(path.clone()).unwrap_err();
            assert!(matches!(error, IdentityError::KeyFileUnfit { .. }), "{text}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn no_debug_text_holds_a_key() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("keys.json");
        let ring = Keyring::open(path.clone()).unwrap();
        ring.signer(at(0)).unwrap();
        let stored: Stored = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert!(!format!("{ring:?}").contains(&stored.keys[0].key[40..80]));
    }
}
