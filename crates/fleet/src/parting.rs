//! The end of an instance that is told to end.

use std::time::Duration;

use crate::{context::Context, instance::Instance};

/// After SIGKILL the engine has this long to say that the instance is gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long the engine has to tell how an instance ended to which connections break off.
const NEWS: Duration = Duration::from_millis(500);

/// Ends an instance that is told to end. One that nobody can connect to any more is mostly about to end by itself, such as after
/// one of its containers has: then how it ended is told, which says more than that it was out of reach.
pub(crate) async fn part(context: &Context, instance: &Instance) {
    if instance.is_out_of_reach()
        && let Ok(ended) = context.clock.timeout(NEWS, instance.until_exit()).await
    {
        context.say_end(instance, &ended);
    }
    end(context, instance, context.config.stop_grace).await;
}

/// Ends the process and waits until it is gone.
pub(crate) async fn end(context: &Context, instance: &Instance, grace: Duration) {
    instance.detach();
    instance.frost.finish(context, &instance.id);
    for grace in [grace, Duration::ZERO] {
        context.engine.stop(&instance.id, grace).await;
        if context.clock.timeout(grace + KILL_PATIENCE, instance.until_exit()).await.is_ok() {
            drop(instance.receipt());
            return;
        }
    }
    tracing::error!(owner = %instance.owner, instance = %instance.id, "the engine does not say that the instance is gone");
}
