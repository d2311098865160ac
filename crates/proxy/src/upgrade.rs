//! Connections that stop being HTTP, such as WebSockets.

use std::{pin::pin, time::Duration};

use http::Response;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split},
    sync::Notify,
};
use updraft_base::{Clock, OnFailure, Sleep};

use crate::{forward::Held, record::Trip, respond::Rejection, serve::Lines};

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
        let Bond { client, held, mut trip, timer } = bond;
        let ends = async {
            let Ok((client, instance)) = futures::future::try_join(client, instance).await else { return };
            pass(TokioIo::new(client), TokioIo::new(instance), &clock).await;
        };
        tokio::select! {
            () = ends => {}
            () = timer => trip.access().note = Rejection::Timeout.note(),
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
    let (mut from_client, to_client) = split(client);
    let (from_instance, mut to_instance) = split(instance);
    let said_all = Notify::new();
    let there = async {
        let copied = copy(&mut from_client, &mut to_instance).await;
        // Whoever breaks it off knows; so below.
        let _ = to_instance.shutdown().await;
        said_all.notify_one();
        copied
    };
    let (mut there, mut back) = (pin!(there), pin!(give_back(from_instance, to_client, &said_all, clock)));
    tokio::select! {
        copied = there.as_mut() => match copied {
            // A client that has said all it had to say still listens.
            Ok(_) => back.await,
            Err(_) => drop(clock.timeout(LINGER, back).await),
        },
        () = back.as_mut() => drop(clock.timeout(LINGER, there).await),
    }
}

/// Copies from the instance to the client. Once the client has said all, its connection is looked at from time to time:
/// over HTTP/2 a stream that was reset looks like one that ended, and an instance that stays silent would keep the place
/// of a client that is gone.
async fn give_back<I, C>(mut from_instance: I, mut to_client: C, said_all: &Notify, clock: &Clock)
where
    I: AsyncRead + Unpin,
    C: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 16 << 10];
    let mut is_silent = false;
    loop {
        let look = async { if is_silent { clock.sleep(LINGER).await } else { said_all.notified().await } };
        let read = tokio::select! {
            read = from_instance.read(&mut buffer) => read,
            () = look => match to_client.flush().await {
                Ok(()) => {
                    is_silent = true;
                    continue;
                }
                Err(_) => return,
            },
        };
        let Ok(count @ 1..) = read else { break };
        if to_client.write_all(&buffer[..count]).await.is_err() || to_client.flush().await.is_err() {
            return;
        }
    }
    let _ = to_client.shutdown().await;
}
