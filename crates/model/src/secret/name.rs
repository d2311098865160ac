//! Names of secrets and versions.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::validation::{check_id, is_alias};
use crate::{
    error::{Error, Violation},
    name::{Parent, project_number},
};

/// The location, in keys, of a secret that is of no region.
pub const GLOBAL: &str = "global";
/// What always means the version that was added last.
const LATEST: &str = "latest";

/// `projects/{project}/secrets/{secret}`, or `projects/{project}/locations/{location}/secrets/{secret}` of a region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName {
    /// Project and location; [`GLOBAL`] for a secret of no region.
    pub parent: Parent,
    /// The secret's id.
    pub secret: String,
}

/// `{secret}/versions/{version}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionName {
    /// The secret.
    pub secret: SecretName,
    /// Which of its versions.
    pub version: VersionId,
}

/// Which version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionId {
    /// The one that was added last, whatever its state.
    Latest,
    /// By its number.
    Number(u64),
    /// By a name that the secret gives it.
    Alias(String),
}

/// A secret as a container's specification names it: `{secret}` of its own project, or
/// `projects/{project}/secrets/{secret}`. Those of regions cannot be named there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretReference {
    /// The project, by id or number.
    pub project: String,
    /// The secret's id.
    pub secret: String,
}

// === impl SecretName ===

impl SecretName {
    /// The secret of no region with this id.
    pub fn global(project: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { parent: Parent::new(project, GLOBAL), secret: secret.into() }
    }

    /// A version of it.
    pub fn version(&self, version: VersionId) -> VersionName {
        VersionName { secret: self.clone(), version }
    }

    /// The name with the project's number, as Secret Manager writes it in answers and as conditions see it.
    pub fn numbered(&self) -> Self {
        let project = project_number(&self.parent.project).to_string();
        Self { parent: Parent::new(project, &self.parent.location), secret: self.secret.clone() }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parent { project, location } = &self.parent;
        match location.as_str() {
            GLOBAL => write!(f, "projects/{project}/secrets/{}", self.secret),
            _ => write!(f, "{}/secrets/{}", self.parent, self.secret),
        }
    }
}

impl FromStr for SecretName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let read = match name.split('/').collect::<Vec<_>>()[..] {
            ["projects", project, "secrets", secret] if !project.is_empty() => Some(Self::global(project, secret)),
            // A region of that name would be the same key as no region.
            ["projects", project, "locations", location, "secrets", secret]
                if !project.is_empty() && !location.is_empty() && location != GLOBAL =>
            {
                Some(Self { parent: Parent::new(project, location), secret: secret.to_owned() })
            }
            _ => None,
        };
        let rule = || {
            let forms =
                "projects/{project}/secrets/{secret} or projects/{project}/locations/{location}/secrets/{secret}";
            Error::invalid_field("name", format!("must have the form {forms}, got '{name}'"))
        };
        let read = read.ok_or_else(rule)?;
        check_id("name", &read.secret).map_err(|violation| Error::invalid(vec![violation]))?;
        Ok(read)
    }
}

// === impl VersionName ===

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.secret, self.version)
    }
}

impl FromStr for VersionName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let malformed = || {
            let rule = format!(
                "must have the form projects/{{project}}/secrets/{{secret}}/versions/{{version}}, got '{name}'"
            );
            Error::invalid_field("name", rule)
        };
        let (secret, version) = name.rsplit_once("/versions/").ok_or_else(malformed)?;
        let version = VersionId::read("name", version).map_err(|violation| Error::invalid(vec![violation]))?;
        Ok(Self { secret: secret.parse()?, version })
    }
}

// === impl VersionId ===

impl VersionId {
    /// Reads `latest`, a number or an alias.
    ///
    /// # Errors
    /// The violation.
    pub fn read(field: &str, text: &str) -> Result<Self, Violation> {
        let number = || text.parse().ok().filter(|number| *number > 0 && !text.starts_with(['+', '0']));
        match text {
            LATEST => Ok(Self::Latest),
            alias if is_alias(alias) => Ok(Self::Alias(alias.to_owned())),
            _ => number().map(Self::Number).ok_or_else(|| {
                Violation::new(field, format!("a version must be a number from 1, 'latest' or an alias, got '{text}'"))
            }),
        }
    }

    /// The number it means, of a secret that gave out the numbers up to `last`; `None` when it means none. What is at the
    /// number is not known here.
    pub fn resolve(&self, last: u64, aliases: &BTreeMap<String, u64>) -> Option<u64> {
        match self {
            Self::Latest => Some(last).filter(|last| *last > 0),
            Self::Number(number) => Some(*number).filter(|number| *number <= last),
            Self::Alias(alias) => aliases.get(alias).copied(),
        }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Number(number) => number.fmt(f),
            Self::Alias(alias) => f.write_str(alias),
        }
    }
}

// === impl SecretReference ===

impl SecretReference {
    /// What `text` means in a specification of the project `own`.
    ///
    /// # Errors
    /// The violation.
    pub fn read(field: &str, text: &str, own: &str) -> Result<Self, Violation> {
        let (project, secret) = match text.split('/').collect::<Vec<_>>()[..] {
            [secret] => (own, secret),
            ["projects", project, "secrets", secret] if !project.is_empty() => (project, secret),
            _ => {
                let rule = format!("must be {{secret}} or projects/{{project}}/secrets/{{secret}}, got '{text}'");
                return Err(Violation::new(field, rule));
            }
        };
        check_id(field, secret)?;
        Ok(Self { project: project.to_owned(), secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_as_google_writes_them() {
        for text in ["projects/p/secrets/Db_pass-1", "projects/p/locations/us-central1/secrets/x"] {
            assert_eq!(text.parse::<SecretName>().expect(text).to_string(), text);
            for version in ["latest", "7", "blue"] {
                let text = format!("{text}/versions/{version}");
                assert_eq!(text.parse::<VersionName>().expect(&text).to_string(), text);
            }
        }
        for bad in [
            "",
            "projects/p/secrets/",
            "projects//secrets/x",
            "projects/p/secrets/a.b",
            "projects/p/secrets/x/versions",
            "projects/p/locations/global/secrets/x",
            "projects/p/locations//secrets/x",
        ] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
        for bad in ["0", "-1", "+1", "01", "", "a b", "NEW", "1.5", "99999999999999999999999"] {
            assert!(format!("projects/p/secrets/x/versions/{bad}").parse::<VersionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_have_the_number_of_the_project() {
        let name = SecretName::global("demo-project", "x").numbered().to_string();
        assert_eq!(name, format!("projects/{}/secrets/x", project_number("demo-project")));
    }

    #[test]
    fn latest_is_the_version_that_was_added_last_and_an_alias_what_the_secret_says() {
        let aliases = BTreeMap::from([("blue".to_owned(), 1)]);
        for (text, last, number) in [
            ("latest", 3, Some(3)),
            ("latest", 0, None),
            ("2", 3, Some(2)),
            ("4", 3, None),
            ("blue", 3, Some(1)),
            ("green", 3, None),
        ] {
            let version = VersionId::read("name", text).expect("well formed");
            assert_eq!(version.resolve(last, &aliases), number, "{text} of {last}");
        }
    }

    #[test]
    fn a_reference_is_of_its_own_project_unless_it_says_another() {
        let read = |text| SecretReference::read("f", text, "own-project").map(|it| (it.project, it.secret));
        assert_eq!(read("x"), Ok(("own-project".to_owned(), "x".to_owned())));
        assert_eq!(read("projects/123/secrets/x"), Ok(("123".to_owned(), "x".to_owned())));
        for bad in ["", "a/b", "projects/p/secrets/", "projects/p/locations/l/secrets/x", "a.b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
