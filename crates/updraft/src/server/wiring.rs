//! How the parts of a server are started, one function each.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use updraft_apiserver::Api;
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::{Adopted, Engine};
use updraft_engine_local::{LocalConfig, LocalEngine};
use updraft_fleet::{Fleet, FleetConfig, FleetDeps};
use updraft_identity::{Authenticator, Issuer, Tokens};
use updraft_metadata::{Metadata, MetadataDeps};
use updraft_model::{
    account::AccountBook,
    channel::{InstanceBook, LogLine, RevisionBook, RevisionHealth, TaskBook, TaskEnd},
};
use updraft_oci::ImageStore;
use updraft_proxy::{Errand, Proxy};
use updraft_registry::Registry;
use updraft_telemetry::Metrics;

use super::{ApiFallback, EngineChoice, StartError, error, issuer, listen::Listeners};
use crate::config::Config;

/// Who tells who calls, and who makes what they show.
pub(super) fn identify(
    config: &Config,
    listeners: &Listeners,
    accounts: watch::Receiver<Arc<AccountBook>>,
    clock: &Clock,
) -> Result<(Authenticator, Tokens), StartError> {
    let auth = Authenticator::open(config.auth, &config.data_dir)?;
    let tokens = Tokens::open(&config.data_dir, issuer(config, listeners), accounts, clock.clone())?;
    Ok((auth.with_tokens(tokens.clone()), tokens))
}

/// People of an issuer elsewhere, whose keys are fetched from now on. Who may set it up may say where it is: its own host
/// may be anywhere.
pub(super) fn know_people(auth: Authenticator, config: &Config, edges: &Tasks, clock: &Clock) -> Authenticator {
    let Some(settings) = &config.oidc else { return auth };
    let mut outbound = config.outbound.clone();
    let host = settings.issuer.parse::<http::Uri>().ok().and_then(|uri| Some(uri.authority()?.as_str().parse()));
    outbound.policy.allow.extend(host.and_then(Result::ok));
    let (issuer, shutdown) = (Issuer::new(settings.clone(), clock.clone()), edges.shutdown().clone());
    let fetching = issuer.clone().keep_fresh(updraft_outbound::Client::new(outbound));
    edges.spawn("issuer", OnFailure::Log, async move {
        tokio::select! {
            () = fetching => {}
            () = shutdown.asked() => {}
        }
    });
    auth.with_issuer(issuer)
}

/// The engine that was chosen.
pub(super) async fn start_engine(
    choice: EngineChoice,
    listeners: &Listeners,
    images: &ImageStore,
    (core, clock): (&Tasks, &Clock),
) -> Result<Arc<dyn Engine>, StartError> {
    let local = match choice {
        EngineChoice::Local(local) => LocalConfig { ports: listeners.ports(), ..local },
        EngineChoice::Given(engine) => return Ok(engine),
    };
    let (isolation, data_dir) = (local.isolation, local.data_dir.clone());
    match LocalEngine::start(local, images.clone(), core, clock.clone()).await {
        Ok(engine) => Ok(engine),
        Err(failed) => Err(error::explained(failed, isolation, &data_dir)),
    }
}

/// The fleet's ends of the channels.
pub(super) struct FleetEnds {
    pub(super) book: watch::Receiver<Arc<RevisionBook>>,
    pub(super) health: watch::Sender<Arc<RevisionHealth>>,
    pub(super) task_book: watch::Receiver<Arc<TaskBook>>,
    pub(super) task_ends: mpsc::Sender<TaskEnd>,
    pub(super) logs: mpsc::Sender<LogLine>,
    pub(super) instances: watch::Sender<Arc<InstanceBook>>,
}

/// The fleet, with the instances that an earlier server left.
pub(super) fn start_fleet(
    (engine, adopted): (&Arc<dyn Engine>, Vec<Adopted>),
    ends: FleetEnds,
    config: FleetConfig,
    (core, clock): (&Tasks, &Clock),
    metrics: &mut Metrics,
) -> Fleet {
    let FleetEnds { book, health, task_book, task_ends, logs, instances } = ends;
    let (engine, clock, tasks) = (engine.clone(), clock.clone(), core.clone());
    let deps = FleetDeps { engine, clock, tasks, config, book, task_book, task_ends, health, logs, instances, adopted };
    Fleet::start(deps, metrics.registry())
}

/// The metadata server, where the engine leads its instances to one.
pub(super) fn answer_instances(
    engine: &dyn Engine,
    (instances, accounts): (watch::Receiver<Arc<InstanceBook>>, watch::Receiver<Arc<AccountBook>>),
    tokens: &Tokens,
    (core, clock): (&Tasks, &Clock),
) {
    let Some(callers) = engine.metadata() else { return };
    let (tokens, clock, tasks) = (tokens.clone(), clock.clone(), core.clone());
    let metadata = Metadata::new(MetadataDeps { callers, instances, accounts, tokens, clock, tasks });
    // Ends last: requests that are still being answered may need a token.
    core.spawn("metadata server", OnFailure::Stop, metadata.serve());
}

/// From here on requests are answered.
pub(super) fn open_doors(
    listeners: Listeners,
    (proxy, api, registry): (Proxy, Api, Registry),
    (engine, config, errands): (&dyn Engine, &Config, mpsc::Receiver<Errand>),
    edges: &Tasks,
) {
    let Listeners { front, registry: registry_listener, .. } = listeners;
    let front = match engine.visits() {
        Some(visits) => front.and_visits(visits),
        None => front,
    };
    let front = front.and_errands(errands);
    edges.spawn("registry", OnFailure::Stop, registry.serve(registry_listener, edges.clone()));
    let door = front.run(proxy, config.domain.clone(), Arc::new(ApiFallback(api)), edges.clone());
    edges.spawn("front door", OnFailure::Stop, door);
}
