//! From the launcher's reports to the engine's events.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use updraft_base::OnFailure;
use updraft_engine::EngineEvent;
use updraft_model::instance::{Exit, InstanceId, Stream};

use super::{
    company::launcher_id,
    engine::Shared,
    live::{Ground, Phase, StartTiming},
};
use crate::protocol::{self, Report, Request, member};

/// Something for the reader of the events. What waits is bounded by the windows of the containers.
#[derive(Debug)]
pub(super) enum Delivery {
    /// Lines, and what they count for.
    Output {
        /// Of which instance.
        id: InstanceId,
        /// Of which sidecar of it, or of the container that takes the traffic.
        sidecar: Option<String>,
        /// On which stream.
        stream: Stream,
        /// Each without its end.
        lines: Vec<String>,
        /// What they count for, in bytes.
        bytes: usize,
    },
    /// It listens on the port that its revision speaks of, though it was told another one.
    Alone(InstanceId, u16),
    /// An end, and which sidecar brought it about.
    Exit(InstanceId, Option<String>, Exit),
}

/// How long a reader that has stopped reading can hold up a shutdown, for each line.
const PATIENCE: Duration = Duration::from_millis(100);

// === impl Shared ===

impl Shared {
    /// Does what a report of the launcher asks for; never waits.
    pub(super) fn hear(&self, report: Report) {
        match report {
            Report::Running { id, steps, keeper } => {
                let (id, sidecar) = named(&id);
                if let Some(live) = self.table.get(&id) {
                    let timing = {
                        let mut hold = live.hold();
                        hold.keeper = keeper;
                        StartTiming::new(&hold, steps)
                    };
                    tracing::debug!(instance = %id, sidecar, ?timing, "started");
                    if let Some(phase) = live.phase_of(sidecar.as_deref()) {
                        phase.send_replace(Phase::Running(timing));
                    }
                }
            }
            Report::Stocked { shell } => self.pool.stocked(&shell),
            Report::Refused { id, cause } if self.pool.lost(&id) => {
                tracing::warn!(shell = id, cause, "a sandbox could not be made ahead");
            }
            Report::Exited { id, exit } if self.pool.lost(&id) => {
                tracing::warn!(shell = id, ?exit, "a sandbox ended before it was used");
                self.request(&Request::Forget { id });
            }
            Report::Refused { id, cause } => {
                let (id, sidecar) = named(&id);
                if let Some(live) = self.table.get(&id)
                    && let Some(company) = &live.company
                {
                    return self.hear_refusal(id, &live, company, (sidecar, cause));
                }
                if let Some(live) = self.table.remove(&id) {
                    // It may have volumes that no container has.
                    self.request(&Request::Forget { id: id.0 });
                    // It may have a copy of an image to remove.
                    let ground = live.hold().ground.take();
                    drop(tokio::task::spawn_blocking(move || drop(ground)));
                    live.phase.send_replace(Phase::Refused(cause));
                }
            }
            Report::Output { id, stream, lines, bytes } => {
                let stream = match stream {
                    protocol::Stream::Stdout => Stream::Stdout,
                    protocol::Stream::Stderr => Stream::Stderr,
                };
                let (id, sidecar) = named(&id);
                if self.config.isolation.is_shared()
                    && let Some(footing) = self.table.get(&id).and_then(|live| live.footing())
                {
                    lines.iter().for_each(|line| footing.hear(line));
                }
                self.deliver(Delivery::Output { id, sidecar, stream, lines, bytes });
            }
            Report::Exited { id, exit } => {
                let (instance, sidecar) = named(&id);
                let live = self.table.get(&instance);
                let limit = live.as_ref().map_or(0, |live| live.memory_limit_of(sidecar.as_deref()));
                let exit = model_exit(exit, limit);
                match live.as_ref().and_then(|live| Some((&**live, live.company.as_deref()?))) {
                    Some(whole) => self.hear_end(instance, whole, sidecar, exit),
                    // By the name that the launcher knows, which is to forget it.
                    None => self.deliver(Delivery::Exit(InstanceId(id), None, exit)),
                }
            }
            // These belong to the greeting.
            Report::Hello { .. } | Report::Open | Report::Unable { .. } => {}
        }
    }

    /// The launcher has died, and the kernel has killed its containers.
    pub(super) fn lose_all(&self) {
        self.pool.clear();
        for id in self.table.ids() {
            let sent = self.table.get(&id).is_some_and(|live| live.hold().sent);
            if sent {
                self.deliver(Delivery::Exit(id, None, Exit::Lost));
            }
        }
    }

    pub(super) fn deliver(&self, delivery: Delivery) {
        // The receiver lives as long as the scope of tasks; after that nobody listens.
        let _ = self.deliveries.send(delivery);
    }
}

/// Hands events on, in order for each instance, until the last launcher is `over`.
pub(super) async fn forward(
    shared: Arc<Shared>,
    mut queue: mpsc::UnboundedReceiver<Delivery>,
    events: mpsc::Sender<EngineEvent>,
    mut over: watch::Receiver<bool>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = queue.recv() => delivery,
            // Also when its task has failed and will say nothing any more.
            _ = over.wait_for(|&over| over) => return,
        };
        match delivery {
            Some(Delivery::Output { id, sidecar, stream, lines, bytes }) => {
                for text in lines {
                    let event = EngineEvent::Output { id: id.clone(), sidecar: sidecar.clone(), stream, text };
                    hand_on(&shared, &events, event).await;
                }
                shared.request(&Request::Taken { id: launcher_id(&id, sidecar.as_ref()), bytes });
            }
            Some(Delivery::Alone(id, port)) => hand_on(&shared, &events, EngineEvent::Alone { id, port }).await,
            Some(Delivery::Exit(id, sidecar, exit)) => {
                let (shared, events) = (shared.clone(), events.clone());
                shared.clone().tasks.spawn("instance end", OnFailure::Log, async move {
                    end(&shared, &events, id, (sidecar, exit)).await;
                });
            }
            None => return,
        }
    }
}

/// Lets go of what the instance held, then tells.
async fn end(
    shared: &Shared,
    events: &mpsc::Sender<EngineEvent>,
    id: InstanceId,
    (sidecar, exit): (Option<String>, Exit),
) {
    // An exit that was told before a reconnect comes again.
    if let Some(live) = shared.table.get(&id) {
        let ground = live.hold().ground.take();
        if let Some(Ground::Shared(footing)) = ground {
            let port = footing.missed_port();
            let (commons, footing) = (shared.commons.clone(), Some(footing));
            let cleared = tokio::task::spawn_blocking(move || {
                let by = commons.zip(port).and_then(|(commons, port)| Some((port, commons.owner(port)?)));
                // Removes the copy of its image.
                drop(footing);
                by
            });
            if let Ok(Some((port, by))) = cleared.await {
                hand_on(shared, events, EngineEvent::Crowded { id: id.clone(), port, by }).await;
            }
        }
        live.phase.send_replace(Phase::Ended);
        shared.table.remove(&id);
        hand_on(shared, events, EngineEvent::Exited { id: id.clone(), sidecar, exit }).await;
        for sidecar in live.company.iter().flat_map(|company| &company.sidecars) {
            sidecar.phase.send_replace(Phase::Ended);
            shared.request(&Request::Forget { id: launcher_id(&id, Some(&sidecar.name)) });
        }
    }
    shared.request(&Request::Forget { id: id.0 });
}

async fn hand_on(shared: &Shared, events: &mpsc::Sender<EngineEvent>, event: EngineEvent) {
    let down = shared.down.load(std::sync::atomic::Ordering::SeqCst);
    let sent = events.send(event);
    if down {
        let _ = shared.clock.timeout(PATIENCE, sent).await;
    } else {
        // Without a reader nobody wants to know.
        let _ = sent.await;
    }
}

/// The instance and the sidecar of what the launcher calls so.
fn named(id: &str) -> (InstanceId, Option<String>) {
    let (instance, sidecar) = member(id);
    (InstanceId(instance.to_owned()), sidecar.map(str::to_owned))
}

fn model_exit(exit: protocol::Exit, limit: u64) -> Exit {
    match exit {
        protocol::Exit::Code(code) => Exit::Code(code),
        protocol::Exit::Signal(signal) => Exit::Signal(signal),
        protocol::Exit::OutOfMemory { used } => Exit::OutOfMemory { limit, used },
        protocol::Exit::OutOfProcesses { limit, status } => Exit::OutOfProcesses { limit, status },
        protocol::Exit::NotStarted { cause } => Exit::NotStarted { cause: cause.into() },
    }
}
