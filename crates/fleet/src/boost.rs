//! More CPU for the start of an instance, and the end of that.

use std::{borrow::Cow, io};

use updraft_model::{
    channel::BookEntry,
    instance::{ContainerSpec, InstanceSpec},
};
use updraft_plan::cpu;

use crate::{context::Context, instance::Instance};

/// What to start.
pub(crate) fn spec<'a>(context: &Context, entry: &'a BookEntry) -> Cow<'a, InstanceSpec> {
    let mut spec = Cow::Borrowed(&*entry.spec);
    if entry.spec.containers().any(|container| boosted(context, entry, container).is_some()) {
        let spec = spec.to_mut();
        for container in std::iter::once(&mut spec.ingress).chain(&mut spec.sidecars) {
            container.limits.cpu_millis = boosted(context, entry, container).unwrap_or(container.limits.cpu_millis);
        }
    }
    spec
}

/// Takes away from an instance that is ready what its containers had for their start, once they have had it long
/// enough. Of one that another server had started nobody knows how much that was. Never ends.
pub(crate) async fn settle_down(context: &Context, instance: &Instance, entry: &BookEntry) {
    let spec = &*entry.spec;
    let is_boosted = |container: &ContainerSpec| boosted(context, entry, container).is_some();
    let is_adopted = instance.timing().is_none();
    let settling: Vec<&ContainerSpec> =
        spec.containers().filter(|container| is_adopted || is_boosted(container)).collect();
    if spec.containers().any(is_boosted) {
        context.clock.sleep(cpu::BOOST_AFTER_READY).await;
    }
    for container in settling {
        match context.engine.limit_cpu(&instance.id, spec.sidecar_name(container), container.limits.cpu_millis) {
            Ok(()) => {}
            // It has ended, or its CPU was never limited.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) => {}
            Err(error) => {
                tracing::warn!(
                    instance = %instance.id, container = container.name, %error,
                    "a container keeps the CPU that it had for its start"
                );
            }
        }
    }
    std::future::pending().await
}

/// The CPU of a container's start, if it is more than it has later.
fn boosted(context: &Context, entry: &BookEntry, container: &ContainerSpec) -> Option<u32> {
    let given = container.limits.cpu_millis;
    Some(cpu::at_start(entry.cpu.boost, given, context.config.machine_millis)).filter(|&millis| millis != given)
}
