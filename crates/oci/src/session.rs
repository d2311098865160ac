//! Uploads of the registry that outlive their requests, broken connections and the server.
//!
//! ```text
//! sessions/<id>              the bytes that have come
//! sessions/<id>.repository   the repository they are for
//! ```
//!
//! A client whose connection or whose registry broke asks how much is here and goes on from there.
//! The size of the file is the truth; the hash of what a dead server took in is made again when the
//! upload goes on. An upload that nobody touches for an hour is removed, by whichever server is there.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::Sha256;
use tokio::sync::OwnedMutexGuard;

use crate::{
    content::{ContentStore, at, blocking, size_of},
    error::ContentError,
    reference::check_repository,
    repository::names_in,
    upload::{Part, Upload},
};

/// How long an upload may lie idle.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// More at once are refused: they are files on the disk until they are idle for an hour.
const MAX_SESSIONS: usize = 1024;

/// What the file that names the repository has after the id.
pub(crate) const REPOSITORY: &str = ".repository";

/// The uploads under way, by id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    /// The repository it was started in: an id is of no use in another.
    repository: String,
    touched: Mutex<Instant>,
    /// The bytes that are in the file.
    size: AtomicU64,
    /// Requests for one upload wait for each other.
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

/// What a request finds when its turn comes.
#[derive(Debug)]
struct Turn {
    /// The hash of the first bytes, and how many. `None`: it has to be made from the file.
    hash: Option<(Sha256, u64)>,
    is_over: bool,
}

/// The right to write to a session's file.
#[derive(Debug)]
pub(crate) struct Seat {
    store: ContentStore,
    id: String,
    session: Arc<Session>,
    turn: OwnedMutexGuard<Turn>,
}

// === impl ContentStore ===

impl ContentStore {
    /// Starts an upload to `repository` that goes on over several requests; returns its id.
    ///
    /// # Errors
    /// [`ContentError::NameInvalid`], [`ContentError::UploadsTooMany`], [`ContentError::Host`].
    pub async fn begin_upload(&self, repository: &str) -> Result<String, ContentError> {
        check_repository(repository)?;
        let (store, id, repository) = (self.clone(), uuid::Uuid::new_v4().to_string(), repository.to_owned());
        // It has its place among the others before its files are made: the limit holds for a crowd too.
        let session = Session::new(&repository, self.clock.instant(), 0);
        let turn = session.turn.clone().lock_owned().await;
        {
            let mut open = self.sessions.lock();
            if open.len() >= MAX_SESSIONS {
                return Err(ContentError::UploadsTooMany(MAX_SESSIONS));
            }
            open.insert(id.clone(), session.clone());
        }
        let seat = Seat { store, id: id.clone(), session, turn };
        blocking(move || {
            let made = seat.store.write_session(&seat.id, &repository);
            if made.is_err() {
                seat.close();
            }
            made
        })
        .await?;
        Ok(id)
    }

    /// Goes on with an upload, when the requests before have let go of it.
    ///
    /// # Errors
    /// [`ContentError::UploadUnknown`], also when it was started in another repository;
    /// [`ContentError::Host`].
    pub async fn resume_upload(&self, repository: &str, id: &str) -> Result<Upload, ContentError> {
        let seat = self.seat(repository, id).await?;
        let path = self.session_path(id);
        let part = blocking(move || Part::resume(path, seat)).await?;
        Ok(Upload::new(self.clone(), part))
    }

    /// How many bytes of an upload are here. Does not wait for a request that is under way: it may
    /// hang on a connection that is dead already.
    ///
    /// # Errors
    /// As [`ContentStore::resume_upload`].
    pub fn upload_size(&self, repository: &str, id: &str) -> Result<u64, ContentError> {
        let session = self.sessions.find(repository, id)?;
        session.touch(self.clock.instant());
        Ok(session.size.load(Ordering::SeqCst))
    }

    /// Ends an upload and removes what came.
    ///
    /// # Errors
    /// As [`ContentStore::resume_upload`].
    pub async fn cancel_upload(&self, repository: &str, id: &str) -> Result<(), ContentError> {
        let seat = self.seat(repository, id).await?;
        blocking(move || {
            seat.close();
            Ok(())
        })
        .await
    }

    /// Removes the uploads that nobody has touched for an hour; returns how many.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub async fn expire_uploads(&self) -> Result<usize, ContentError> {
        let now = self.clock.instant();
        let mut idle = Vec::new();
        for (id, session) in self.sessions.lock().iter() {
            // A request under way has the turn: slow is not idle.
            if let (true, Ok(turn)) = (session.is_idle(now), session.turn.clone().try_lock_owned()) {
                idle.push(Seat { store: self.clone(), id: id.clone(), session: session.clone(), turn });
            }
        }
        let count = idle.len();
        blocking(move || {
            for seat in idle {
                tracing::debug!(id = seat.id, repository = seat.session.repository, "an idle upload is removed");
                seat.close();
            }
            Ok(count)
        })
        .await
    }

    /// Finds the uploads of the server before this one, and removes those that are idle for too long.
    pub(crate) fn load_sessions(&self) -> Result<(), ContentError> {
        let dir = self.sessions_dir();
        let names = names_in(&dir)?;
        let now = (self.clock.now(), self.clock.instant());
        for name in &names {
            let path = dir.join(name);
            let id = name.strip_suffix(REPOSITORY).unwrap_or(name);
            let data = self.session_path(id);
            let repository =
                fs::read_to_string(self.repository_of(id)).ok().filter(|name| check_repository(name).is_ok());
            let (Some(repository), Some(size)) = (repository, size_of(&data)?) else {
                // A crash came between the two files.
                fs::remove_file(&path).map_err(at("remove", &path))?;
                continue;
            };
            let modified = fs::metadata(&data).and_then(|data| data.modified()).map_err(at("read", &data))?;
            let age = now.0.duration_since(modified).unwrap_or_default();
            if age >= IDLE {
                fs::remove_file(&path).map_err(at("remove", &path))?;
                continue;
            }
            let session = Session::new(&repository, now.1.checked_sub(age).unwrap_or(now.1), size);
            self.sessions.lock().insert(id.to_owned(), session);
        }
        Ok(())
    }

    pub(crate) fn sessions_dir(&self) -> PathBuf {
        self.root().join("sessions")
    }

    async fn seat(&self, repository: &str, id: &str) -> Result<Seat, ContentError> {
        let session = self.sessions.find(repository, id)?;
        session.touch(self.clock.instant());
        let turn = session.turn.clone().lock_owned().await;
        if turn.is_over {
            return Err(ContentError::UploadUnknown(id.to_owned()));
        }
        Ok(Seat { store: self.clone(), id: id.to_owned(), session, turn })
    }

    fn write_session(&self, id: &str, repository: &str) -> Result<(), ContentError> {
        let (data, name) = (self.session_path(id), self.repository_of(id));
        fs::write(&data, b"").map_err(at("create", &data))?;
        fs::write(&name, repository).map_err(at("create", &name))
    }

    fn session_path(&self, id: &str) -> PathBuf {
        self.sessions_dir().join(id)
    }

    fn repository_of(&self, id: &str) -> PathBuf {
        self.sessions_dir().join(format!("{id}{REPOSITORY}"))
    }
}

// === impl Sessions ===

impl Sessions {
    /// The repositories that something is being uploaded to.
    pub(crate) fn repositories(&self) -> HashSet<String> {
        self.lock().values().map(|session| session.repository.clone()).collect()
    }

    fn find(&self, repository: &str, id: &str) -> Result<Arc<Session>, ContentError> {
        let found = self.lock().get(id).filter(|session| session.repository == repository).cloned();
        found.ok_or_else(|| ContentError::UploadUnknown(id.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Session ===

impl Session {
    fn new(repository: &str, touched: Instant, size: u64) -> Arc<Self> {
        let turn = Arc::new(tokio::sync::Mutex::new(Turn { hash: None, is_over: false }));
        let (touched, size) = (Mutex::new(touched), AtomicU64::new(size));
        Arc::new(Self { repository: repository.to_owned(), touched, size, turn })
    }

    fn touch(&self, now: Instant) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.duration_since(*self.touched.lock().unwrap_or_else(PoisonError::into_inner)) >= IDLE
    }
}

// === impl Seat ===

impl Seat {
    /// The hash of a file of `size` bytes, if it is known.
    pub(crate) fn take_hash(&mut self, size: u64) -> Option<Sha256> {
        self.turn.hash.take().filter(|(_, hashed)| *hashed == size).map(|(hash, _)| hash)
    }

    pub(crate) fn note_size(&self, size: u64) {
        self.session.size.store(size, Ordering::SeqCst);
    }

    /// Lets the next request have its turn.
    pub(crate) fn park(&mut self, hash: Option<Sha256>, size: u64) {
        self.turn.hash = hash.map(|hash| (hash, size));
        self.note_size(size);
        self.session.touch(self.store.clock.instant());
    }

    /// The session is over; what is left of its files goes.
    pub(crate) fn close(mut self) {
        self.turn.is_over = true;
        // The bytes first: a name without bytes is nothing, at the next start too. What cannot be
        // removed now is then.
        let _ = fs::remove_file(self.store.session_path(&self.id));
        let _ = fs::remove_file(self.store.repository_of(&self.id));
        self.store.sessions.lock().remove(&self.id);
    }
}
