//! HTTP to another registry: who we are, and answers whose size we choose, not the registry.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use updraft_outbound::{Client, FetchError, Peer, Request, Response};

use crate::{credentials::Login, manifest::media_type, reference::DOCKER_HUB, reference::Reference};

/// The largest answer of a token endpoint, in bytes. Tokens are some kilobytes.
const MAX_TOKEN: usize = 256 << 10;
/// The largest answer that is read to explain a refusal, in bytes.
const MAX_REFUSAL: usize = 16 << 10;
/// What is told of it, in bytes.
const MAX_WORDS: usize = 500;

/// The way to one registry with one set of credentials. It keeps connections and tokens.
#[derive(Debug)]
pub(crate) struct Transport {
    http: Client,
    login: Login,
    /// What to show, by repository, as the registry asked for it. Replaced when it is refused.
    shown: Mutex<HashMap<String, HeaderValue>>,
}

/// A request for something below `/v2/REPOSITORY/`.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Such as `manifests/latest`.
    pub(crate) path: String,
    /// Where to begin, in bytes.
    pub(crate) offset: u64,
}

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The network, not HTTP, an answer without end.
    #[error("{0}")]
    Broken(String),
    /// The server does not go there for its users.
    #[error("{0}")]
    Forbidden(String),
    /// The registry, or where it sent us for a token, refused.
    #[error("the registry answered {status}{words}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The protocol's own code, such as `MANIFEST_UNKNOWN`; empty without one.
        code: String,
        /// What it said, with `: ` before it; empty when it said nothing.
        words: String,
    },
    /// More came than was to come.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// What the registry wants to be shown cannot be had.
    #[error("{0}")]
    Login(String),
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Problem {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What a registry wants to be shown (RFC 6750 and the distribution project's token protocol).
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

// === impl Transport ===

impl Transport {
    pub(crate) fn new(http: Client, login: Login) -> Self {
        Self { http, login, shown: Mutex::default() }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// The answer to `ask`, if it is one of success; its body is still to be read.
    pub(crate) async fn send(&self, reference: &Reference, ask: &Ask) -> Result<Response, TransportError> {
        let shown = self.known(reference);
        let mut response = self.http.send(request(reference, ask, shown)).await?;
        // Nothing was shown yet, or a token that has expired. Who the registry sent us on to is shown nothing of what is meant for the registry.
        if response.status() == StatusCode::UNAUTHORIZED
            && !response.is_elsewhere()
            && let Some(challenge) = Challenge::of(response.headers())
            && let Some(shown) = self.meet(reference, challenge, response.peer()).await?
        {
            self.lock().insert(reference.repository().to_owned(), shown.clone());
            response = self.http.send(request(reference, ask, Some(shown))).await?;
        }
        succeeded(response).await
    }

    fn known(&self, reference: &Reference) -> Option<HeaderValue> {
        match &self.login {
            Login::Bearer(token) => header("Bearer", token).ok(),
            _ => self.lock().get(reference.repository()).cloned(),
        }
    }

    /// What to show after the `challenge` of `peer`; nothing when there is nothing.
    async fn meet(
        &self,
        reference: &Reference,
        challenge: Challenge,
        peer: &Peer,
    ) -> Result<Option<HeaderValue>, TransportError> {
        match (challenge, &self.login) {
            (Challenge::Basic, Login::Basic(user, password)) => {
                Login::basic(user, password).map(Some).map_err(malformed)
            }
            (Challenge::Basic, _) | (_, Login::Bearer(_)) => Ok(None),
            (Challenge::Bearer { realm, service }, login) => {
                let scope = format!("repository:{}:pull", reference.repository());
                let mut url = Url::parse(&realm).map_err(|_| bad_realm(&realm, "is no URL"))?;
                let service = service.iter().map(|service| ("service", service));
                url.query_pairs_mut().append_pair("scope", &scope).extend_pairs(service);
                // It can be any URL at all: what holds for a redirect of the registry holds for this.
                let request = match login {
                    Login::Basic(user, password) => {
                        Request::get(url).header(AUTHORIZATION, Login::basic(user, password).map_err(malformed)?)
                    }
                    _ => Request::get(url),
                };
                let token = self.token(request.sent_by(peer), &realm).await?;
                header("Bearer", &token).map(Some)
            }
        }
    }

    async fn token(&self, request: Request, realm: &str) -> Result<String, TransportError> {
        let answer = succeeded(self.http.send(request).await?).await?.read(MAX_TOKEN).await?;
        let bad = || bad_realm(realm, "did not answer with a token");
        let token: Token = serde_json::from_slice(&answer).map_err(|_| bad())?;
        token.token.or(token.access_token).ok_or_else(bad)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, HeaderValue>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(reference: &Reference, ask: &Ask, shown: Option<HeaderValue>) -> Request {
    let host = if reference.registry() == DOCKER_HUB { "registry-1.docker.io" } else { reference.registry() };
    let scheme = if reference.is_loopback() { "http" } else { "https" };
    let url = format!("{scheme}://{host}/v2/{}/{}", reference.repository(), ask.path);
    let mut request = Request::new(ask.method.clone(), url);
    for accepted in media_type::ALL {
        request = request.header(ACCEPT, HeaderValue::from_static(accepted));
    }
    if ask.offset > 0
        && let Ok(range) = HeaderValue::try_from(format!("bytes={}-", ask.offset))
    {
        request = request.header(RANGE, range);
    }
    // A redirect to another host does not get it: the client sees to that.
    shown.into_iter().fold(request, |request, shown| request.header(AUTHORIZATION, shown))
}

async fn succeeded(response: Response) -> Result<Response, TransportError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // Without words the status has to do.
    let body = response.read(MAX_REFUSAL).await.unwrap_or_default();
    let problem =
        serde_json::from_slice::<Envelope>(&body).ok().and_then(|envelope| envelope.errors.into_iter().next());
    let (code, words) = match problem {
        Some(Problem { code, message }) => (code.clone(), format!("{code} {message}")),
        None => (String::new(), String::from_utf8_lossy(&body).into_owned()),
    };
    let words = words.trim();
    let words = &words[..words.floor_char_boundary(MAX_WORDS)];
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    Err(TransportError::Refused { status, code, words })
}

fn bad_realm(realm: &str, rule: &str) -> TransportError {
    TransportError::Login(format!("the registry's token endpoint '{realm}' {rule}"))
}

fn header(scheme: &str, value: &str) -> Result<HeaderValue, TransportError> {
    let mut header = HeaderValue::try_from(format!("{scheme} {value}")).map_err(malformed)?;
    header.set_sensitive(true);
    Ok(header)
}

fn malformed(_: impl std::error::Error) -> TransportError {
    TransportError::Login("the credentials for the registry do not fit into a header".to_owned())
}

// === impl TransportError ===

impl From<FetchError> for TransportError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Refused(refusal) => Self::Forbidden(refusal.to_string()),
            FetchError::TooLarge(limit) => Self::TooLarge(limit),
            other => Self::Broken(other.to_string()),
        }
    }
}

// === impl Challenge ===

impl Challenge {
    /// The one we can meet best of those in `headers`.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges = values.filter_map(Self::parse);
        challenges.max_by_key(|challenge| matches!(challenge, Self::Bearer { .. }))
    }

    fn parse(value: &str) -> Option<Self> {
        let (scheme, mut rest) = value.trim().split_once(' ').unwrap_or_else(|| (value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

#[cfg(test)]
mod tests;
