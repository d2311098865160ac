//! The way up of an instance, container by container.
//!
//! The engine starts those that depend on no other; each of the rest is started when those it depends on are up. In
//! which order that is, is decided in `updraft_plan::startup`.

use std::{future::ready, pin::Pin};

use futures::stream::{FuturesUnordered, StreamExt as _};
use updraft_engine::EngineError;
use updraft_model::{
    channel::BookEntry,
    instance::{ContainerSpec, InstanceSpec, Secrets},
};
use updraft_plan::startup::Startup;

use crate::{
    context::Context,
    instance::Instance,
    metrics::{ProbeKind, ProbeResult},
    probe::{Failed, Target, Verdict},
};

/// A startup probe that is under way.
pub(crate) type Probing<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

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

/// Starts the containers that depend on no other, by `starting`. An only one is probed meanwhile: it may listen before
/// the engine could say that it runs. What the probe has begun by then goes on, or a connection would be lost with it.
pub(crate) async fn start<'a>(
    context: &'a Context,
    instance: &'a Instance,
    entry: &'a BookEntry,
    starting: impl Future<Output = Result<(), EngineError>> + Send,
) -> Result<Option<Probing<'a>>, EngineError> {
    let mut starting = std::pin::pin!(starting);
    let Some(probe) = entry.startup_probe.as_ref().filter(|_| entry.spec.sidecars.is_empty()) else {
        starting.await?;
        instance.running.notify_one();
        return Ok(None);
    };
    let target = Target::new(context, instance, (&entry.spec, &entry.spec.ingress));
    let only_connects = target.only_connects(probe);
    let mut probing: Probing<'a> = Box::pin(async move { target.probe(probe).await });
    tokio::select! {
        biased;
        started = &mut starting => {
            started?;
            instance.running.notify_one();
            Ok(Some(probing))
        }
        verdict = &mut probing, if only_connects => {
            starting.await?;
            Ok(Some(Box::pin(ready(verdict))))
        }
    }
}

/// Waits until every container of an instance that has been started is up, and starts those that wait for others.
/// `early` is the probe of an only one, `boosted` the spec with what the containers have while they
/// start, `values` those of their variables.
pub(crate) async fn come_up<'a>(
    context: &Context,
    instance: &Instance,
    (entry, boosted, values): (&'a BookEntry, &InstanceSpec, &Secrets),
    early: Option<Probing<'_>>,
) -> Result<(), Stuck<'a>> {
    let spec = &*entry.spec;
    if let Some(probing) = early {
        return judge(context, instance, (spec, &spec.ingress), probing.await);
    }
    let mut startup = Startup::of(spec);
    let mut on_the_way = FuturesUnordered::new();
    let mut stage = Stage::Started;
    loop {
        for name in startup.take_next() {
            // The names are the spec's own.
            if let Some(container) = spec.container(name) {
                on_the_way.push(bring_up(context, instance, (entry, boosted, values), (container, stage)));
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
    (entry, boosted, values): (&'a BookEntry, &InstanceSpec, &Secrets),
    (container, stage): (&'a ContainerSpec, Stage),
) -> Result<&'a str, Stuck<'a>> {
    let spec = &*entry.spec;
    if stage == Stage::ToStart {
        let spec = (boosted, values);
        context.engine.start_container(&instance.id, spec, &container.name).await.map_err(Stuck::Engine)?;
    }
    let asked = match spec.sidecar_name(container) {
        None => entry.startup_probe.as_ref(),
        Some(sidecar) => entry.sidecar_probes.get(sidecar),
    };
    if let Some(asked) = asked {
        let verdict = Target::new(context, instance, (spec, container)).probe(asked).await;
        judge(context, instance, (spec, container), verdict)?;
    }
    Ok(&container.name)
}

fn judge<'a>(
    context: &Context,
    instance: &Instance,
    (spec, container): (&InstanceSpec, &'a ContainerSpec),
    verdict: Verdict,
) -> Result<(), Stuck<'a>> {
    let result = if verdict.is_ok() { ProbeResult::Success } else { ProbeResult::Failure };
    context.metrics.probe_completed(ProbeKind::Startup, result);
    let passed = verdict.map_err(|failed| Stuck::NotReady(container, failed))?;
    context.say(instance, passed.log);
    if spec.sidecar_name(container).is_none() {
        instance.keep_open(passed.connection);
    }
    Ok(())
}
