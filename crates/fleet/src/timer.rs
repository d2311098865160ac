//! Wakes revisions whose plan is due.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{Arc, Weak},
    time::Instant,
};

use tokio::sync::mpsc;

use crate::{context::Context, revision::Revision};

/// Runs until the fleet is done. A revision that wants to be woken twice is woken twice: it decides
/// anew each time, so that does no harm.
pub(crate) async fn run(context: Arc<Context>, mut wishes: mpsc::UnboundedReceiver<(Instant, Weak<Revision>)>) {
    let mut due = BinaryHeap::new();
    let mut sleepers = BTreeMap::new();
    let mut number = 0u64;
    loop {
        let next = due.peek().map(|Reverse((at, _))| *at);
        let wait = async {
            match next {
                Some(at) => context.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = context.done.asked() => return,
            Some((at, revision)) = wishes.recv() => {
                number += 1;
                due.push(Reverse((at, number)));
                sleepers.insert(number, revision);
            }
            () = wait => {
                let Some(Reverse((at, number))) = due.pop() else { continue };
                if let Some(revision) = sleepers.remove(&number).and_then(|revision: Weak<Revision>| revision.upgrade()) {
                    revision.wake(at);
                }
            }
        }
    }
}
