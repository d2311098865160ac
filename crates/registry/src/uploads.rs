//! `/v2/<name>/blobs/uploads/…`: blobs on their way in.
//!
//! An upload lives in this process: after a restart clients are told that it is unknown and begin
//! again. One that nobody touches for an hour is dropped with what it had.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use updraft_base::{Clock, Shutdown};
use updraft_oci::{ContentStore, Digest, Upload};

use crate::{
    Registry,
    error::Refusal,
    respond::{self, CONTENT_DIGEST, Reply, UPLOAD_UUID},
    route::Query,
};

/// More at once are refused: each holds a file and half a mebibyte.
const MAX_SESSIONS: usize = 1024;
/// How long an upload may lie idle.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// How often idle ones are looked for.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// The uploads under way.
#[derive(Debug)]
pub(crate) struct Sessions {
    clock: Clock,
    open: Mutex<HashMap<String, Open>>,
}

/// Which upload a request speaks of.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) query: Query,
}

/// Where a new upload is to go, and how.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) query: Query,
}

#[derive(Debug, Clone)]
struct Open {
    /// The repository it was started in: an id is of no use in another.
    name: String,
    touched: Instant,
    /// `None` once it is finished. Requests for one upload wait for each other.
    upload: Arc<tokio::sync::Mutex<Option<Upload>>>,
}

/// `POST`: a mount, a whole blob, or the start of an upload.
pub(crate) async fn start(
    registry: &Registry,
    method: &Method,
    body: &mut Incoming,
    wish: &Wish,
) -> Result<Reply, Refusal> {
    if *method != Method::POST {
        return Err(Refusal::method());
    }
    let Wish { name, query } = wish;
    let content = &registry.content;
    if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from")) {
        let digest: Digest = digest.parse()?;
        // A mount that cannot be is no error: the client then uploads.
        if content.linked_blob(from, &digest).await.is_ok() {
            content.link_blob(name, &digest).await?;
            return Ok(created(name, &digest));
        }
    } else if let Some(digest) = query.get("digest") {
        let digest: Digest = digest.parse()?;
        let mut upload = content.upload().await?;
        receive(&mut upload, body).await?;
        return finish(content, upload, name, &digest).await;
    }
    let upload = content.upload().await?;
    let id = registry.sessions.open(name, upload)?;
    Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
}

/// What may be done with an upload under way.
pub(crate) async fn handle(
    registry: &Registry,
    head: &Parts,
    body: &mut Incoming,
    session: &Session,
) -> Result<Reply, Refusal> {
    let unknown = || Refusal::upload_unknown(&session.id);
    let open = registry.sessions.find(session).ok_or_else(unknown)?;
    let mut slot = open.upload.lock().await;
    let upload = slot.as_mut().ok_or_else(unknown)?;
    let reply = match head.method {
        Method::GET => Ok(progress(StatusCode::NO_CONTENT, &session.name, &session.id, upload.size())),
        Method::PATCH => {
            check_range(&head.headers, session, upload.size())?;
            let received = receive(upload, body).await;
            received.map(|()| progress(StatusCode::ACCEPTED, &session.name, &session.id, upload.size()))
        }
        Method::PUT => {
            let digest: Digest = session.query.get("digest").unwrap_or_default().parse()?;
            check_range(&head.headers, session, upload.size())?;
            receive(upload, body).await?;
            let upload = slot.take().ok_or_else(unknown)?;
            registry.sessions.close(session);
            finish(&registry.content, upload, &session.name, &digest).await
        }
        Method::DELETE => {
            *slot = None;
            registry.sessions.close(session);
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method()),
    };
    drop(slot);
    registry.sessions.touch(session);
    reply
}

async fn receive(upload: &mut Upload, body: &mut Incoming) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        // What came before a break stays: the client may ask how much and go on from there.
        let frame = frame.map_err(|error| Refusal::upload_invalid(error.to_string()))?;
        if let Ok(bytes) = frame.into_data() {
            upload.write(&bytes).await?;
        }
    }
    Ok(())
}

async fn finish(content: &ContentStore, upload: Upload, name: &str, digest: &Digest) -> Result<Reply, Refusal> {
    upload.finish(Some(digest)).await?;
    content.link_blob(name, digest).await?;
    Ok(created(name, digest))
}

/// A chunk that says where it belongs must belong at the end of what is here.
fn check_range(headers: &HeaderMap, session: &Session, size: u64) -> Result<(), Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let range = range.to_str().unwrap_or_default();
    let range = range.strip_prefix("bytes ").unwrap_or(range).split('/').next().unwrap_or_default();
    let numbers = range.split_once('-').map(|(first, last)| (first.trim().parse::<u64>(), last.trim().parse::<u64>()));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match numbers {
        Some((Ok(first), Ok(last))) if first == size && last >= first => {
            if length.is_some_and(|length| length != last - first + 1) {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "SIZE_INVALID",
                    "Content-Length is not that of the range",
                ));
            }
            Ok(())
        }
        Some((Ok(_), Ok(_))) => {
            let message = format!("the upload has {size} bytes; the chunk belongs elsewhere");
            let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
            Err(refusal
                .with(header::RANGE, &received(size))
                .with(header::LOCATION, &location(&session.name, &session.id)))
        }
        _ => Err(Refusal::upload_invalid("Content-Range has the form <first>-<last>")),
    }
}

fn progress(status: StatusCode, name: &str, id: &str, size: u64) -> Reply {
    let mut reply = respond::empty(status);
    respond::set(&mut reply, header::LOCATION, &location(name, id));
    respond::set(&mut reply, header::RANGE, &received(size));
    respond::set(&mut reply, UPLOAD_UUID, id);
    reply
}

fn created(name: &str, digest: &Digest) -> Reply {
    let mut reply = respond::empty(StatusCode::CREATED);
    respond::set(&mut reply, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    respond::set(&mut reply, CONTENT_DIGEST, digest.as_str());
    reply
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The bytes that are here; of none, `0-0` is said by everybody.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, open: Mutex::default() }
    }

    /// Drops idle uploads until the end is asked for.
    pub(crate) async fn expire(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = self.clock.sleep(SWEEP) => {}
                () = shutdown.asked() => return,
            }
            let now = self.clock.instant();
            self.lock().retain(|id, open| {
                // A request under way holds the lock: slow is not idle.
                let keep = now.duration_since(open.touched) < IDLE || open.upload.try_lock().is_err();
                if !keep {
                    tracing::debug!(id, repository = open.name, "an idle upload was dropped");
                }
                keep
            });
        }
    }

    fn open(&self, name: &str, upload: Upload) -> Result<String, Refusal> {
        let mut open = self.lock();
        if open.len() >= MAX_SESSIONS {
            let message = format!("{MAX_SESSIONS} uploads are under way");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let upload = Arc::new(tokio::sync::Mutex::new(Some(upload)));
        open.insert(id.clone(), Open { name: name.to_owned(), touched: self.clock.instant(), upload });
        Ok(id)
    }

    fn find(&self, session: &Session) -> Option<Open> {
        self.lock().get(&session.id).filter(|open| open.name == session.name).cloned()
    }

    fn touch(&self, session: &Session) {
        if let Some(open) = self.lock().get_mut(&session.id) {
            open.touched = self.clock.instant();
        }
    }

    fn close(&self, session: &Session) {
        self.lock().remove(&session.id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
