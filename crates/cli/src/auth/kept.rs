//! The file of credentials: for each endpoint a token or a key file, for its owner only.

use std::{
    collections::BTreeMap,
    env, fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::CliError, files::write};

/// What is kept for an endpoint. Never printed: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Credential {
    /// A token.
    Token(String),
    /// The text of a key file.
    KeyFile(String),
}

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
}

type Entries = BTreeMap<String, Credential>;

// === impl Kept ===

impl Kept {
    /// `$XDG_CONFIG_HOME/updraft/credentials.json`, or below `~/.config`.
    ///
    /// # Errors
    /// When there is no home.
    pub(super) fn open() -> Result<Self, CliError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let config = config.ok_or_else(|| CliError::usage("neither $XDG_CONFIG_HOME nor $HOME is set"))?;
        Ok(Self::at(config.join("updraft/credentials.json")))
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept for an endpoint.
    ///
    /// # Errors
    /// When the file cannot be read, others can read it, or it is none of ours.
    pub(super) fn find(&self, endpoint: &str) -> Result<Option<Credential>, CliError> {
        Ok(self.read()?.remove(endpoint))
    }

    /// Keeps credentials for an endpoint, in the place of those that were.
    ///
    /// # Errors
    /// As [`Kept::find`], and when the file cannot be written.
    pub(super) fn insert(&self, endpoint: &str, credential: Credential) -> Result<(), CliError> {
        let mut entries = self.read()?;
        entries.insert(endpoint.to_owned(), credential);
        self.write(&entries)
    }

    /// Forgets what is kept for an endpoint.
    ///
    /// # Errors
    /// As [`Kept::insert`].
    pub(super) fn remove(&self, endpoint: &str) -> Result<Option<Credential>, CliError> {
        let mut entries = self.read()?;
        let removed = entries.remove(endpoint);
        if removed.is_some() {
            self.write(&entries)?;
        }
        Ok(removed)
    }

    fn read(&self) -> Result<Entries, CliError> {
        let shown = self.path.display();
        let failed = |error: io::Error| CliError::usage(format!("cannot read {shown}: {error}"));
        let mode = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Entries::new());
            }
            Err(error) => return Err(failed(error)),
        };
        if mode & 0o077 != 0 {
            return Err(CliError::usage(format!("{shown} can be read by others (mode {mode:03o})")).with_hint(
                format!("if nobody has seen it, run 'chmod 600 {shown}'; else remove it and log in again"),
            ));
        }
        let text = fs::read(&self.path).map_err(failed)?;
        // The parser's own words could quote a secret.
        serde_json::from_slice(&text).map_err(|_| {
            CliError::usage(format!("{shown} holds no credentials")).with_hint("remove it and log in again")
        })
    }

    fn write(&self, entries: &Entries) -> Result<(), CliError> {
        let text = serde_json::to_vec_pretty(entries).map_err(CliError::unexpected)?;
        write(&self.path, &text, 0o600)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(hidden)",
            Self::KeyFile(_) => "KeyFile(hidden)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_their_owners_and_each_endpoint_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::at(dir.path().join("updraft/credentials.json"));
        assert_eq!(kept.find("http://a/").unwrap(), None);
        kept.insert("http://a/", Credential::Token("one".to_owned())).unwrap();
        kept.insert("http://b/", Credential::KeyFile("{}".to_owned())).unwrap();
        kept.insert("http://a/", Credential::Token("two".to_owned())).unwrap();
        assert_eq!(kept.find("http://a/").unwrap(), Some(Credential::Token("two".to_owned())));
        assert_eq!(fs::metadata(kept.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(kept.path().parent().unwrap()).unwrap().count(), 1, "no draft is left");
        assert!(kept.remove("http://a/").unwrap().is_some() && kept.remove("http://a/").unwrap().is_none());
        assert_eq!(kept.find("http://b/").unwrap(), Some(Credential::KeyFile("{}".to_owned())));
        assert_eq!(format!("{:?}", Credential::Token("one".to_owned())), "Token(hidden)");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_none_is_refused_without_its_contents() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::at(dir.path().join("credentials.json"));
        kept.insert("http://a/", Credential::Token("secret".to_owned())).unwrap();
        fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = kept.find("http://a/").unwrap_err().to_string();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
        fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(kept.path(), "secret").unwrap();
        let error = kept.find("http://a/").unwrap_err().to_string();
        assert!(error.contains("holds no credentials") && !error.contains("secret"), "{error}");
    }
}
