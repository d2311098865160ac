//! Which way a request goes: to a service or the API of this server, or out.
//!
//! What leads to this server must never take the way out and come in as somebody who is on this machine: without a token
//! asked for, such a caller is the owner of everything. So whatever may mean the server is taken for it.

use std::net::IpAddr;

use updraft_model::{
    name::INTERNAL_HOST,
    schedule::{Authorization, Endpoint},
};

/// What of the world is this server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ours {
    /// Below this are the hosts of services.
    pub domain: String,
    /// Where it listens.
    pub ports: Vec<u16>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To a service, by its host.
    Service,
    /// To the API: that of this name (`run`), or whichever the path means.
    Api(Option<String>),
    /// To somebody else.
    Out,
}

/// The domain of Google's APIs.
const GOOGLE: &str = "googleapis.com";
/// Those that are here.
const HERE: [&str; 8] = [
    "run",
    "cloudscheduler",
    "secretmanager",
    "iam",
    "iamcredentials",
    "cloudresourcemanager",
    "serviceusage",
    "logging",
];

/// Where a request to `endpoint` goes. One that shows an access token of this server goes to no other than it, whichever API
/// of Google's it means: to Google the token is worth nothing, and to who gets hold of it much.
pub fn way(endpoint: &Endpoint, ours: &Ours, token: Token) -> Way {
    let host = endpoint.host.as_str();
    let domain = ours.domain.to_ascii_lowercase();
    if !domain.is_empty() && host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.')) {
        return Way::Service;
    }
    if let Some(name) = host.strip_suffix(GOOGLE).and_then(|rest| rest.strip_suffix('.')) {
        // `us-central1-run`, `run.us-central1.rep`.
        let name = name.split('.').next().unwrap_or_default();
        let name = if name.ends_with("-run") { "run" } else { name };
        return match token == Token::Access || HERE.contains(&name) {
            true => Way::Api(Some(name.to_owned())),
            false => Way::Out,
        };
    }
    let port = endpoint.port.unwrap_or(if endpoint.is_secure { 443 } else { 80 });
    let is_ours = host == INTERNAL_HOST || (is_this_machine(host) && ours.ports.contains(&port));
    // The domain itself is no service.
    if is_ours || (!domain.is_empty() && host == domain) { Way::Api(None) } else { Way::Out }
}

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// An access token of this server.
    Access,
    /// An ID token, which is for one audience, or nothing.
    Other,
}

// === impl Way ===

impl Way {
    /// May whoever is at its end see such a token? An access token is for APIs: a service is somebody else's program.
    pub fn may_see(&self, token: Token) -> bool {
        token == Token::Other || matches!(self, Self::Api(_))
    }
}

// === impl Token ===

impl Token {
    /// What a request shows that is authorised like this.
    pub fn of(authorization: Option<&Authorization>) -> Self {
        match authorization {
            Some(Authorization::OAuth { .. }) => Self::Access,
            Some(Authorization::Oidc { .. }) | None => Self::Other,
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address =
        host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|address| address.to_canonical());
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
