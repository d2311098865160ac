//! The events of a [`crate::FakeEngine`]: handed on, and kept until they have been dealt with.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;
use updraft_model::{instance::InstanceId, receipt::Receipt};

use crate::{Adopted, EngineEvent, fake::Generation};

/// Events that wait for the reader before instances have to wait for it.
const EVENTS: usize = 4096;

/// Where events are handed on.
#[derive(Debug)]
pub(crate) struct Desk(Mutex<State>);

#[derive(Debug)]
struct State {
    sender: mpsc::Sender<EngineEvent>,
    receiver: Option<mpsc::Receiver<EngineEvent>>,
    /// How many servers were killed: what they drop means nothing.
    generation: Generation,
    /// What nobody has dealt with.
    unsettled: BTreeMap<u64, EngineEvent>,
    next: u64,
    /// Every instance whose end nobody has dealt with.
    known: HashMap<InstanceId, Adopted>,
    /// Those that were there when the present server came.
    adopted: Vec<Adopted>,
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(EVENTS);
        Self(Mutex::new(State {
            sender,
            receiver: Some(receiver),
            generation: 0,
            unsettled: BTreeMap::new(),
            next: 0,
            known: HashMap::new(),
            adopted: Vec::new(),
        }))
    }

    /// An instance is started.
    pub(crate) fn know(&self, instance: Adopted) {
        self.lock().known.insert(instance.id.clone(), instance);
    }

    /// Those that were there before.
    pub(crate) fn adopted(&self) -> Vec<Adopted> {
        self.lock().adopted.clone()
    }

    /// The receiver, once.
    pub(crate) fn events(&self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.lock().receiver.take()
    }

    /// Hands an event on, which `make` makes with a receipt.
    pub(crate) async fn tell(self: &Arc<Self>, make: impl Fn(Receipt) -> EngineEvent + Send) {
        let (sender, event) = {
            let mut state = self.lock();
            let number = state.next;
            state.next += 1;
            state.unsettled.insert(number, make(Receipt::default()));
            (state.sender.clone(), make(self.receipt(number, state.generation)))
        };
        // Without a reader nobody wants to know.
        let _ = sender.send(event).await;
    }

    /// The server has been killed; the next one is told what nobody has dealt with.
    pub(crate) fn succeed(self: &Arc<Self>) -> Generation {
        let mut state = self.lock();
        let (sender, receiver) = mpsc::channel(EVENTS + state.unsettled.len());
        (state.sender, state.receiver) = (sender, Some(receiver));
        state.generation += 1;
        state.adopted = state.known.values().cloned().collect();
        for (&number, event) in &state.unsettled {
            let mut event = event.clone();
            if let EngineEvent::Output { receipt, .. } | EngineEvent::Exited { receipt, .. } = &mut event {
                *receipt = self.receipt(number, state.generation);
            }
            // There is room for all of them.
            let _ = state.sender.try_send(event);
        }
        state.generation
    }

    /// How many servers were killed.
    pub(crate) fn generation(&self) -> Generation {
        self.lock().generation
    }

    fn receipt(self: &Arc<Self>, number: u64, generation: Generation) -> Receipt {
        let desk = Arc::downgrade(self);
        Receipt::new(move || {
            let Some(desk) = desk.upgrade() else { return };
            let mut state = desk.lock();
            if state.generation != generation {
                return;
            }
            if let Some(EngineEvent::Exited { id, .. }) = state.unsettled.remove(&number) {
                state.known.remove(&id);
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
