//! The client: one request, hop by hop.

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Certificate, Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    error::FetchError,
    network::{Network, System},
    origin::Origin,
    policy::{Peer, Policy, Refusal, decide, decide_unseen},
    proxy::Proxy,
    redirect,
    response::Response,
    way::{Way, Ways},
};

/// A name server that is silent for so long is not coming back.
const LOOKUP_TIME: Duration = Duration::from_secs(10);

/// What the operator has to say about it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What may be reached beside public addresses.
    pub policy: Policy,
    /// The proxy that leads to the internet. The environment's counts only for who puts it here.
    pub proxy: Option<Proxy>,
    /// Authorities that are trusted beside those of the machine (its own store, or `SSL_CERT_FILE`).
    pub roots: Vec<Certificate>,
    /// How long who was asked may be silent; a minute unless it is said.
    pub patience: Option<Duration>,
}

/// Fetches what users name. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    network: Arc<dyn Network>,
    ways: Ways,
}

/// A request. Only `GET` and `HEAD` are redirected.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    sent_by: Option<Peer>,
}

/// A hop that may be made.
struct Hop {
    way: Way,
    peer: Peer,
}

// === impl Request ===

impl Request {
    /// A request with `method` for `url`, which may come from anybody.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: HeaderMap::new(), body: Bytes::new(), sent_by: None }
    }

    /// `GET url`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// It was `peer` that named the URL, in an answer: what holds for its redirects holds for this.
    #[must_use]
    pub fn sent_by(mut self, peer: &Peer) -> Self {
        self.sent_by = Some(peer.clone());
        self
    }
}

// === impl Client ===

impl Default for Client {
    /// One that reaches nothing but public addresses.
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Client {
    /// A client on this machine.
    pub fn new(config: Config) -> Self {
        Self::on(config, Arc::new(System))
    }

    /// A client on another network.
    pub fn on(config: Config, network: Arc<dyn Network>) -> Self {
        Self { inner: Arc::new(Inner { config, network, ways: Ways::default() }) }
    }

    /// The answer to `request`, after its redirects, whatever its status; its body is still to be read. The head comes
    /// within a minute ([`Config::patience`]) and so does each piece of the body; how long all of it may take is the caller's to say.
    ///
    /// # Errors
    /// [`FetchError::Refused`] before anything is sent to where it must not be; [`FetchError::Broken`],
    /// [`FetchError::Redirects`].
    pub async fn send(&self, request: Request) -> Result<Response, FetchError> {
        let outcome = self.follow(request).await;
        if let Err(FetchError::Refused(refusal)) = &outcome {
            tracing::warn!(%refusal, "something that was to be fetched for a user was not");
        }
        outcome
    }

    async fn follow(&self, request: Request) -> Result<Response, FetchError> {
        let Request { method, url, mut headers, body, mut sent_by } = request;
        let mut url = Url::parse(&url).map_err(|_| Refusal::NotUrl(shown(&url)))?;
        let asked = Origin::of(&url)?;
        for _ in 0..=redirect::MOST {
            let origin = Origin::of(&url)?;
            let Hop { way, peer } = self.hop(&origin, sent_by.as_ref()).await?;
            let request = way.http.request(method.clone(), url.clone()).headers(headers.clone());
            // An empty one would be announced with a length, which not every method has.
            let request = if body.is_empty() { request } else { request.body(body.clone()) };
            let sent = request.send().await;
            let answer = sent.map_err(|error| {
                if error.is_connect() {
                    self.inner.ways.forget(&origin);
                }
                FetchError::broken(&error.without_url())
            })?;
            let Some(location) = redirect::location(&method, answer.status(), answer.headers()) else {
                return Ok(Response { answer, peer, is_elsewhere: origin != asked });
            };
            let next = redirect::follow(&url, location, &mut headers);
            url = next.ok_or_else(|| FetchError::Broken(format!("{peer} redirects to what is no URL")))?;
            sent_by = Some(peer);
        }
        Err(FetchError::Redirects(redirect::MOST))
    }

    /// Looks up where `origin` is, once, and decides; the way leads there and nowhere else.
    async fn hop(&self, origin: &Origin, sent_by: Option<&Peer>) -> Result<Hop, FetchError> {
        let Inner { config, network, ways } = &*self.inner;
        let (side, addresses) = if config.proxy.as_ref().is_some_and(|proxy| proxy.serves(origin, &config.policy)) {
            (decide_unseen(origin, sent_by)?, Vec::new())
        } else {
            let addresses = self.addresses(origin).await?;
            let found: Vec<_> = addresses.iter().map(|&address| (address, network.is_own(address))).collect();
            let decision = decide(origin, &found, sent_by, &config.policy);
            let side = decision.inspect_err(|_| tracing::debug!(%origin, ?addresses, "refused"))?;
            (side, addresses)
        };
        let way = ways.to(origin, (side, &addresses), config, &**network)?;
        Ok(Hop { way, peer: Peer { origin: origin.clone(), side } })
    }

    async fn addresses(&self, origin: &Origin) -> Result<Vec<IpAddr>, FetchError> {
        if let Some(address) = origin.literal() {
            return Ok(vec![address]);
        }
        let host = origin.bare_host();
        let nowhere = |cause: &dyn std::fmt::Display| FetchError::Broken(format!("look up '{host}': {cause}"));
        match within(LOOKUP_TIME, self.inner.network.lookup(host)).await? {
            Ok(found) if found.is_empty() => Err(nowhere(&"it has no address")),
            Ok(found) => Ok(found),
            Err(error) => Err(nowhere(&error)),
        }
    }
}

/// What `work` comes to, if it does in `time`. This floor has no clock of its own, and time runs here as it does for the
/// bounds of the HTTP client: on the runtime's.
#[expect(clippy::disallowed_methods, reason = "the clock lives on the same floor; a test pauses the runtime's")]
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, FetchError> {
    tokio::time::timeout(time, work).await.map_err(|_| FetchError::TooSlow(time))
}

/// A text that holds no certificates of authorities.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRoots(String);

/// The certificates in `pem`, for [`Config::roots`].
///
/// # Errors
/// [`NotRoots`].
pub fn roots(pem: &[u8]) -> Result<Vec<Certificate>, NotRoots> {
    let unfit = |error: reqwest::Error| NotRoots(FetchError::broken(&error).to_string());
    let roots = Certificate::from_pem_bundle(pem).map_err(unfit)?;
    if roots.is_empty() {
        return Err(NotRoots("there is none".to_owned()));
    }
    // They are looked into when a client is made of them, and nowhere before.
    let made = reqwest::Client::builder().tls_certs_merge(roots.clone()).build();
    made.map(|_| roots).map_err(unfit)
}

/// What is told of a text that is no URL.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
