//! Secrets of the container that takes the traffic: variables by their names, files by their paths.
//!
//! Notation, order and sentences are gcloud's (`gcloud run deploy --help`, "--update-secrets").

mod files;

use updraft_api::run::{EnvVar, EnvVarSource, RevisionTemplate, SecretKeySelector, env_var::Values};
use updraft_model::secret::{SecretReference, VersionId};

use super::container::{ingress, ingress_index};
use crate::{
    args::ContainerSecretArgs,
    error::CliError,
    values::{List, Pairs},
};

/// What a secret without a version means, where it may be left out.
const LATEST: &str = "latest";

/// A version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pinned {
    /// Its name, or `projects/{project}/secrets/{name}`.
    secret: String,
    /// A number, an alias or `latest`.
    version: String,
}

/// What the flags ask for.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    others: Others,
    /// Names and paths that go.
    removed: Vec<&'a str>,
    variables: Vec<(&'a str, Pinned)>,
    files: Vec<(&'a str, Pinned)>,
}

/// What becomes of the secrets that are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Stay,
    Go,
}

// === impl Pinned ===

impl Pinned {
    /// Reads what stands after `place=`.
    fn read(place: &str, text: &str) -> Result<Self, CliError> {
        let invalid = |rule: String| CliError::usage(format!("Invalid secret spec '{text}' for [{place}]: {rule}"));
        let in_full = text.starts_with("projects/");
        let (secret, version) = match (text.split_once("/versions/"), text.split_once(':')) {
            (Some((secret, version)), _) if in_full => (secret, version),
            (_, Some((secret, version))) => (secret, version),
            (_, None) if in_full => (text, LATEST),
            (_, None) => {
                return Err(CliError::usage(format!(
                    "No secret version specified for [{place}]. Use {text}:latest to reference the latest version."
                )));
            }
        };
        SecretReference::read("", secret, "own").map_err(|wrong| invalid(wrong.rule))?;
        VersionId::read("", version).map_err(|wrong| invalid(wrong.rule))?;
        Ok(Self { secret: secret.to_owned(), version: version.to_owned() })
    }
}

// === impl Changes ===

impl<'a> Changes<'a> {
    /// What the flags say, once it is known to make sense.
    pub(super) fn read(args: &'a ContainerSecretArgs) -> Result<Self, CliError> {
        let others = if args.clear_secrets || !args.set_secrets.is_empty() { Others::Go } else { Others::Stay };
        let removed = args.remove_secrets.iter().flat_map(|List(list)| list).map(|name| name.trim()).collect();
        let mut changes = Self { others, removed, variables: Vec::new(), files: Vec::new() };
        for (place, text) in Pairs::all(&args.set_secrets).chain(Pairs::all(&args.update_secrets)) {
            let (place, pinned) = (place.trim(), Pinned::read(place, text.trim())?);
            let list = if place.starts_with('/') { &mut changes.files } else { &mut changes.variables };
            if place.starts_with('/') && !files::is_place(place) {
                let message = format!("Mount path [{place}] must be in the form /<mountPath>/<path>");
                return Err(CliError::usage(message));
            }
            match list.iter_mut().find(|(other, _)| *other == place) {
                // Of a place that is given twice the later counts.
                Some((_, before)) => *before = pinned,
                None => list.push((place, pinned)),
            }
        }
        Ok(changes)
    }

    fn is_empty(&self) -> bool {
        let is_nothing = self.removed.is_empty() && self.variables.is_empty() && self.files.is_empty();
        is_nothing && self.others == Others::Stay
    }

    /// Takes away what goes. What is to be put again keeps its place, so that asking for what is there changes nothing.
    pub(super) fn take_away(&self, template: &mut RevisionTemplate) {
        if self.is_empty() {
            return;
        }
        let goes = |variable: &EnvVar| match self.others {
            Others::Go => !self.variables.iter().any(|(name, _)| *name == variable.name),
            Others::Stay => self.removed.contains(&variable.name.as_str()),
        };
        ingress(template).env.retain(|variable| !(is_secret(variable) && goes(variable)));
        let at = ingress_index(template);
        match self.others {
            Others::Go => files::keep(template, at, &self.files),
            Others::Stay => {
                for path in self.removed.iter().filter(|path| path.starts_with('/')) {
                    files::remove(template, at, path);
                }
            }
        }
        files::prune(template);
    }

    /// Puts in what comes; `project` is what a secret without one is of.
    pub(super) fn put(&self, template: &mut RevisionTemplate, project: &str) -> Result<(), CliError> {
        for (name, pinned) in &self.variables {
            self::put(&mut ingress(template).env, name, pinned)?;
        }
        let at = ingress_index(template);
        files::put(template, (at, project), &self.files)
    }
}

fn is_secret(variable: &EnvVar) -> bool {
    matches!(variable.values, Some(Values::ValueSource(_)))
}

fn put(env: &mut Vec<EnvVar>, name: &str, pinned: &Pinned) -> Result<(), CliError> {
    let Pinned { secret, version } = pinned.clone();
    let secret_key_ref = Some(SecretKeySelector { secret, version });
    let values = Some(Values::ValueSource(EnvVarSource { secret_key_ref }));
    match env.iter_mut().find(|variable| variable.name == name) {
        Some(variable) if is_secret(variable) => variable.values = values,
        Some(_) => {
            let message = format!(
                "Cannot update environment variable [{name}] to the given type because it has already been set with a \
                 different type."
            );
            return Err(CliError::usage(message).with_hint(format!("add --remove-env-vars {name}")));
        }
        None => env.push(EnvVar { name: name.to_owned(), values }),
    }
    Ok(())
}
