//! Reads what the engine tells.

use std::sync::Arc;

use tokio::sync::mpsc;
use updraft_engine::EngineEvent;
use updraft_model::channel::LogSource;

use crate::context::Context;

/// Runs until the fleet is done or the engine gone. Never waits for anybody: an engine that cannot
/// get rid of its events cannot end its instances.
pub(crate) async fn run(context: Arc<Context>, mut events: mpsc::Receiver<EngineEvent>) {
    loop {
        let event = tokio::select! {
            () = context.done.asked() => return,
            event = events.recv() => event,
        };
        match event {
            Some(EngineEvent::Output { id, stream, text }) => {
                if let Some(instance) = context.instances.get(&id) {
                    instance.remember(&text);
                    context.log(&instance, LogSource::Container(stream), text);
                }
            }
            Some(EngineEvent::Exited { id, exit }) => {
                if let Some(instance) = context.instances.get(&id) {
                    instance.exited(exit);
                }
            }
            None => return,
        }
    }
}
