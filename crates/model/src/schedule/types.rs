//! A scheduled job, as its rules and its deliveries see it.

use std::{collections::BTreeMap, fmt, time::Duration};

/// A job, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledJob {
    /// For people.
    pub description: String,
    /// When, as it was written.
    pub schedule: String,
    /// The zone of the tz database that `schedule` is of.
    pub zone: String,
    /// What is requested.
    pub target: HttpTarget,
    /// What is done about a failure.
    pub retry: Retry,
    /// How long one attempt may take.
    pub deadline: Duration,
}

/// A request to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where to.
    pub uri: String,
    /// How.
    pub method: HttpMethod,
    /// With which headers, beside those that each delivery has. Names are as they were written.
    pub headers: BTreeMap<String, String>,
    /// With which body.
    pub body: Vec<u8>,
    /// As whom.
    pub authorization: Option<Authorization>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HttpMethod {
    /// The default.
    #[default]
    Post,
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `PATCH`
    Patch,
    /// `OPTIONS`
    Options,
}

/// As whom a request is made: a service account of the job's project.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authorization {
    /// With an ID token.
    Oidc {
        /// The account's address.
        account: String,
        /// For whom the token is.
        audience: String,
    },
    /// With an access token.
    OAuth {
        /// The account's address.
        account: String,
        /// What it is good for.
        scope: String,
    },
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many more attempts there are, 0 to 5.
    pub count: u32,
    /// Until when after the first attempt there are more than that; zero means that only `count` counts.
    pub window: Duration,
    /// The pause before the first of them.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// How often the pause doubles before it grows evenly.
    pub doublings: u32,
}

// === impl HttpTarget ===

/// Without its body and its headers, which may hold secrets.
impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget").field("uri", &self.uri).field("method", &self.method).finish_non_exhaustive()
    }
}

// === impl HttpMethod ===

impl HttpMethod {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
        }
    }

    /// May a request of this method have a body?
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

// === impl Authorization ===

impl Authorization {
    /// The address of the account.
    pub fn account(&self) -> &str {
        match self {
            Self::Oidc { account, .. } | Self::OAuth { account, .. } => account,
        }
    }
}

// === impl Retry ===

impl Default for Retry {
    /// The documented defaults.
    fn default() -> Self {
        Self {
            count: 0,
            window: Duration::ZERO,
            min_backoff: Duration::from_secs(5),
            max_backoff: Duration::from_secs(3600),
            doublings: 5,
        }
    }
}
