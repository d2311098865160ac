//! Connections that stop being HTTP, such as WebSockets.

use std::{pin::pin, time::Duration};

use http::Response;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use updraft_base::{Clock, OnFailure, Sleep};

use crate::{forward::Held, record::Trip, serve::Lines};

/// Once the instance has ended its side, or a connection broke, what is on the way in the other
/// direction has this long: a client that stays silent would keep its place for hours otherwise.
const LINGER: Duration = Duration::from_secs(1);

/// What a joined connection holds until its end.
pub(crate) struct Bond {
    pub(crate) client: OnUpgrade,
    pub(crate) held: Held,
    pub(crate) trip: Trip,
    pub(crate) timer: Sleep,
}

/// Passes bytes both ways until the instance ends, the request's time is over, or the front door
/// cuts it. The place in the instance is taken all the while: an open WebSocket is a request in
/// flight.
pub(crate) fn join(response: &mut Response<Incoming>, bond: Bond, lines: &Lines, clock: &Clock) {
    let instance = hyper::upgrade::on(response);
    let (cut, clock) = (lines.cut.clone(), clock.clone());
    lines.upgraded.spawn("upgraded connection", OnFailure::Log, async move {
        let Bond { client, held, trip, timer } = bond;
        let ends = async {
            let Ok((client, instance)) = futures::future::try_join(client, instance).await else { return };
            pass(TokioIo::new(client), TokioIo::new(instance), &clock).await;
        };
        tokio::select! {
            () = ends => {}
            () = timer => {}
            () = cut.asked() => {}
        }
        drop((held, trip));
    });
}

async fn pass<C, I>(client: C, instance: I, clock: &Clock)
where
    C: AsyncRead + AsyncWrite,
    I: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_instance, mut to_instance) = split(instance);
    let there = async {
        let copied = copy(&mut from_client, &mut to_instance).await;
        // Whoever breaks it off knows; so below.
        let _ = to_instance.shutdown().await;
        copied
    };
    let back = async {
        let _ = copy(&mut from_instance, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let (mut there, mut back) = (pin!(there), pin!(back));
    tokio::select! {
        copied = there.as_mut() => match copied {
            // A client that has said all it had to say still listens.
            Ok(_) => back.await,
            Err(_) => drop(clock.timeout(LINGER, back).await),
        },
        () = back.as_mut() => drop(clock.timeout(LINGER, there).await),
    }
}
