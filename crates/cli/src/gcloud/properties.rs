//! What gcloud and the client libraries have to know, as values.
//!
//! Sources: gcloud's properties (`gcloud topic configurations`, `gcloud config set --help`), the variables that Google's
//! client libraries and gRPC read.

use updraft_api::around::PREFIXES;

/// A server, as its clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its URL with a slash at the end.
    pub(super) base: String,
    /// The file with the authority that signed its certificate, if it is one of its own.
    pub(super) ca_file: Option<String>,
    pub(super) secret: Secret,
    pub(super) project: String,
    pub(super) region: String,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    /// Not at all.
    None,
    /// By the token in this file. A token itself is written nowhere else.
    File(String),
    /// By the account that is active in gcloud. It looks at none while a property says otherwise, so there is none then.
    Account,
}

/// A property of gcloud; without a value it is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) value: Option<String>,
}

// === impl Property ===

impl Property {
    /// The variable that says the same.
    fn variable(&self) -> String {
        format!("CLOUDSDK_{}_{}", self.section.to_uppercase(), self.key.to_uppercase())
    }
}

// === impl Place ===

impl Place {
    pub(super) fn is_secure(&self) -> bool {
        self.base.starts_with("https://")
    }

    /// Where the API with this prefix is.
    fn api(&self, prefix: &str) -> String {
        match prefix {
            // This API has a path of its own, which an override replaces: with it, paths are Google's.
            "storage" => format!("{}storage/v1/", self.base),
            _ => format!("{}{prefix}/", self.base),
        }
    }
}

/// The properties of the configuration, section by section.
pub(super) fn properties(place: &Place) -> Vec<Property> {
    let of = |section, key, value: Option<&str>| Property { section, key, value: value.map(str::to_owned) };
    let (no_credentials, token_file) = match &place.secret {
        Secret::None => (Some("True"), None),
        Secret::File(file) => (None, Some(file.as_str())),
        Secret::Account => (None, None),
    };
    let mut all = vec![
        of("core", "project", Some(&place.project)),
        of("core", "custom_ca_certs_file", place.ca_file.as_deref()),
        of("auth", "disable_credentials", no_credentials),
        of("auth", "access_token_file", token_file),
        of("run", "region", Some(&place.region)),
        // Both are needed for gcloud to take an override as it is, instead of putting the region before its host.
        of("regional", "endpoint_mode", Some("regional-preferred")),
        of("regional", "endpoint_compatibility", Some("supported")),
    ];
    all.extend(PREFIXES.iter().map(|prefix| of("api_endpoint_overrides", prefix, Some(&place.api(prefix)))));
    all
}

/// The variables that take the place of properties and say something else: gcloud reads them first.
pub(super) fn overruled(properties: &[Property], lookup: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let differs = |property: &&Property| {
        let set = lookup(&property.variable()).filter(|value| !value.is_empty());
        set.is_some_and(|set| property.value.as_deref() != Some(set.as_str()))
    };
    properties.iter().filter(differs).map(Property::variable).collect()
}

/// The same as variables, and what the client libraries read.
///
/// Without a value: what must not be left over from another server.
pub(super) fn variables(place: &Place) -> Vec<(String, Option<String>)> {
    let given = properties(place).into_iter().map(|property| (property.variable(), property.value));
    let own = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let mut all: Vec<(String, Option<String>)> = given.collect();
    all.push(own("GOOGLE_CLOUD_PROJECT", &place.project));
    all.push(own("GOOGLE_CLOUD_LOCATION", &place.region));
    all.push(own("UPDRAFT_ENDPOINT", place.base.trim_end_matches('/')));
    all.push(own("UPDRAFT_PROJECT", &place.project));
    all.push(own("UPDRAFT_REGION", &place.region));
    // A token of another server's must not reach this one, and one that is set beside a file is a contradiction.
    all.push(("UPDRAFT_TOKEN".to_owned(), None));
    let file = match &place.secret {
        Secret::File(file) => Some(file.clone()),
        _ => None,
    };
    all.push(("UPDRAFT_TOKEN_FILE".to_owned(), file));
    if place.ca_file.is_none() {
        all.push(("UPDRAFT_CA_FILE".to_owned(), None));
    }
    if let Some(file) = &place.ca_file {
        // Our own client, gRPC in every language, Node. Python's and Go's take theirs as an argument.
        for name in ["UPDRAFT_CA_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NODE_EXTRA_CA_CERTS"] {
            all.push(own(name, file));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            base: "https://127.0.0.1:8443/".to_owned(),
            ca_file: Some("/c/ca.pem".to_owned()),
            secret: Secret::File("/c/token".to_owned()),
            project: "demo-project".to_owned(),
            region: "us-central1".to_owned(),
        }
    }

    #[test]
    fn every_api_has_its_override_which_ends_in_a_slash() {
        let all = properties(&place());
        let overrides: Vec<_> = all.iter().filter(|property| property.section == "api_endpoint_overrides").collect();
        assert_eq!(overrides.len(), PREFIXES.len());
        for property in overrides {
            let value = property.value.as_deref().expect("set");
            assert!(value.starts_with("https://127.0.0.1:8443/") && value.ends_with('/'), "{value}");
        }
        let storage = all.iter().find(|property| property.key == "storage").expect("there");
        assert_eq!(storage.value.as_deref(), Some("https://127.0.0.1:8443/storage/v1/"));
    }

    #[test]
    fn what_does_not_hold_any_more_is_taken_out() {
        let value = |place: &Place, key: &str| {
            let all = properties(place);
            all.into_iter().find(|property| property.key == key).expect("always there").value
        };
        let open = Place { secret: Secret::None, ca_file: None, ..place() };
        assert_eq!(value(&place(), "disable_credentials"), None);
        assert_eq!(value(&place(), "access_token_file").as_deref(), Some("/c/token"));
        assert_eq!(value(&open, "disable_credentials").as_deref(), Some("True"));
        assert_eq!((value(&open, "access_token_file"), value(&open, "custom_ca_certs_file")), (None, None));
        let account = Place { secret: Secret::Account, ..place() };
        assert_eq!((value(&account, "access_token_file"), value(&account, "disable_credentials")), (None, None));
    }

    #[test]
    fn variables_are_named_as_gcloud_reads_them() {
        let all = variables(&place());
        let value = |name: &str| all.iter().find(|(given, _)| given == name).and_then(|(_, value)| value.as_deref());
        assert_eq!(value("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"), Some("https://127.0.0.1:8443/run/"));
        assert_eq!(value("CLOUDSDK_CORE_PROJECT"), Some("demo-project"));
        assert_eq!(value("CLOUDSDK_REGIONAL_ENDPOINT_MODE"), Some("regional-preferred"));
        assert_eq!(value("UPDRAFT_ENDPOINT"), Some("https://127.0.0.1:8443"));
        assert_eq!(value("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), Some("/c/ca.pem"));
        assert_eq!(value("CLOUDSDK_AUTH_DISABLE_CREDENTIALS"), None);
        assert!(
            all.iter().any(|(name, _)| name == "CLOUDSDK_AUTH_DISABLE_CREDENTIALS"),
            "left over from another server"
        );
    }

    #[test]
    fn variables_that_say_something_else_are_named() {
        let lookup = |name: &str| {
            let set = match name {
                "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE" => "/etc/ssl/certs/ca-certificates.crt",
                "CLOUDSDK_AUTH_DISABLE_CREDENTIALS" => "True",
                "CLOUDSDK_CORE_PROJECT" => "demo-project",
                "CLOUDSDK_RUN_REGION" => "",
                _ => return None,
            };
            Some(set.to_owned())
        };
        assert_eq!(
            overruled(&properties(&place()), lookup),
            ["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS"]
        );
    }
}
