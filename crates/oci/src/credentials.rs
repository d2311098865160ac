//! Docker's credential file, `config.json`.
//!
//! Read are `auths` with `auth` (base64 of `user:password`), `username` and `password`, or
//! `registrytoken`. Credential helpers (`credHelpers`, `credsStore`) are programs; they are not run.

use std::{collections::HashMap, fmt, fs, io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use serde::Deserialize;

use crate::{
    error::ImageError,
    reference::{DOCKER_HUB, Reference},
};

/// What to show a registry.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) login: Login,
    /// Why there may be better ones that were not used: a hint for whoever is refused.
    pub(crate) hint: Option<&'static str>,
}

/// Who we are to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Anonymous,
    /// User and password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    registrytoken: Option<String>,
    identitytoken: Option<String>,
}

const HELPER: &str = "the credential file leaves this registry to a credential helper, and helpers are not supported: \
                      run `docker login` without one, so that `auths` holds the credentials";
const IDENTITY: &str = "the credential file holds an identity token for this registry, which is not supported";

// === impl Credentials ===

impl Credentials {
    /// The credentials for `reference`; none when there is no file or it does not know the registry.
    /// The file is read each time, so a `docker login` counts at once.
    pub(crate) fn find(path: Option<&Path>, reference: &Reference) -> Result<Self, ImageError> {
        let none = Self { login: Login::Anonymous, hint: None };
        let Some(path) = path else { return Ok(none) };
        let error = |source| ImageError::host(format!("read credential file {}", path.display()), source);
        let text = match fs::read(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(none),
            other => other.map_err(error)?,
        };
        let file: File = serde_json::from_slice(&text).map_err(|e| error(e.into()))?;
        file.lookup(reference).map_err(|rule| error(io::Error::other(rule)))
    }
}

// === impl Login ===

impl Login {
    /// The header that shows user and password.
    pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(..) => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

// === impl File ===

impl File {
    fn lookup(&self, reference: &Reference) -> Result<Credentials, String> {
        let whole = format!("{}/{}", reference.registry(), reference.repository());
        let covers = |key: &str| {
            let key = canonical(key);
            (whole == key || whole.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('/')))
                .then_some(key.len())
        };
        // The longest key is the most particular: some tools keep credentials per repository.
        let best = self.auths.iter().filter_map(|(key, entry)| Some((covers(key)?, entry))).max_by_key(|(len, _)| *len);
        if let Some((_, entry)) = best
            && let Some(auth) = entry.auth()?
        {
            return Ok(Credentials { login: auth, hint: None });
        }
        let helper = self.creds_store.is_some() || self.cred_helpers.keys().any(|key| covers(key).is_some());
        let identity = best.is_some_and(|(_, entry)| entry.identitytoken.is_some());
        let hint = if identity { Some(IDENTITY) } else { helper.then_some(HELPER) };
        Ok(Credentials { login: Login::Anonymous, hint })
    }
}

// === impl Entry ===

impl Entry {
    fn auth(&self) -> Result<Option<Login>, String> {
        if let Some(token) = self.registrytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Login::Bearer(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Login::Basic(user.clone(), password.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        // The value itself is a secret: the message must not show it.
        let plain = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match plain.as_deref().and_then(|plain| plain.split_once(':')) {
            // Older clients padded the password with NULs.
            Some((user, password)) => {
                let password = password.trim_matches('\0').to_owned();
                Ok(Some(Login::Basic(user.to_owned(), password)))
            }
            None => Err("an `auth` is not the base64 form of user:password".to_owned()),
        }
    }
}

/// `https://index.docker.io/v1/` and its relatives as `registry[/repository]`.
fn canonical(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DOCKER_HUB } else { host };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, reference: &str) -> Credentials {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("config.json");
        fs::write(&path, json).expect("write");
        Credentials::find(Some(&path), &reference.parse().expect("reference")).expect("credentials")
    }

    fn basic(user: &str, password: &str) -> Login {
        Login::Basic(user.to_owned(), password.to_owned())
    }

    #[test]
    fn credentials_are_found_by_registry_and_by_repository() {
        // "u:p" and "org:q".
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"quay.io":{"auth":"dTpw"},
            "quay.io/org":{"auth":"b3JnOnE="},"tok.io":{"registrytoken":"t"}}}"#;
        assert_eq!(find(json, "nginx").login, basic("u", "p"));
        assert_eq!(find(json, "quay.io/x/y").login, basic("u", "p"));
        assert_eq!(find(json, "quay.io/org/y").login, basic("org", "q"));
        assert_eq!(find(json, "quay.io/organ/y").login, basic("u", "p"));
        assert_eq!(find(json, "tok.io/a").login, Login::Bearer("t".to_owned()));
        assert_eq!(find(json, "ghcr.io/a/b").login, Login::Anonymous);
    }

    #[test]
    fn a_helper_is_not_run_but_named() {
        let credentials = find(r#"{"auths":{"ghcr.io":{}},"credHelpers":{"ghcr.io":"secretservice"}}"#, "ghcr.io/a/b");
        assert_eq!(credentials.login, Login::Anonymous);
        assert_eq!(credentials.hint, Some(HELPER));
    }

    #[test]
    fn a_broken_file_is_an_error_and_a_missing_one_is_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("config.json");
        let reference: Reference = "ghcr.io/a/b".parse().expect("reference");
        assert!(Credentials::find(Some(&path), &reference).is_ok());
        for text in ["{", r#"{"auths":{"ghcr.io":{"auth":"secret!"}}}"#] {
            fs::write(&path, text).expect("write");
            let error = Credentials::find(Some(&path), &reference).expect_err(text);
            assert!(matches!(error, ImageError::Host { .. }));
            assert!(!format!("{error:?}").contains("secret!"));
        }
    }
}
