//! Connections, each of one instance.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, request::Parts};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, OnFailure, Seats, Shutdown, Tasks};
use updraft_model::{
    account::AccountBook,
    channel::{InstanceBook, Workload},
    instance::InstanceId,
};

use crate::{
    MetadataDeps,
    answer::{self, Refusal, Reply},
    ask::{Ask, Form, WAIT_MAX, Wait},
    mint::{self, Mint, Want},
    tree::{Made, Node},
};

/// Connections of all instances, and of one.
const CONNECTIONS: usize = 4096;
const CONNECTIONS_EACH: usize = 32;
/// The head of a request: that long, with so many headers, within this time.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection is kept, whatever happens on it; a request under way is answered.
const LIFE: Duration = Duration::from_secs(600);
/// After a restart it takes a moment until it is known again what an instance is.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// How long answers under way have when the server ends.
const DRAIN: Duration = Duration::from_secs(2);

/// The metadata server.
pub struct Metadata {
    callers: mpsc::Receiver<(TcpStream, InstanceId)>,
    tasks: Tasks,
    desk: Arc<Desk>,
}

/// What a connection works with.
struct Desk {
    instances: watch::Receiver<Arc<InstanceBook>>,
    accounts: watch::Receiver<Arc<AccountBook>>,
    mint: Mint,
    clock: Clock,
    shutdown: Shutdown,
}

// === impl Metadata ===

impl Metadata {
    /// A server that answers once it is told to [`serve`](Metadata::serve).
    pub fn new(deps: MetadataDeps) -> Self {
        let MetadataDeps { callers, instances, accounts, tokens, clock, tasks } = deps;
        let mint = Mint::new(tokens, clock.clone());
        let desk = Arc::new(Desk { instances, accounts, mint, clock, shutdown: tasks.shutdown().clone() });
        Self { callers, tasks, desk }
    }

    /// Answers until there is nobody any more who could ask, or the end is asked for.
    pub async fn serve(mut self) {
        let seats = Seats::new(CONNECTIONS, CONNECTIONS_EACH);
        loop {
            let call = tokio::select! {
                call = self.callers.recv() => call,
                () = self.desk.shutdown.asked() => None,
            };
            let Some((stream, id)) = call else { return };
            // No room: it is closed, and the client asks again.
            let Some(seat) = seats.take(&id) else { continue };
            let desk = self.desk.clone();
            self.tasks.spawn("metadata connection", OnFailure::Log, async move {
                desk.connection(stream, id).await;
                drop(seat);
            });
        }
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metadata")
    }
}

// === impl Desk ===

impl Desk {
    async fn connection(self: Arc<Self>, stream: TcpStream, id: InstanceId) {
        // Answers are small: Nagle's algorithm would only hold them back.
        let _ = stream.set_nodelay(true);
        let (desk, whose) = (self.clone(), id.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (desk, id) = (desk.clone(), whose.clone());
            async move { Ok::<_, Infallible>(desk.answer(&id, &request.into_parts().0).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            patience = self.over(&id) => {
                connection.as_mut().graceful_shutdown();
                self.clock.timeout(patience, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(instance = %id, %error, "a connection to the metadata server broke");
        }
    }

    /// Ends when a connection of `id` should, and says how long an answer under way has then.
    async fn over(&self, id: &InstanceId) -> Duration {
        tokio::select! {
            () = self.clock.sleep(LIFE) => WAIT_MAX + DRAIN,
            () = self.shutdown.asked() => DRAIN,
            () = self.gone(id) => Duration::ZERO,
        }
    }

    /// Ends when the instance has: whoever has its address next is somebody else.
    async fn gone(&self, id: &InstanceId) {
        let mut instances = self.instances.clone();
        let known = instances.wait_for(|book| book.entries.contains_key(id)).await.is_ok();
        // Without a fleet the server is ending.
        if known {
            let _ = instances.wait_for(|book| !book.entries.contains_key(id)).await;
        }
    }

    /// One answer. What is asked is all in the head; a body is not read.
    async fn answer(&self, id: &InstanceId, head: &Parts) -> Reply {
        match self.find(id, head).await {
            Ok(reply) => reply,
            Err(refusal) => refusal.reply(),
        }
    }

    async fn find(&self, id: &InstanceId, head: &Parts) -> Result<Reply, Refusal> {
        let ask = Ask::read(head)?;
        let (form, wait) = (ask.form()?, ask.wait()?);
        let workload = self.workload(id).await?;
        let root = Node::of(id, &workload);
        let path = head.uri.path();
        let node = root.at(&ask.segments).ok_or_else(|| Refusal::Unknown(path.to_owned()))?;
        match node {
            Node::Directory(_) if !ask.is_directory => return Ok(answer::moved(path, head.uri.query())),
            Node::Directory(_) => {}
            _ if ask.is_directory => return Err(Refusal::Unknown(path.to_owned())),
            _ => {}
        }
        if let Node::Made(made) = node {
            return self.make(*made, (id, &workload), &ask).await;
        }
        let is_whole = ask.is_recursive() && matches!(node, Node::Directory(_));
        let form = form.unwrap_or(if is_whole { Form::Json } else { Form::Text });
        let body = if is_whole { node.whole(form) } else { node.plain(form) };
        if let Some(wait) = wait {
            self.wait_for_change(&wait, &body).await;
        }
        Ok(answer::value(form, body))
    }

    /// What an instance is. One that a server before this one had started is known once its revision is.
    async fn workload(&self, id: &InstanceId) -> Result<Arc<Workload>, Refusal> {
        let mut instances = self.instances.clone();
        let known = instances.wait_for(|book| book.entries.contains_key(id));
        let Ok(Ok(book)) = self.clock.timeout(UNKNOWN_FOR, known).await else { return Err(Refusal::NotYet) };
        book.entries.get(id).cloned().ok_or(Refusal::NotYet)
    }

    /// No value of an instance changes while it lives. Who knows another value than ours is told ours at once; who knows
    /// it waits as long as they said, and is then told that it is the same.
    async fn wait_for_change(&self, wait: &Wait, body: &str) {
        if wait.last_etag.as_ref().is_some_and(|known| *known != answer::etag(body)) {
            return;
        }
        tokio::select! {
            () = self.clock.sleep(wait.at_most) => {}
            () = self.shutdown.asked() => {}
        }
    }

    async fn make(&self, made: Made, (id, workload): (&InstanceId, &Workload), ask: &Ask) -> Result<Reply, Refusal> {
        let want = match made {
            Made::Token => Want::access(ask)?,
            Made::Identity => Want::identity(ask)?,
        };
        // Asked at each use: a token that is kept is nobody's any more once its account is switched off.
        let account = mint::account(&self.accounts.borrow(), workload)?;
        let (token, seconds) = self.mint.token(id, account, want).await?;
        Ok(match made {
            Made::Token => {
                let body = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"});
                answer::made(Form::Json, body.to_string())
            }
            Made::Identity => answer::made(Form::Text, token),
        })
    }
}
