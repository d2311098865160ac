//! Measures what the revisions have to do, and lets each think its number of instances over.

use std::sync::Arc;

use updraft_plan::scaling::law::TICK;

use crate::context::{Context, Revisions};

/// Runs until the fleet is done. While there is no instance it sleeps without a timer: services at zero cost nothing.
pub(crate) async fn run(context: Arc<Context>, revisions: Arc<Revisions>) {
    loop {
        let due = async {
            context.instances.any().await;
            context.clock.sleep(TICK).await;
        };
        tokio::select! {
            () = context.done.asked() => return,
            () = due => {}
        }
        for revision in revisions.with_instances().iter().filter_map(|name| revisions.known(name)) {
            revision.measure().await;
        }
    }
}
