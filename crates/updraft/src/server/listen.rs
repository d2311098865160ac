//! Where a server listens.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use updraft_base::Clock;
use updraft_identity::{Certificate, Tls, certificate_names};
use updraft_model::name::is_label;
use updraft_proxy::Front;

use super::StartError;
use crate::config::{Config, IfTaken, TlsSettings};

/// All listeners, bound before anything else starts: a taken port must not cost a container.
pub(super) struct Listeners {
    pub(super) front: Front,
    pub(super) registry: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) tls_address: Option<SocketAddr>,
    /// Whom to trust at the TLS port, if it is an authority of our own.
    pub(super) authority: Option<Arc<str>>,
    pub(super) registry_address: SocketAddr,
}

// === impl Listeners ===

impl Listeners {
    /// Binds them all.
    ///
    /// # Errors
    /// [`StartError::Listen`] for an address that cannot be had, [`StartError::Tls`].
    pub(super) async fn bind(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let failed = |address| move |source| StartError::Listen { address, source };
        let mut front = Front::bind(config.listen).await.map_err(failed(config.listen))?;
        let mut authority = None;
        if let Some(settings) = &config.tls {
            let tls = certificates(config, settings, clock)?;
            let listener = bind_tls(settings).await.map_err(failed(settings.listen))?;
            front = front.and_tls(listener, tls.config());
            authority = tls.authority();
        }
        let registry = TcpListener::bind(config.registry_listen).await.map_err(failed(config.registry_listen))?;
        let address = front.local_addr().map_err(failed(config.listen))?;
        let tls_address = front.tls_addr().map_err(failed(config.listen))?;
        let registry_address = registry.local_addr().map_err(failed(config.registry_listen))?;
        Ok(Self { front, registry, address, tls_address, authority, registry_address })
    }

    /// The ports of services and the API.
    pub(super) fn ports(&self) -> Vec<u16> {
        std::iter::once(self.address).chain(self.tls_address).map(|address| address.port()).collect()
    }
}

fn certificates(config: &Config, settings: &TlsSettings, clock: &Clock) -> Result<Tls, StartError> {
    let regions = std::slice::from_ref(&config.region);
    let mut others = settings.names.clone();
    if settings.listen.ip().is_unspecified() {
        others.extend(host_name());
    }
    let names = certificate_names(&config.domain, regions, settings.listen.ip(), &others);
    let certificate = match settings.files.clone() {
        Some((chain, key)) => Certificate::Files { chain, key },
        None => Certificate::Own(names),
    };
    Ok(Tls::open(&config.data_dir, certificate, clock.clone())?)
}

/// What others in the network call this machine, most likely; `None` if it has no name that a certificate can have.
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    name.split('.').all(is_label).then_some(name)
}

/// Where nobody asked for a certain port, that another server has it is no reason not to start.
async fn bind_tls(settings: &TlsSettings) -> io::Result<TcpListener> {
    let wanted = settings.listen;
    match TcpListener::bind(wanted).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && settings.if_taken == IfTaken::AnotherPort => {
            let listener = TcpListener::bind((wanted.ip(), 0)).await?;
            let instead = listener.local_addr()?;
            tracing::warn!(%wanted, %instead, "the usual port for TLS is taken; 'tls-listen' sets another for good");
            Ok(listener)
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_usual_port_that_is_taken_is_replaced_and_one_that_was_asked_for_is_an_error() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let taken = other.local_addr().expect("it is bound");
        let settings = |if_taken| TlsSettings { listen: taken, if_taken, names: Vec::new(), files: None };
        let instead = bind_tls(&settings(IfTaken::AnotherPort)).await.expect("another").local_addr().expect("bound");
        assert!(instead.ip() == taken.ip() && instead.port() != taken.port(), "{instead}");
        let error = bind_tls(&settings(IfTaken::Fail)).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
