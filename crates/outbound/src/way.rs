//! Ways: an HTTP client for one origin that connects to the addresses that were checked, and to no others.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    dns::{Name, Resolve, Resolving},
    redirect,
};

use crate::{client::Config, error::FetchError, network::Network, origin::Origin, policy::Side};

/// Who sends nothing for so long is not coming back.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many origins are kept, with their connections.
const MOST: usize = 64;
/// How many headers an answer may have. HTTP/1 holds them all to 400 KiB.
const MOST_HEADERS: usize = 100;

/// The ways that are kept, the last used first.
#[derive(Debug, Default)]
pub(crate) struct Ways(Mutex<Vec<(Origin, Way)>>);

/// The way to one origin. Its connections lead to nobody else, so they can be used again.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) http: reqwest::Client,
    side: Side,
    /// None through a proxy, which looks them up itself.
    addresses: Vec<IpAddr>,
}

/// What looks names up for the HTTP client: nobody. The only name of a way is pinned.
#[derive(Debug)]
struct Nobody;

// === impl Ways ===

impl Ways {
    /// The kept way to `origin` if one of its addresses is still among those that were checked just now, or a new one.
    pub(crate) fn to(
        &self,
        origin: &Origin,
        (side, addresses): (Side, &[IpAddr]),
        config: &Config,
        network: &dyn Network,
    ) -> Result<Way, FetchError> {
        let fits = |way: &Way| {
            let is_still_there = way.addresses.iter().any(|address| addresses.contains(address));
            way.side == side && (is_still_there || (way.addresses.is_empty() && addresses.is_empty()))
        };
        let mut ways = self.lock();
        let kept = ways.iter().position(|(known, _)| known == origin).map(|at| ways.remove(at).1);
        let way = match kept.filter(fits) {
            Some(way) => way,
            None => Way::make(origin, (side, addresses), config, network)?,
        };
        ways.insert(0, (origin.clone(), way.clone()));
        ways.truncate(MOST);
        Ok(way)
    }

    /// Nobody answers there any more.
    pub(crate) fn forget(&self, origin: &Origin) {
        self.lock().retain(|(known, _)| known != origin);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Origin, Way)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Way ===

impl Way {
    fn make(
        origin: &Origin,
        (side, addresses): (Side, &[IpAddr]),
        config: &Config,
        network: &dyn Network,
    ) -> Result<Self, FetchError> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .read_timeout(READ_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_max_headers(MOST_HEADERS)
            .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(config.roots.clone());
        if let Some(proxy) = config.proxy.as_ref().filter(|_| addresses.is_empty()) {
            let proxy = reqwest::Proxy::all(proxy.url()).map_err(|error| FetchError::broken(&error))?;
            builder = builder.proxy(proxy);
        } else {
            let pinned: Vec<SocketAddr> =
                addresses.iter().map(|&address| network.place((address, origin.port).into())).collect();
            builder = builder.dns_resolver(Nobody).resolve_to_addrs(&origin.host, &pinned);
        }
        let http = builder.build().map_err(|error| FetchError::broken(&error))?;
        Ok(Self { http, side, addresses: addresses.to_vec() })
    }
}

// === impl Nobody ===

impl Resolve for Nobody {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move { Err(format!("nobody has checked where '{name}' leads").into()) })
    }
}
