//! From the launcher's reports to the engine's events.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, watch};
use updraft_base::OnFailure;
use updraft_engine::EngineEvent;
use updraft_model::{
    instance::{Exit, InstanceId, Stream},
    receipt::Receipt,
};

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
        /// The piece of output that they are, as the launcher numbers it.
        number: u64,
    },
    /// It listens on the port that its revision speaks of, though it was told another one.
    Alone(InstanceId, u16),
    /// An end.
    Exit(InstanceId, Ending),
}

/// How an instance ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// Which sidecar brought it about; `None` is the container that takes the traffic.
    pub(super) sidecar: Option<String>,
    /// How that ended.
    pub(super) exit: Exit,
    /// When.
    pub(super) time: SystemTime,
}

/// How long a reader that has stopped reading can hold up a shutdown, for each line.
const PATIENCE: Duration = Duration::from_millis(100);

/// Output that was handed on and is not known to have been dealt with.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<HashSet<(String, u64)>>);

// === impl Unsettled ===

impl Unsettled {
    fn pieces(&self) -> MutexGuard<'_, HashSet<(String, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    /// The launcher keeps a piece of output until the receipt is dropped.
    fn unsettled(self: &Arc<Self>, id: String, number: u64) -> Receipt {
        self.unsettled.pieces().insert((id.clone(), number));
        let shared = Arc::downgrade(self);
        Receipt::new(move || {
            if let Some(shared) = shared.upgrade()
                && shared.unsettled.pieces().remove(&(id.clone(), number))
            {
                shared.request(&Request::Taken { id, number });
            }
        })
    }

    /// No instance is to wait any more until its output has been dealt with.
    pub(super) fn settle_all(&self) {
        let pieces = std::mem::take(&mut *self.unsettled.pieces());
        pieces.into_iter().for_each(|(id, number)| self.request(&Request::Taken { id, number }));
    }

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
            Report::Unchanged { id, cause } => {
                tracing::error!(instance = id, cause, "the files of its secrets could not be exchanged");
            }
            Report::Stocked { shell } => self.pool.stocked(&shell),
            Report::Refused { id, cause } if self.pool.lost(&id) => {
                tracing::warn!(shell = id, cause, "a sandbox could not be made ahead");
            }
            Report::Exited { id, exit, .. } if self.pool.lost(&id) => {
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
            Report::Output { id, stream, lines, number } => {
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
                self.deliver(Delivery::Output { id, sidecar, stream, lines, number });
            }
            Report::Exited { id, exit, at } => {
                let (instance, sidecar) = named(&id);
                let live = self.table.get(&instance);
                let limit = live.as_ref().map_or(0, |live| live.memory_limit_of(sidecar.as_deref()));
                let (exit, time) = (model_exit(exit, limit), UNIX_EPOCH + Duration::from_micros(at));
                match live.as_ref().and_then(|live| Some((&**live, live.company.as_deref()?))) {
                    Some(whole) => self.hear_end(instance, whole, sidecar, (exit, time)),
                    // By the name that the launcher knows, which is to forget it.
                    None => {
                        self.deliver(Delivery::Exit(InstanceId(id), Ending { sidecar: None, exit, time }));
                    }
                }
            }
            // These belong to the greeting.
            Report::Hello { .. } | Report::Kept { .. } | Report::Open | Report::Unable { .. } => {}
        }
    }

    /// The launcher has died, and the kernel has killed its containers.
    pub(super) fn lose_all(&self) {
        self.pool.clear();
        for id in self.table.ids() {
            let sent = self.table.get(&id).is_some_and(|live| live.hold().sent);
            if sent {
                let time = self.clock.now();
                self.deliver(Delivery::Exit(id, Ending { sidecar: None, exit: Exit::Lost, time }));
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
            Some(Delivery::Output { id, sidecar, stream, lines, number }) => {
                let receipt = shared.unsettled(launcher_id(&id, sidecar.as_ref()), number);
                for text in lines {
                    let (id, sidecar, receipt) = (id.clone(), sidecar.clone(), receipt.clone());
                    hand_on(&shared, &events, EngineEvent::Output { id, sidecar, stream, text, receipt }).await;
                }
                // Nobody comes after who could be told again, and whoever reads the events may have stopped.
                if shared.is_down() {
                    shared.settle_all();
                }
            }
            Some(Delivery::Alone(id, port)) => hand_on(&shared, &events, EngineEvent::Alone { id, port }).await,
            Some(Delivery::Exit(id, how)) => {
                let (shared, events) = (shared.clone(), events.clone());
                shared.clone().tasks.spawn("instance end", OnFailure::Log, async move {
                    end(&shared, &events, id, how).await;
                });
            }
            None => return,
        }
    }
}

/// Lets go of what the instance held, then tells.
async fn end(
    shared: &Arc<Shared>,
    events: &mpsc::Sender<EngineEvent>,
    id: InstanceId,
    Ending { sidecar, exit, time }: Ending,
) {
    let receipt = forgetting(shared, &id);
    // Of one that could not be adopted nobody wants to know.
    if let Some(live) = shared.table.get(&id) {
        let ground = live.hold().ground.take();
        if let Some(Ground::Own(attachment)) = ground {
            // Now, and not when all has been told, for which nobody may have time.
            drop(attachment);
        } else if let Some(Ground::Shared(footing)) = ground {
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
        hand_on(shared, events, EngineEvent::Exited { id: id.clone(), sidecar, exit, time, receipt }).await;
        for sidecar in live.company.iter().flat_map(|company| &company.sidecars) {
            sidecar.phase.send_replace(Phase::Ended);
            shared.request(&Request::Forget { id: launcher_id(&id, Some(&sidecar.name)) });
        }
    }
}

/// The launcher keeps an exit until whoever deals with it in the end has done so: a server that is killed before is
/// followed by one that is told again.
fn forgetting(shared: &Arc<Shared>, id: &InstanceId) -> Receipt {
    let (shared, id) = (Arc::downgrade(shared), id.0.clone());
    Receipt::new(move || {
        if let Some(shared) = shared.upgrade() {
            shared.request(&Request::Forget { id });
        }
    })
}

async fn hand_on(shared: &Shared, events: &mpsc::Sender<EngineEvent>, event: EngineEvent) {
    let down = shared.is_down();
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
