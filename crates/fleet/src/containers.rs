//! The way up of an instance, container by container.
//!
//! The engine starts those that depend on no other; each of the rest is started when those it depends on are up. In which
//! order that is, is decided in `updraft_plan::startup`.

use futures::stream::{FuturesUnordered, StreamExt as _};
use updraft_engine::EngineError;
use updraft_model::{
    channel::BookEntry,
    instance::{ContainerSpec, InstanceSpec},
};
use updraft_plan::startup::Startup;

use crate::{
    context::Context,
    instance::Instance,
    probe::{Failed, Target, Verdict},
};

/// Why an instance did not come up, though nothing of it ended.
#[derive(Debug)]
pub(crate) enum Stuck<'a> {
    /// A container could not be started.
    Engine(EngineError),
    /// A container did not pass its startup probe.
    NotReady(&'a ContainerSpec, Box<Failed>),
}

/// Has a container been started?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Started,
    ToStart,
}

/// Starts the containers that depend on no other. An only one may be known to listen before the engine could say that it
/// runs: then that is what is returned.
pub(crate) async fn start(
    context: &Context,
    instance: &Instance,
    (entry, spec): (&BookEntry, &InstanceSpec),
) -> Result<Option<Verdict>, EngineError> {
    let probe = &entry.startup_probe;
    let target = Target::new(context, instance, (spec, &spec.ingress));
    let mut starting = std::pin::pin!(context.engine.start(&instance.id, spec));
    tokio::select! {
        biased;
        started = &mut starting => started.map(|()| None),
        verdict = target.probe(probe), if spec.sidecars.is_empty() && target.only_connects(probe) => {
            starting.await.map(|()| Some(verdict))
        }
    }
}

/// Waits until every container of an instance that has been started is up, and starts those that wait for others. `early`
/// is what is known of an only one already, `boosted` the spec with what the containers have while they start.
pub(crate) async fn come_up<'a>(
    context: &Context,
    instance: &Instance,
    (entry, boosted): (&'a BookEntry, &InstanceSpec),
    early: Option<Verdict>,
) -> Result<(), Stuck<'a>> {
    let spec = &*entry.spec;
    if spec.sidecars.is_empty() {
        let target = Target::new(context, instance, (spec, &spec.ingress));
        let verdict = match early {
            Some(verdict) => verdict,
            None => target.probe(&entry.startup_probe).await,
        };
        return judge(context, instance, &spec.ingress, verdict);
    }
    let mut startup = Startup::of(spec);
    let mut on_the_way = FuturesUnordered::new();
    let mut stage = Stage::Started;
    loop {
        for name in startup.take_next() {
            // The names are the spec's own.
            if let Some(container) = spec.container(name) {
                on_the_way.push(bring_up(context, instance, (entry, boosted), (container, stage)));
            }
        }
        stage = Stage::ToStart;
        match on_the_way.next().await {
            Some(went) => startup.came_up(went?),
            // Nobody is left who could set another one free: that containers wait for each other in a circle is refused
            // where they are declared.
            None => return Ok(()),
        }
    }
}

/// Starts one container and waits until it is up. Returns its name.
async fn bring_up<'a>(
    context: &Context,
    instance: &Instance,
    (entry, boosted): (&'a BookEntry, &InstanceSpec),
    (container, stage): (&'a ContainerSpec, Stage),
) -> Result<&'a str, Stuck<'a>> {
    let spec = &*entry.spec;
    if stage == Stage::ToStart {
        context.engine.start_container(&instance.id, boosted, &container.name).await.map_err(Stuck::Engine)?;
    }
    let is_ingress = container.name == spec.ingress.name;
    let asked = if is_ingress { Some(&entry.startup_probe) } else { entry.sidecar_probes.get(&container.name) };
    if let Some(asked) = asked {
        let verdict = Target::new(context, instance, (spec, container)).probe(asked).await;
        judge(context, instance, container, verdict)?;
    }
    Ok(&container.name)
}

fn judge<'a>(
    context: &Context,
    instance: &Instance,
    container: &'a ContainerSpec,
    verdict: Verdict,
) -> Result<(), Stuck<'a>> {
    let success = verdict.map_err(|failed| Stuck::NotReady(container, failed))?;
    context.say(instance, success);
    Ok(())
}
