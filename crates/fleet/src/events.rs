//! Reads what the engine tells.

use std::sync::Arc;

use tokio::sync::mpsc;
use updraft_engine::EngineEvent;
use updraft_model::channel::LogSource;

use crate::{context::Context, ended::Ended};

/// Runs until the fleet is done or the engine gone. Never waits for anybody: an engine that cannot
/// get rid of its events cannot end its instances.
pub(crate) async fn run(context: Arc<Context>, mut events: mpsc::Receiver<EngineEvent>) {
    loop {
        let event = tokio::select! {
            () = context.done.asked() => return,
            event = events.recv() => event,
        };
        match event {
            Some(EngineEvent::Output { id, sidecar, stream, text, receipt }) => {
                if let Some(instance) = context.instances.get(&id) {
                    instance.remember(sidecar.as_ref(), &text);
                    let container = instance.container(sidecar);
                    context.log(&instance, (container, LogSource::Container(stream)), (text, receipt));
                }
            }
            Some(EngineEvent::Alone { id, port }) => {
                if let Some(instance) = context.instances.get(&id) {
                    instance.stands_alone(port);
                }
            }
            Some(EngineEvent::Crowded { id, port, by }) => {
                if let Some(instance) = context.instances.get(&id) {
                    let text = format!(
                        "Port {port} is taken by {by}. Instances share one network here (docs/isolation.md): \
                         the container has to listen on the port that the variable PORT names."
                    );
                    context.say(&instance, text.clone());
                    instance.crowded_out(text);
                }
            }
            Some(EngineEvent::Exited { id, sidecar, exit, time, receipt }) => {
                if let Some(instance) = context.instances.get(&id) {
                    instance.exited(Ended { sidecar, exit, time }, receipt);
                }
            }
            None => return,
        }
    }
}
