//! More CPU for the start of an instance, and the end of that.

use std::{borrow::Cow, io};

use updraft_model::{channel::BookEntry, instance::InstanceSpec};
use updraft_plan::cpu;

use crate::{context::Context, instance::Instance};

/// What to start.
pub(crate) fn spec<'a>(context: &Context, entry: &'a BookEntry) -> Cow<'a, InstanceSpec> {
    let mut spec = Cow::Borrowed(&*entry.spec);
    if let Some(millis) = boosted(context, entry) {
        spec.to_mut().limits.cpu_millis = millis;
    }
    spec
}

/// Takes away from an instance that is ready what it had for its start, once it has had it long enough. Of one that
/// another server had started nobody knows how much that was. Never ends.
pub(crate) async fn settle_down(context: &Context, instance: &Instance, entry: &BookEntry) {
    let is_boosted = boosted(context, entry).is_some();
    if is_boosted {
        context.clock.sleep(cpu::BOOST_AFTER_READY).await;
    }
    let is_adopted = instance.timing().is_none();
    if is_boosted || is_adopted {
        match context.engine.limit_cpu(&instance.id, entry.spec.limits.cpu_millis) {
            Ok(()) => {}
            // It has ended, or its CPU was never limited.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) => {}
            Err(error) => {
                tracing::warn!(instance = %instance.id, %error, "an instance keeps the CPU that it had for its start");
            }
        }
    }
    std::future::pending().await
}

/// The CPU of a start, if it is more than the instance has later.
fn boosted(context: &Context, entry: &BookEntry) -> Option<u32> {
    let given = entry.spec.limits.cpu_millis;
    Some(cpu::at_start(entry.cpu.boost, given, context.config.machine_millis)).filter(|&millis| millis != given)
}
