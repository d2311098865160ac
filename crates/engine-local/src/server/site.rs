//! What instances stand on: taken over from a dead server, as far as that can be, or made anew.

use std::{io, net::Ipv4Addr, path::Path, sync::Arc};

use updraft_base::{Clock, Tasks};
use updraft_engine::EngineError;
use updraft_model::instance::Egress;

use super::{
    causes::{chain, host},
    config::LocalConfig,
    footing::Commons,
    identities,
    leftovers::Premises,
    predecessor::{self, Heritage},
    runtime::Runtime,
    supervise,
};
use crate::{
    net::{NetConfig, Network},
    sandbox::{cgroups::Layout, isolation::Isolation, users::Identities},
    survey::trial,
    sys,
};

/// Ready for instances.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) layout: Layout,
    /// Whether instances have users of their own.
    pub(super) identities: Identities,
    /// Where each instance has one of its own.
    pub(super) network: Option<Network>,
    /// Where they share the host's.
    pub(super) commons: Option<Arc<Commons>>,
    /// What lives on.
    pub(super) heritage: Option<Heritage>,
}

// === impl Site ===

impl Site {
    /// Meets the launcher of a dead server, removes what of that server cannot be gone on with, and sets up the rest.
    ///
    /// # Errors
    /// [`EngineError::Host`].
    pub(super) async fn open(
        (config, runtime): (&LocalConfig, Option<&Runtime>),
        premises: &Premises,
        tasks: &Tasks,
        clock: &Clock,
    ) -> Result<Self, EngineError> {
        let isolation = config.isolation;
        let layout = match sys::cgroups::layout() {
            Err(error) if !isolation.is_shared() => return Err(host("read the control groups")(error)),
            layout => layout.unwrap_or_default(),
        };
        // A runtime makes groups in every hierarchy that there is, and a predecessor may have had one.
        let whole = sys::cgroups::whole_layout().unwrap_or_else(|_| layout.clone());
        let layout = if runtime.is_some() { whole.clone() } else { layout };
        let identities = identities::choose(isolation, runtime, premises).await;
        let orders = supervise::orders((config, runtime, identities), premises, clock);
        let mut heritage = predecessor::meet(&orders, config.predecessor, &layout).await;
        if heritage.is_none() {
            predecessor::clear(None, premises, &whole, clock).await?;
        }
        if isolation.is_shared() {
            // A launcher that made its instances in this way waits for nobody.
            let (layout, commons) = share(config, premises).await?;
            let commons = Some(Arc::new(commons));
            return Ok(Self { layout, identities, network: None, commons, heritage: None });
        }
        let set_up = async |kept| network(config, premises, (tasks, clock), kept).await;
        let kept = heritage.as_ref().map(Heritage::addresses).unwrap_or_default();
        let network = match (set_up(kept).await, heritage.is_some()) {
            (Err(error), true) => {
                tracing::warn!(%error, "the instances of a server that was killed cannot be adopted");
                predecessor::clear(heritage.take(), premises, &whole, clock).await?;
                set_up(Vec::new()).await?
            }
            (set_up, _) => set_up?,
        };
        Ok(Self { layout, identities, network: Some(network), commons: None, heritage })
    }
}

/// For instances that share the host's network: what they have in common, and the control groups that can be used.
async fn share(config: &LocalConfig, premises: &Premises) -> Result<(Layout, Commons), EngineError> {
    let isolation = config.isolation;
    let (tag, run_dir) = (premises.tag.clone(), premises.run_dir.clone());
    // A server before this one may have had another isolation.
    if let Err(error) = Network::clear(tag.clone(), run_dir.clone()).await {
        tracing::warn!(error = chain(&error), "the network of a dead server could not be removed");
    }
    let commons = Commons::new(isolation, &tag, &run_dir, &config.dns);
    let commons = commons.map_err(host("make a place for copies of images"))?;
    let tried = tokio::task::spawn_blocking(move || try_out(isolation, &run_dir, &tag)).await;
    let usable = tried.map_err(io::Error::other).flatten().map_err(|error| EngineError::Host {
        operation: format!("run instances with isolation '{isolation}'"),
        cause: error.to_string(),
    })?;
    Ok((usable, commons))
}

fn try_out(isolation: Isolation, run_dir: &Path, tag: &str) -> io::Result<Layout> {
    trial::try_out(isolation, run_dir).map_err(io::Error::other)?;
    sys::cgroups::usable(tag)
}

async fn network(
    config: &LocalConfig,
    premises: &Premises,
    (tasks, clock): (&Tasks, &Clock),
    kept: Vec<(Ipv4Addr, Egress)>,
) -> Result<Network, EngineError> {
    let net = NetConfig {
        tag: premises.tag.clone(),
        dns: config.dns.clone(),
        domain: config.domain.clone(),
        ports: config.ports.clone(),
        subnet: None,
        run_dir: premises.run_dir.clone(),
        kept,
    };
    Network::start(net, tasks, clock).await.map_err(host("set up the network"))
}
