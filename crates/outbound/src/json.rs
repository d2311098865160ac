//! Documents: keys and discovery of identity providers.

use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, Request, within},
    error::FetchError,
    policy::Peer,
};

/// A document is some kilobytes; whoever takes longer is not to be waited for.
const TIME: Duration = Duration::from_secs(20);

/// A document, whose it is, and how long it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    /// What it says.
    pub value: T,
    /// How much longer it may be kept, if who sent it says so; zero: not at all. Not bounded here: an hour is a good
    /// upper and a minute a good lower bound for keys.
    pub max_age: Option<Duration>,
    /// Who answered, after redirects: whoever fetches what the document names says so ([`Request::sent_by`]).
    pub peer: Peer,
}

// === impl Client ===

impl Client {
    /// The JSON that answers `request`, of at most `limit` bytes, in at most 20 seconds, redirects included.
    ///
    /// # Errors
    /// Every [`FetchError`]; none of them shows what came.
    pub async fn get_json<T>(&self, request: Request, limit: usize) -> Result<Document<T>, FetchError>
    where
        T: DeserializeOwned,
    {
        within(TIME, self.document(request, limit)).await?
    }

    async fn document<T: DeserializeOwned>(&self, request: Request, limit: usize) -> Result<Document<T>, FetchError> {
        let request = request.header(ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.send(request).await?;
        let (peer, status) = (response.peer().clone(), response.status());
        if !status.is_success() {
            return Err(FetchError::Status { peer: peer.to_string(), status });
        }
        let max_age = max_age(response.headers());
        let body = response.read(limit).await?;
        let value = serde_json::from_slice(&body).map_err(|error| FetchError::NotJson {
            peer: peer.to_string(),
            line: error.line(),
            column: error.column(),
        })?;
        Ok(Document { value, max_age, peer })
    }
}

/// What is left of `max-age` after `Age` (RFC 9111, 5.1 and 5.2.2).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = words(headers, CACHE_CONTROL);
    let is = |wanted: &[&str]| directives.iter().any(|directive| wanted.contains(&directive.as_str()));
    if is(&["no-store", "no-cache"]) {
        return Some(Duration::ZERO);
    }
    let seconds = |text: &str| text.trim_matches('"').parse::<u64>().ok();
    let fresh = directives.iter().find_map(|directive| seconds(directive.strip_prefix("max-age=")?))?;
    let age = words(headers, AGE).first().and_then(|age| seconds(age)).unwrap_or(0);
    Some(Duration::from_secs(fresh.saturating_sub(age)))
}

fn words(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Allow, Config, Policy};

    #[tokio::test]
    async fn a_document_that_does_not_come_is_given_up() {
        // Connections are made by the kernel, and nobody takes them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}/keys", silent.local_addr().expect("it is bound"));
        let policy = Policy { allow: vec![Allow::loopback()], ..Policy::default() };
        let client = Client::new(Config { policy, ..Config::default() });
        let time = Duration::from_millis(20);
        let outcome = within(time, client.document::<serde_json::Value>(Request::get(url), 1000)).await;
        assert!(matches!(outcome, Err(FetchError::TooSlow(said)) if said == time), "{outcome:?}");
    }

    #[test]
    fn a_document_says_how_long_it_may_be_kept() {
        for (headers, seconds) in [
            (&[][..], None),
            (&[("cache-control", "public, max-age=19438, must-revalidate, no-transform")], Some(19438)),
            (&[("cache-control", "Max-Age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=600"), ("age", "100")], Some(500)),
            (&[("cache-control", "max-age=600"), ("age", "700")], Some(0)),
            (&[("cache-control", "private"), ("cache-control", "max-age=5")], Some(5)),
            (&[("cache-control", "max-age=600, no-store")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "s-maxage=600")], None),
            (&[("cache-control", "max-age=soon")], None),
            (&[("age", "5")], None),
        ] {
            let pairs =
                headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(name, value);
            }
            assert_eq!(max_age(&map), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }
}
