//! The host names and URLs of a service and of its tags.
//!
//! Source: Cloud Run's "Service URLs": a deterministic form, listed first and only where its first label
//! fits into DNS, and a form with a hash. The domain is ours to choose.

use updraft_model::{
    ServiceName,
    job::ExecutionName,
    name::{LABEL_MAX, fnv1a, project_number},
};

/// How URLs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlConfig {
    /// `http` or `https`.
    pub scheme: String,
    /// The domain under which services are served, such as `run.localhost`.
    pub domain: String,
    /// The port a client has to use; left out of URLs where it is the scheme's own.
    pub port: u16,
}

// === impl UrlConfig ===

impl UrlConfig {
    /// Where the log of an execution of a job can be read.
    pub fn log_uri(&self, name: &ExecutionName) -> String {
        let Self { scheme, domain, port } = self;
        let (job, parent) = (&name.job.job, &name.job.parent);
        format!(
            "{scheme}://{domain}:{port}/updraft/v1/logs?project={}&location={}&job={job}&execution={}",
            parent.project, parent.location, name.execution
        )
    }
}

/// The short codes of regions as Google uses them in URLs.
const REGION_CODES: [(&str, &str); 12] = [
    ("asia-east1", "de"),
    ("asia-northeast1", "an"),
    ("asia-southeast1", "as"),
    ("australia-southeast1", "ts"),
    ("europe-north1", "lz"),
    ("europe-west1", "ew"),
    ("europe-west4", "ez"),
    ("southamerica-west1", "tl"),
    ("us-central1", "uc"),
    ("us-east1", "ue"),
    ("us-east4", "uk"),
    ("us-west1", "uw"),
];

/// The hosts of a service, the deterministic one first.
pub fn service_hosts(service: &ServiceName, domain: &str) -> Vec<String> {
    hosts("", service, domain)
}

/// The hosts of a tag of a service, the deterministic one first. Empty when no form fits into DNS.
pub fn tag_hosts(service: &ServiceName, tag: &str, domain: &str) -> Vec<String> {
    hosts(&format!("{tag}---"), service, domain)
}

fn hosts(prefix: &str, service: &ServiceName, domain: &str) -> Vec<String> {
    let (id, parent) = (&service.service, &service.parent);
    let deterministic = format!("{prefix}{id}-{}", project_number(&parent.project));
    let hashed = format!("{prefix}{id}-{}-{}", place_hash(service), region_code(&parent.location));
    [(deterministic, format!(".{}.{domain}", parent.location)), (hashed, format!(".{domain}"))]
        .into_iter()
        .filter(|(label, _)| label.len() <= LABEL_MAX)
        .map(|(label, rest)| label + &rest)
        .collect()
}

/// Ten characters that stand for project and region: the same for all services of a place.
fn place_hash(service: &ServiceName) -> String {
    letters(fnv1a(service.parent.to_string().as_bytes()), 10)
}

/// Google's code of a region, or two letters derived from its name.
fn region_code(location: &str) -> String {
    match REGION_CODES.iter().find(|(region, _)| *region == location) {
        Some((_, code)) => (*code).to_owned(),
        None => letters(fnv1a(location.as_bytes()) >> 16, 2),
    }
}

fn letters(mut hash: u64, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(count);
    for place in 0..count {
        // A code of a region never begins with a digit, nor does a hash.
        let radix = if place == 0 { 26 } else { 32 };
        text.push(char::from(ALPHABET[usize::try_from(hash % radix).unwrap_or_default()]));
        hash /= radix;
    }
    text
}

// === impl UrlConfig ===

impl UrlConfig {
    /// The URL of `host`.
    pub fn url(&self, host: &str) -> String {
        match (self.scheme.as_str(), self.port) {
            ("http", 80) | ("https", 443) => format!("{}://{host}", self.scheme),
            (scheme, port) => format!("{scheme}://{host}:{port}"),
        }
    }

    /// The URLs of a service, the deterministic one first.
    pub fn service_urls(&self, service: &ServiceName) -> Vec<String> {
        service_hosts(service, &self.domain).iter().map(|host| self.url(host)).collect()
    }

    /// The URL of a tag: its first.
    pub fn tag_url(&self, service: &ServiceName, tag: &str) -> Option<String> {
        tag_hosts(service, tag, &self.domain).first().map(|host| self.url(host))
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::Parent;

    use super::*;

    fn urls() -> UrlConfig {
        UrlConfig { scheme: "http".to_owned(), domain: "run.localhost".to_owned(), port: 8080 }
    }

    #[test]
    fn a_service_has_a_deterministic_url_and_one_with_a_hash() {
        let service = Parent::new("demo-project", "us-central1").service("hello");
        let [deterministic, hashed] = &urls().service_urls(&service)[..] else { panic!("two forms") };
        let number = project_number("demo-project");
        assert_eq!(deterministic, &format!("http://hello-{number}.us-central1.run.localhost:8080"));
        assert!(hashed.starts_with("http://hello-") && hashed.ends_with("-uc.run.localhost:8080"), "{hashed}");
        let tag = urls().tag_url(&service, "blue").expect("fits");
        assert_eq!(tag, format!("http://blue---hello-{number}.us-central1.run.localhost:8080"));
    }

    #[test]
    fn a_first_label_that_does_not_fit_dns_is_left_out() {
        let service = Parent::new("demo-project", "us-central1").service("s".repeat(49));
        assert_eq!(service_hosts(&service, "x").len(), 2);
        assert_eq!(tag_hosts(&service, "t", "x").len(), 0);
        let service = Parent::new("demo-project", "nowhere-7").service("s".repeat(44));
        for host in tag_hosts(&service, "tt", "x") {
            assert!(host.split('.').next().is_some_and(|label| label.len() <= LABEL_MAX), "{host}");
        }
    }

    #[test]
    fn the_usual_port_is_not_written() {
        let urls = UrlConfig { scheme: "https".to_owned(), port: 443, ..urls() };
        assert_eq!(urls.url("a.b"), "https://a.b");
    }
}
