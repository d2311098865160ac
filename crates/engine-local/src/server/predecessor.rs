//! What a server that was killed left alive: its launcher with its instances.
//!
//! It is met before anything else is done on the host. What of it can be kept is: the others are ended, each alone, or
//! all of them when their launcher, or their network, is of no use to us.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError},
};

use updraft_base::Clock;
use updraft_engine::{Adopted, EngineError};
use updraft_model::instance::InstanceId;

use super::{
    config::{LocalConfig, Predecessor},
    engine::{Shared, chain},
    leftovers::Premises,
    link::{Launcher, Link, LinkError},
    live::{Ground, Live, Phase, StartTiming},
    memo::Memo,
    pool,
    supervise::orders,
};
use crate::{
    net::Network,
    protocol::{Report, Request, Steps},
    sandbox::cgroups::Layout,
    sys,
};

/// A launcher that outlived its server, and what it keeps.
#[derive(Debug)]
pub(super) struct Heritage {
    pub(super) launcher: Launcher,
    pub(super) link: Link,
    kept: Vec<Kept>,
    /// What was not dealt with, in order for each instance.
    rest: Vec<Report>,
    /// The highest number in the names of its sandboxes.
    made: u64,
}

/// An instance, dead or alive.
#[derive(Debug)]
struct Kept {
    id: String,
    leaf: String,
    memo: Memo,
    steps: Option<Steps>,
    keeper: Option<u32>,
    /// Holding it keeps its network: whoever ends now does not take it along. `None` of one that has ended.
    netns: Option<OwnedFd>,
}

/// Meets the launcher of a dead server, if one waits and is wanted. `None`, when there is none any more that could.
pub(super) async fn meet(
    config: &LocalConfig,
    premises: &Premises,
    layout: &Layout,
    clock: &Clock,
) -> Option<Heritage> {
    let orders = orders(config, premises, clock);
    if config.predecessor == Predecessor::End {
        if let Ok((launcher, _)) = Launcher::find(&orders) {
            tracing::info!("the instances of a server that was killed are ended");
            launcher.kill().await;
        }
        return None;
    }
    match Launcher::meet(&orders).await {
        Ok((launcher, link, reports)) => {
            let (mut kept, mut rest, mut made) = (Vec::new(), Vec::new(), 0);
            for report in reports {
                match report {
                    Report::Kept { id, leaf, memo, steps, keeper } => {
                        made = made.max(pool::number(&leaf).unwrap_or(0));
                        let Some(memo) = memo.as_deref().and_then(Memo::read) else { continue };
                        let netns = netns(layout, &premises.tag, &leaf);
                        kept.push(Kept { id, leaf, memo, steps, keeper, netns });
                    }
                    report => rest.push(report),
                }
            }
            Some(Heritage { launcher, link, kept, rest, made })
        }
        Err(LinkError::NotThere(error)) => {
            tracing::debug!(%error, "there is nothing to adopt");
            None
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the instances of a server that was killed cannot be adopted");
            None
        }
    }
}

/// The network namespace of what runs in these control groups.
fn netns(layout: &Layout, tag: &str, leaf: &str) -> Option<OwnedFd> {
    let member = *sys::cgroups::members(&layout.plan(tag, leaf)).first()?;
    fs::File::open(format!("/proc/{member}/ns/net")).ok().map(Into::into)
}

// === impl Heritage ===

impl Heritage {
    /// The addresses of those that live.
    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.kept.iter().filter(|one| one.netns.is_some()).map(|one| one.memo.address).collect()
    }

    /// Takes everything over. Returns the launcher to be served.
    pub(super) async fn enter(self, shared: &Arc<Shared>, network: &Network) -> Launcher {
        let Self { launcher, link, kept, rest, made } = self;
        shared.pool.skip(made);
        shared.enlist(&launcher, link);
        let (mut adopted, mut doomed) = (Vec::new(), Vec::new());
        for one in kept {
            let id = one.id.clone();
            match take_over(shared, network, one).await {
                Ok(instance) => adopted.push(instance),
                Err(cause) => {
                    tracing::warn!(instance = id, cause, "it is ended, and not adopted");
                    doomed.push(id);
                }
            }
        }
        if !adopted.is_empty() {
            network.outlive();
            tracing::info!(instances = adopted.len(), "took over the instances of a server that was killed");
        }
        *shared.adopted.lock().unwrap_or_else(PoisonError::into_inner) = adopted;
        rest.into_iter().for_each(|report| shared.hear(report));
        doomed.into_iter().for_each(|id| shared.request(&Request::Kill { id }));
        launcher
    }
}

/// One instance. Whoever has ended is told of like the others: what it wrote and how it ended follows.
async fn take_over(shared: &Arc<Shared>, network: &Network, kept: Kept) -> Result<Adopted, String> {
    let Kept { id, leaf, memo, steps, keeper, netns } = kept;
    let adopted = memo.adopted(&id).ok_or("what was noted about it is not understood")?;
    let ground = match netns {
        Some(netns) => Some(network.attachment(memo.address, netns).await.map_err(|error| chain(&error))?),
        None => None,
    };
    if ground.as_ref().is_some_and(|ground| ground.resolv_conf() != memo.resolv_conf) {
        return Err("the name servers of this machine are others now".to_owned());
    }
    let groups = shared.layout.plan(&shared.premises.tag, &leaf);
    let live = Live::new(groups, adopted.revision.clone(), memo.memory_bytes);
    let reservation = shared.table.reserve(&InstanceId(id), live).ok_or("it is there twice")?;
    {
        let mut hold = reservation.live.hold();
        hold.ground = ground.map(Ground::Own);
        hold.keeper = keeper;
        hold.sent = true;
        if let Some(steps) = steps {
            reservation.live.phase.send_replace(Phase::Running(StartTiming::new(&hold, steps)));
        }
    }
    reservation.keep();
    Ok(adopted)
}

/// Ends what cannot be adopted after all, and clears the place as if no server had been killed.
///
/// # Errors
/// [`EngineError::Host`].
pub(super) async fn clear(
    heritage: Option<Heritage>,
    premises: &Premises,
    layout: &Layout,
    clock: &Clock,
) -> Result<(), EngineError> {
    if let Some(heritage) = heritage {
        heritage.launcher.kill().await;
    }
    premises.take(clock).await?;
    premises.sweep(layout).await?;
    premises.remove_roots().await;
    Ok(())
}
