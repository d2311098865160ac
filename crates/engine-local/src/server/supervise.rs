//! Keeps a launcher alive.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::watch;
use updraft_base::Backoff;

use super::{
    engine::{Shared, chain},
    link::{Launcher, LinkError, Orders},
};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

// === impl Shared ===

impl Shared {
    /// Starts a launcher; from now on requests go there.
    pub(super) async fn spawn_launcher(&self) -> Result<Launcher, LinkError> {
        let orders = Orders {
            command: &self.config.launcher,
            tag: &self.premises.tag,
            run_dir: &self.premises.run_dir,
            isolation: self.config.isolation,
            runtime: self.runtime.as_ref().map(|runtime| runtime.path.as_path()),
            lock: &self.premises.lock,
            clock: &self.clock,
        };
        let (launcher, link) = Launcher::spawn(&orders).await?;
        if let Some(pid) = launcher.pid() {
            self.premises.note_launcher(pid);
        }
        self.set_link(Some(link));
        Ok(launcher)
    }
}

/// Serves `launcher` and, when it dies, the next one, until the engine is shut down.
pub(super) async fn run(shared: Arc<Shared>, mut launcher: Launcher, over: watch::Sender<bool>) {
    loop {
        let served = launcher.serve(|report| shared.hear(report)).await;
        shared.set_link(None);
        launcher.end(&shared.clock).await;
        if shared.down.load(Ordering::SeqCst) && served.is_ok() {
            break;
        }
        if let Err(error) = served {
            tracing::error!(error = chain(&error), "the launcher was lost, and its instances with it");
        }
        if let Err(error) = shared.premises.sweep(&shared.layout).await {
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
