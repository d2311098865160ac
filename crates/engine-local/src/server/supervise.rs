//! Keeps a launcher alive.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::watch;
use updraft_base::{Backoff, Clock};

use super::{
    config::LocalConfig,
    engine::{Shared, chain},
    leftovers::Premises,
    link::{Launcher, Link, LinkError, Orders},
    runtime::Runtime,
};
use crate::sandbox::users::Identities;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

// === impl Shared ===

impl Shared {
    /// Starts a launcher; from now on requests go there.
    pub(super) async fn spawn_launcher(&self) -> Result<Launcher, LinkError> {
        let orders = orders((&self.config, self.runtime.as_ref(), self.identities), &self.premises, &self.clock);
        let lock = self.premises.hand_over().map_err(LinkError::Lock)?;
        let (launcher, link) = Launcher::spawn(&orders, lock).await?;
        self.enlist(&launcher, link);
        Ok(launcher)
    }

    /// From now on requests go there.
    pub(super) fn enlist(&self, launcher: &Launcher, link: Link) {
        if let Some(pid) = launcher.pid() {
            self.premises.note_launcher(pid);
        }
        self.set_link(Some(link));
    }
}

/// What a launcher of this engine needs to know.
pub(super) fn orders<'a>(
    (config, runtime, identities): (&'a LocalConfig, Option<&'a Runtime>, Identities),
    premises: &'a Premises,
    clock: &'a Clock,
) -> Orders<'a> {
    Orders {
        command: &config.launcher,
        tag: &premises.tag,
        run_dir: &premises.run_dir,
        isolation: config.isolation,
        identities,
        runtime: runtime.map(|runtime| runtime.path.as_path()),
        orphaned: config.orphaned,
        clock,
    }
}

/// Serves `launcher` and, when it dies, the next one, until the engine is shut down.
pub(super) async fn run(shared: Arc<Shared>, mut launcher: Launcher, over: watch::Sender<bool>) {
    loop {
        let served = launcher.serve(|report| shared.hear(report)).await;
        shared.set_link(None);
        match &served {
            Ok(()) => launcher.end(&shared.clock).await,
            Err(_) => launcher.kill().await,
        }
        if shared.down.load(Ordering::SeqCst) && served.is_ok() {
            break;
        }
        if let Err(error) = served {
            tracing::error!(error = chain(&error), "the launcher was lost, and its instances with it");
        }
        // One that was adopted had the lock to itself; the next one inherits it from us.
        let cleared = shared.premises.take(&shared.clock).await;
        if let Err(error) = cleared.and(shared.premises.sweep(&shared.layout).await) {
            tracing::error!(%error, "what the lost launcher left could not be removed");
        }
        shared.lose_all();
        let Some(next) = revive(&shared).await else { break };
        launcher = next;
    }
    // Whoever waits may have gone.
    let _ = over.send(true);
}

async fn revive(shared: &Shared) -> Option<Launcher> {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    while !shared.down.load(Ordering::SeqCst) {
        match shared.spawn_launcher().await {
            Ok(launcher) => return Some(launcher),
            Err(error) => tracing::error!(error = chain(&error), "the launcher could not be restarted"),
        }
        shared.clock.sleep(backoff.next_delay()).await;
    }
    None
}
