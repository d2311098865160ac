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
#[derive(Debug)]
pub(crate) struct Ways {
    kept: Mutex<Vec<(Origin, Way)>>,
    most: usize,
}

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

impl Default for Ways {
    fn default() -> Self {
        Self { kept: Mutex::default(), most: MOST }
    }
}

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
        ways.truncate(self.most);
        Ok(way)
    }

    /// Nobody answers there any more.
    pub(crate) fn forget(&self, origin: &Origin) {
        self.lock().retain(|(known, _)| known != origin);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Origin, Way)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
            .read_timeout(config.patience.unwrap_or(READ_TIMEOUT))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::System;

    #[test]
    fn a_way_is_kept_while_one_of_its_addresses_is_named_and_never_for_another_side() {
        let [a, b, c] = ["11.0.0.1", "10.0.0.5", "11.0.0.3"].map(|text| text.parse().expect(text));
        let origin = Origin { is_secure: true, host: "a.example".to_owned(), port: 443 };
        let (ways, config) = (Ways::default(), Config::default());
        let addresses = |side, now: &[IpAddr]| ways.to(&origin, (side, now), &config, &System).expect("made").addresses;
        assert_eq!(addresses(Side::Both, &[a, b]), [a, b]);
        // Who may not go inside must not be given a connection that could be there.
        assert_eq!(addresses(Side::Public, &[a]), [a]);
        assert_eq!(addresses(Side::Public, &[c, a]), [a], "the name rotates");
        assert_eq!(addresses(Side::Public, &[c]), [c], "it has moved");
        ways.forget(&origin);
        assert_eq!(addresses(Side::Public, &[a, c]), [a, c]);
    }

    #[test]
    fn ways_that_were_not_used_for_long_are_let_go() {
        let (ways, config) = (Ways { most: 2, ..Ways::default() }, Config::default());
        let address = "11.0.0.1".parse().expect("an address");
        let to = |port: u16| {
            let origin = Origin { is_secure: true, host: "a.example".to_owned(), port };
            ways.to(&origin, (Side::Public, &[address]), &config, &System).expect("made");
        };
        [1, 2, 1, 3].into_iter().for_each(to);
        let kept: Vec<u16> = ways.lock().iter().map(|(origin, _)| origin.port).collect();
        assert_eq!(kept, [3, 1], "the second was used first");
    }
}
