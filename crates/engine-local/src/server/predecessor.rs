//! What a server that was killed left alive: its launcher with its instances.
//!
//! It is met before anything else is done on the host. What of it can be kept is: the others are ended, each alone, or
//! all of them when their launcher, or their network, is of no use to us.

use std::{
    collections::HashSet,
    fs,
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    sync::{Arc, PoisonError},
};

use updraft_base::Clock;
use updraft_engine::{Adopted, EngineError};
use updraft_model::instance::Egress;

use super::{
    causes::chain,
    config::Predecessor,
    engine::Shared,
    leftovers::Premises,
    link::{Launcher, Link, LinkError, Orders},
    live::{Ground, Live, Phase, StartTiming, Subject},
    memo::Memo,
    pool,
};
use crate::{
    net::Network,
    protocol::{Report, Request, Steps},
    sandbox::cgroups::{Layout, Plan},
    sys,
};

/// A launcher that outlived its server, and what it keeps.
#[derive(Debug)]
pub(super) struct Heritage {
    pub(super) launcher: Launcher,
    pub(super) link: Link,
    kept: Vec<Kept>,
    /// Of whom nothing is known that could be understood.
    unknown: Vec<String>,
    /// What was not dealt with, in order for each instance.
    rest: Vec<Report>,
    /// The highest number in the names of its sandboxes.
    made: u64,
}

/// An instance, dead or alive.
#[derive(Debug)]
struct Kept {
    adopted: Adopted,
    egress: Egress,
    leaf: String,
    memo: Memo,
    steps: Option<Steps>,
    keeper: Option<u32>,
    /// Holding it keeps its network: whoever ends now does not take it along. `None` of one that has ended.
    netns: Option<OwnedFd>,
}

/// Meets the launcher of a dead server, if one waits and is wanted. `None`, when there is none any more that could.
pub(super) async fn meet(orders: &Orders<'_>, wanted: Predecessor, layout: &Layout) -> Option<Heritage> {
    if wanted == Predecessor::End {
        if let Ok((launcher, _)) = Launcher::find(orders) {
            tracing::info!("the instances of a server that was killed are ended");
            launcher.kill().await;
        }
        return None;
    }
    match Launcher::meet(orders).await {
        Ok((launcher, link, reports)) => {
            let mut heritage =
                Heritage { launcher, link, kept: Vec::new(), unknown: Vec::new(), rest: Vec::new(), made: 0 };
            let groups = |leaf: &str| layout.plan(orders.tag, leaf);
            reports.into_iter().for_each(|report| heritage.hear(report, &groups));
            Some(heritage)
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

/// The network namespace of what runs in these control groups. Whoever is still on its way into it is in ours.
fn netns(groups: &Plan) -> Option<OwnedFd> {
    let identity = |file: &fs::File| file.metadata().map(|one| (one.dev(), one.ino())).ok();
    let open = |who: &str| fs::File::open(format!("/proc/{who}/ns/net")).ok();
    let ours = open("self").as_ref().and_then(identity)?;
    let members = sys::cgroups::members(groups).into_iter();
    let found = members.filter_map(|member| open(&member.to_string())).find(|file| identity(file) != Some(ours));
    found.map(Into::into)
}

// === impl Heritage ===

impl Heritage {
    fn hear(&mut self, report: Report, groups: &impl Fn(&str) -> Plan) {
        let Report::Kept { id, leaf, memo, steps, keeper } = report else { return self.rest.push(report) };
        self.made = self.made.max(pool::number(&leaf).unwrap_or(0));
        // A sandbox that nobody used is being ended already.
        let Some(text) = memo else { return };
        let known = Memo::read(&text).and_then(|memo| Some((memo.adopted(&id)?, memo.egress()?, memo)));
        match known {
            Some((adopted, egress, memo)) => {
                let netns = netns(&groups(&leaf));
                self.kept.push(Kept { adopted, egress, leaf, memo, steps, keeper, netns });
            }
            None => self.unknown.push(id),
        }
    }

    /// The addresses of those that live, and how each is restricted.
    pub(super) fn addresses(&self) -> Vec<(Ipv4Addr, Egress)> {
        self.kept.iter().filter(|one| one.netns.is_some()).map(|one| (one.memo.address, one.egress)).collect()
    }

    /// Takes everything over. Returns the launcher to be served.
    pub(super) async fn enter(self, shared: &Arc<Shared>, network: &Network) -> Launcher {
        let Self { launcher, link, kept, unknown, rest, made } = self;
        shared.pool.skip(made);
        shared.enlist(&launcher, link);
        let ended: HashSet<String> = rest.iter().filter_map(ended).map(str::to_owned).collect();
        let mut adopted = Vec::new();
        let mut doomed: Vec<_> =
            unknown.into_iter().map(|id| (id, "what was noted about it is not understood".to_owned())).collect();
        for one in kept {
            let instance = one.adopted.clone();
            let id = instance.id.0.clone();
            let taken = take_over(shared, network, one).await;
            // Also one that cannot go on: what it wrote, and how it ended, is told like that of any other.
            if shared.table.get(&instance.id).is_some() {
                adopted.push(instance);
            }
            if let Err(cause) = taken
                && !ended.contains(&id)
            {
                doomed.push((id, cause));
            }
        }
        if !adopted.is_empty() {
            network.outlive();
            tracing::info!(instances = adopted.len(), "took over the instances of a server that was killed");
        }
        *shared.adopted.lock().unwrap_or_else(PoisonError::into_inner) = adopted;
        rest.into_iter().for_each(|report| shared.hear(report));
        for (id, cause) in doomed {
            // One that has ended just now is in no network either: that is its own affair.
            tracing::info!(instance = id, cause, "an instance of a server that was killed cannot go on and is ended");
            shared.request(&Request::Kill { id });
        }
        launcher
    }
}

/// Of whom a report tells the end.
fn ended(report: &Report) -> Option<&str> {
    match report {
        Report::Exited { id, .. } => Some(id),
        _ => None,
    }
}

/// One instance. It is in the table from here to its end, also if it cannot go on: as long as it lives it holds its
/// network, and is restricted.
async fn take_over(shared: &Arc<Shared>, network: &Network, kept: Kept) -> Result<(), String> {
    let Kept { adopted, leaf, memo, steps, keeper, netns, .. } = kept;
    let ground = match netns {
        Some(netns) => network.attachment(memo.address, netns).await.map_err(|error| chain(&error)),
        // It has ended just now, or had not come far.
        None => Err("it is in no network".to_owned()),
    };
    let (ground, obstacle) = match ground {
        Ok(ground) if ground.resolv_conf() != memo.resolv_conf => {
            (Some(ground), Err("the name servers of this machine are others now".to_owned()))
        }
        Ok(ground) => (Some(ground), Ok(())),
        Err(cause) => (None, Err(cause)),
    };
    let groups = shared.layout.plan(&shared.premises.tag, &leaf);
    let (owner, memory_limit) = (adopted.owner, memo.memory_bytes);
    let live = Live::new(Subject { leaf: &leaf, groups, owner, memory_limit });
    let reservation = shared.table.reserve(&adopted.id, live).ok_or("it is there twice")?;
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
    obstacle
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
