//! Calls of instances to the server itself: to services by their URLs, and to the API.
//!
//! The network leads one address, from every instance, at each port of the server to a listener of ours and to nothing else
//! (`net`). What comes in goes on with the instance it is of and the port it meant ([`Engine::visits`]). Until somebody takes
//! it, it is closed.
//!
//! [`Engine::visits`]: updraft_engine::Engine::visits

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use updraft_base::Seats;
use updraft_engine::Visit;
use updraft_model::instance::InstanceId;

use super::{callers, engine::Shared};

/// Who takes visits, if anybody does, and how many there are.
#[derive(Debug)]
pub(super) struct Hall {
    taker: Mutex<Option<mpsc::Sender<Visit>>>,
    seats: Seats<InstanceId>,
}

/// Visits that wait to be taken; more than that are closed.
const WAITING: usize = 256;
/// Connections of all instances to the server, and of one: the front door has room for others then.
const ALL: usize = 8192;
const EACH: usize = 512;

// === impl Hall ===

impl Default for Hall {
    fn default() -> Self {
        Self { taker: Mutex::default(), seats: Seats::new(ALL, EACH) }
    }
}

impl Hall {
    /// From now on visits come out of what is returned; `None` if they come out elsewhere already.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Visit>> {
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        if taker.is_some() {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        *taker = Some(sender);
        Some(receiver)
    }

    fn taker(&self) -> Option<mpsc::Sender<Visit>> {
        self.taker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes visits that mean `port` until the engine has ended.
pub(super) async fn serve(shared: Arc<Shared>, (port, listener): (u16, TcpListener), ended: watch::Receiver<bool>) {
    let hall = shared.clone();
    callers::take(shared, listener, ended, move |stream, id| {
        let hall = &hall.hall;
        // No room, or nobody there: the connection is closed.
        let (Some(taker), Some(seat)) = (hall.taker(), hall.seats.take(&id)) else { return };
        drop(taker.try_send(Visit { stream, id, port, seat }));
    })
    .await;
}
