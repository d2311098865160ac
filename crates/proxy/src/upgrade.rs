//! Connections that stop being HTTP, such as WebSockets.

use http::Response;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use updraft_base::{OnFailure, Sleep, Tasks};

use crate::{forward::Held, record::Trip};

/// What a joined connection holds until its end.
pub(crate) struct Bond {
    pub(crate) client: OnUpgrade,
    pub(crate) held: Held,
    pub(crate) trip: Trip,
    pub(crate) timer: Sleep,
}

/// Passes bytes both ways until one side ends or the request's time is over. The place in the
/// instance is taken all the while: an open WebSocket is a request in flight.
pub(crate) fn join(response: &mut Response<Incoming>, bond: Bond, tasks: &Tasks) {
    let instance = hyper::upgrade::on(response);
    tasks.spawn("upgraded connection", OnFailure::Log, async move {
        let Bond { client, held, trip, timer } = bond;
        let pass = async {
            let Ok((client, instance)) = futures::future::try_join(client, instance).await else { return };
            // Whoever breaks it off knows.
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(instance)).await;
        };
        tokio::select! {
            () = pass => {}
            () = timer => {}
        }
        drop((held, trip));
    });
}
