//! Names of resources, their rules, and the host names made of them.
//!
//! Sources: Cloud Run Admin API v2 (`serviceId`, `RevisionTemplate.revision`), RFC 1123 for labels.

use std::{fmt, str::FromStr};

use crate::error::{Error, Violation};

/// `projects/{project}/locations/{location}`. `project` is always the id, never the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Parent {
    /// The project's id.
    pub project: String,
    /// The location's id, such as `us-central1`.
    pub location: String,
}

/// What has an id of its own in a place, runs instances and keeps a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Collection {
    /// Services: their instances take requests.
    #[default]
    Services,
    /// Worker pools: services without a URL.
    WorkerPools,
    /// Jobs, by this only where it makes no difference what one is, as for logs; else see [`crate::job::JobName`].
    Jobs,
}

/// `projects/{project}/locations/{location}/services/{service}`, or the same of a worker pool, which is a service that
/// nobody calls: what is said of services holds for both, where it is not about requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Project and location.
    pub parent: Parent,
    /// What it is.
    pub collection: Collection,
    /// The service's id.
    pub service: String,
}

/// `projects/{project}/locations/{location}/services/{service}/revisions/{revision}`, or of a worker pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevisionName {
    /// The service it belongs to.
    pub service: ServiceName,
    /// The revision's id; begins with the service's id and a hyphen.
    pub revision: String,
}

/// What code in an instance calls the API.
pub const INTERNAL_HOST: &str = "updraft.internal";
/// The longest service id, in characters.
pub const SERVICE_ID_MAX: usize = 49;
/// The longest DNS label, in characters (RFC 1035).
pub const LABEL_MAX: usize = 63;
/// The longest DNS name, in characters (RFC 1035).
pub const DOMAIN_MAX: usize = 253;

// === impl Parent ===

impl Parent {
    /// `projects/{project}/locations/{location}`.
    pub fn new(project: impl Into<String>, location: impl Into<String>) -> Self {
        Self { project: project.into(), location: location.into() }
    }

    /// The service `id` here.
    pub fn service(&self, id: impl Into<String>) -> ServiceName {
        self.resource(Collection::Services, id)
    }

    /// The worker pool `id` here.
    pub fn worker_pool(&self, id: impl Into<String>) -> ServiceName {
        self.resource(Collection::WorkerPools, id)
    }

    /// The service, worker pool or job `id` here.
    pub fn resource(&self, collection: Collection, id: impl Into<String>) -> ServiceName {
        ServiceName { parent: self.clone(), collection, service: id.into() }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/locations/{}", self.project, self.location)
    }
}

impl FromStr for Parent {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match segments(name)[..] {
            ["projects", project, "locations", location] => Ok(Self::new(project, location)),
            _ => Err(malformed("parent", name, "projects/{project}/locations/{location}")),
        }
    }
}

// === impl Collection ===

impl Collection {
    const EVERY: [Self; 3] = [Self::Services, Self::WorkerPools, Self::Jobs];

    /// As it is written in names.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::WorkerPools => "workerPools",
            Self::Jobs => "jobs",
        }
    }

    /// The one that is written so, if there is one.
    pub fn from_segment(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|one| one.segment() == text)
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::WorkerPools => "worker pool",
            Self::Jobs => "job",
        }
    }
}

// === impl ServiceName ===

impl ServiceName {
    /// The revision `id` of this service.
    pub fn revision(&self, id: impl Into<String>) -> RevisionName {
        RevisionName { service: self.clone(), revision: id.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.parent, self.collection.segment(), self.service)
    }
}

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match segments(name)[..] {
            ["projects", project, "locations", location, segment, service]
                if let Some(collection) = Collection::from_segment(segment) =>
            {
                Ok(Parent::new(project, location).resource(collection, service))
            }
            _ => Err(malformed("name", name, "projects/{project}/locations/{location}/services/{service}")),
        }
    }
}

// === impl RevisionName ===

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/revisions/{}", self.service, self.revision)
    }
}

impl FromStr for RevisionName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match segments(name)[..] {
            ["projects", project, "locations", location, segment @ ("services" | "workerPools"), service, "revisions", revision] => {
                let collection = Collection::from_segment(segment).unwrap_or_default();
                Ok(Parent::new(project, location).resource(collection, service).revision(revision))
            }
            _ => Err(malformed(
                "name",
                name,
                "projects/{project}/locations/{location}/services/{service}/revisions/{revision}",
            )),
        }
    }
}

// === rules ===

/// A project id: 6 to 30 of `[a-z0-9-]`, a letter first, no hyphen last; `google.com:`-like domain
/// prefixes are accepted as Google does.
pub fn check_project_id(field: &str, id: &str) -> Result<(), Violation> {
    let (domain, plain) = id.split_once(':').map_or((None, id), |(domain, plain)| (Some(domain), plain));
    let is_domain =
        |domain: &str| domain.len() <= DOMAIN_MAX && domain.contains('.') && domain.split('.').all(is_label);
    let is_plain = (6..=30).contains(&plain.len()) && is_label(plain) && starts_with_letter(plain);
    if is_plain && domain.is_none_or(is_domain) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "project id must be 6 to 30 lowercase letters, digits or hyphens, begin with a letter and not end with a hyphen, got '{id}'"
        ),
    ))
}

/// A service id: at most 49 of `[a-z0-9-]`, a letter first, no hyphen last.
pub fn check_service_id(field: &str, id: &str) -> Result<(), Violation> {
    // Three hyphens part a tag from its service in a host name: the service `a---b` would answer for the tag
    // `a` of `b`.
    if id.contains("---") {
        return Err(Violation::new(field, format!("must not have three hyphens in a row, got '{id}'")));
    }
    if !id.is_empty() && id.len() <= SERVICE_ID_MAX && is_label(id) && starts_with_letter(id) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "only lowercase, digits, and hyphens; must begin with letter, and cannot end with hyphen; must be less than 50 characters, got '{id}'"
        ),
    ))
}

/// A location id, such as `us-central1`: a DNS label.
pub fn check_location_id(field: &str, id: &str) -> Result<(), Violation> {
    if is_label(id) {
        return Ok(());
    }
    Err(Violation::new(field, format!("must be the id of a location, got '{id}'")))
}

/// A revision id: `{service}-…`, at most 63 of `[a-z0-9-]`, no hyphen last.
pub fn check_revision_id(field: &str, service: &str, id: &str) -> Result<(), Violation> {
    let prefixed = id.strip_prefix(service).and_then(|rest| rest.strip_prefix('-'));
    if id.len() <= LABEL_MAX && is_label(id) && prefixed.is_some_and(|rest| !rest.is_empty()) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "must begin with '{service}-', have only lowercase letters, digits and hyphens, not end with a hyphen and be at most 63 characters long, got '{id}'"
        ),
    ))
}

/// A traffic tag: at most 46 of `[a-z0-9-]`, a letter or digit first and last.
pub fn check_tag(field: &str, tag: &str) -> Result<(), Violation> {
    if !tag.is_empty() && tag.len() <= 46 && is_label(tag) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "tag must be at most 46 lowercase letters, digits or hyphens and not begin or end with a hyphen, got '{tag}'"
        ),
    ))
}

/// The e-mail of a service account, such as `name@project.iam.gserviceaccount.com`: one `@`, a name of
/// `[a-z0-9.-]` before it, a DNS name after it.
pub fn check_service_account(field: &str, email: &str) -> Result<(), Violation> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    let is_email = email.split_once('@').is_some_and(|(name, domain)| {
        (1..=LABEL_MAX).contains(&name.len())
            && name.bytes().all(fits)
            && domain.len() <= DOMAIN_MAX
            && domain.contains('.')
            && domain.split('.').all(is_label)
    });
    if is_email {
        return Ok(());
    }
    Err(Violation::new(field, format!("must be the e-mail of a service account, got '{email}'")))
}

/// `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63 characters (RFC 1123).
pub fn is_label(text: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_MAX
        && bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
        && bytes.iter().all(|&c| edge(c) || c == b'-')
}

pub(crate) fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// `{service}-{counter, 5 digits}-{consonant vowel consonant}`, shortened to 63 characters. `seed`
/// picks the letters.
pub fn generated_revision_id(service: &str, counter: u64, seed: u64) -> String {
    const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwxz";
    const VOWELS: &[u8] = b"aeiou";
    let pick = |set: &[u8], n: u64| char::from(set[usize::try_from(n % set.len() as u64).unwrap_or(0)]);
    let suffix =
        format!("{counter:05}-{}{}{}", pick(CONSONANTS, seed), pick(VOWELS, seed / 20), pick(CONSONANTS, seed / 100));
    let room = LABEL_MAX - suffix.len() - 1;
    format!("{}-{suffix}", &service[..service.len().min(room)])
}

/// The number of a project: 12 digits, derived from its id, stable for ever.
pub fn project_number(project: &str) -> u64 {
    const FLOOR: u64 = 100_000_000_000;
    FLOOR + fnv1a(project.as_bytes()) % (9 * FLOOR)
}

/// FNV-1a, 64 bit: a hash that is written down, so that what is derived from it never changes.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) fn segments(name: &str) -> Vec<&str> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) { Vec::new() } else { parts }
}

pub(crate) fn malformed(field: &str, name: &str, form: &str) -> Error {
    Error::invalid_field(field, format!("must have the form {form}, got '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_as_google_writes_them() {
        let text = "projects/demo-project/locations/us-central1/services/hello/revisions/hello-00001-abc";
        let name: RevisionName = text.parse().expect("well formed");
        assert_eq!(name.to_string(), text);
        assert_eq!(name.service.parent.project, "demo-project");
        assert!("projects//locations/x/services/y".parse::<ServiceName>().is_err());
    }

    #[test]
    fn service_ids_follow_the_documented_rule() {
        assert!(check_service_id("service_id", "t---ws").is_err(), "would be the tag t of ws");
        for good in ["a", "hello", "a-1", "a--b", &"a".repeat(49)] {
            assert!(check_service_id("service_id", good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "a-", "-a", "A", "a_b", &"a".repeat(50)] {
            assert!(check_service_id("service_id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn project_ids_may_have_a_domain_and_nothing_else_before_them() {
        for good in ["demo-project", "a23456", "google.com:demo-project"] {
            assert!(check_project_id("f", good).is_ok(), "{good}");
        }
        for bad in [
            "a2345",
            "1demo-project",
            "demo-project-",
            "Demo-project",
            ":demo-project",
            "google:demo-project",
            "../..:demo-project",
            "a.b:c.d:demo-project",
            "a b.c:demo-project",
        ] {
            assert!(check_project_id("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn revision_ids_begin_with_their_service() {
        assert!(check_revision_id("f", "hello", "hello-v2").is_ok());
        for bad in ["hello", "hello-", "other-v2", "helloX-1", &format!("hello-{}", "a".repeat(60))] {
            assert!(check_revision_id("f", "hello", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_account_is_an_email() {
        for good in ["1-compute@developer.gserviceaccount.com", "runner@demo-project.iam.gserviceaccount.com", "a@b.c"]
        {
            assert!(check_service_account("f", good).is_ok(), "{good}");
        }
        for bad in ["", "runner", "@b.c", "a@", "a@b", "A@b.c", "a@b..c", "a b@c.d", "a@b@c.d", "a@b.c/", "a@-b.c"] {
            assert!(check_service_account("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_revision_ids_count_and_fit_a_label() {
        assert_eq!(generated_revision_id("hello", 1, 0), "hello-00001-bab");
        let long = generated_revision_id(&"s".repeat(63), 123, 7);
        assert_eq!(long.len(), LABEL_MAX);
        assert!(is_label(&long));
    }

    #[test]
    fn project_numbers_have_twelve_digits_and_never_change() {
        assert_eq!(project_number("demo-project"), project_number("demo-project"));
        for id in ["demo-project", "another-one", "x-y-z-1"] {
            assert_eq!(project_number(id).to_string().len(), 12, "{id}");
        }
    }
}
