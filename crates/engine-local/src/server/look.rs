//! What instances look like from outside their programs.

use std::{io, sync::Arc, time::Duration};

use updraft_engine::Engine as _;
use updraft_model::instance::{Inspection, InstanceId};

use super::{
    engine::{LocalEngine, Shared},
    live::{Live, Whose},
};
use crate::{inspect, sys};

/// How long an inspection waits for a connection that is neither taken nor refused.
const ASKED: Duration = Duration::from_secs(1);

/// What an instance, or a container of it, looks like from outside.
pub(super) async fn inspect(
    engine: &LocalEngine,
    shared: &Shared,
    id: &InstanceId,
    whose: Whose,
) -> Option<Inspection> {
    let live = shared.table.get(id)?;
    let footing = live.footing();
    let mut seen = look(live, whose).await?;
    if let Some(footing) = footing {
        footing.translate(&mut seen);
    }
    // As everybody connects to it. It may take long only where somebody takes connections after all.
    for port in inspect::only_ipv6(&seen) {
        let asked = shared.clock.timeout(ASKED, engine.connect(id, port)).await;
        if matches!(asked, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused) {
            seen.refuses_ipv4.push(port);
        }
    }
    Some(seen)
}

/// Looks at an instance. `None` also when the runtime is going down.
pub(super) async fn look(live: Arc<Live>, whose: Whose) -> Option<Inspection> {
    let look = move || {
        let seen = inspect::inspect(&live.members(&whose));
        let usage = live.usage(&whose).unwrap_or_default();
        let groups = live.groups_of(&whose);
        Inspection {
            usage,
            forks_refused: groups.iter().map(|groups| sys::cgroups::forks_refused(groups)).sum(),
            memory_kills: groups.iter().map(|groups| sys::cgroups::memory_kills(groups)).sum(),
            ..seen
        }
    };
    tokio::task::spawn_blocking(look).await.ok()
}
