//! Other registries: which digest a tag has, manifests, blobs; again and again where that helps.

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use updraft_base::{Backoff, Clock};
use updraft_outbound::{Client, FetchError, Response};

use crate::{
    content::ContentStore,
    credentials::{Credentials, Login},
    digest::Digest,
    error::ImageError,
    manifest::{Descriptor, MAX_MANIFEST},
    reference::{DEFAULT_TAG, Reference},
    transport::{Ask, Transport, TransportError},
    upload::Upload,
};

/// How often a passing error is met with another try: about half a second in all. Who asks for an image tries again
/// itself, with longer pauses.
const ATTEMPTS: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(3);
/// A manifest takes no longer, its token included: a registry that sends a byte now and then would
/// hold a deploy for ever.
const MANIFEST_TIME: Duration = Duration::from_secs(60);
/// The header that says which digest a manifest has.
const DIGEST_HEADER: &str = "docker-content-digest";

/// The way to other registries. Transports are kept: they hold tokens.
#[derive(Debug)]
pub(crate) struct Remote {
    http: Client,
    credentials: Option<PathBuf>,
    clock: Clock,
    clients: Mutex<HashMap<String, Arc<Transport>>>,
}

/// One registry, for one image.
pub(crate) struct Session<'a> {
    remote: &'a Remote,
    reference: &'a Reference,
    client: Arc<Transport>,
    credentials: Credentials,
}

/// What became of one try.
enum Fault {
    /// Another try may help.
    Passing(String),
    Final(ImageError),
}

// === impl Remote ===

impl Remote {
    pub(crate) fn new(http: Client, credentials: Option<PathBuf>, clock: Clock) -> Self {
        Self { http, credentials, clock, clients: Mutex::default() }
    }

    pub(crate) fn session<'a>(&'a self, reference: &'a Reference) -> Result<Session<'a>, ImageError> {
        let credentials = Credentials::find(self.credentials.as_deref(), reference)?;
        let key = match &credentials.login {
            Login::Anonymous => reference.registry().to_owned(),
            // Credentials can be for one repository; the client keeps one set.
            _ => format!("{}/{}", reference.registry(), reference.repository()),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&key) {
            Some(known) if *known.login() == credentials.login => known.clone(),
            _ => {
                let client = Arc::new(Transport::new(self.http.clone(), credentials.login.clone()));
                clients.insert(key, client.clone());
                client
            }
        };
        Ok(Session { remote: self, reference, client, credentials })
    }
}

// === impl Session ===

impl Session<'_> {
    /// Which digest the reference's tag has now.
    pub(crate) async fn digest(&self) -> Result<Digest, ImageError> {
        let tag = self.reference.tag().unwrap_or(DEFAULT_TAG);
        let head = Ask { method: Method::HEAD, path: format!("manifests/{tag}"), offset: 0 };
        self.retry(|| {
            self.in_time(async {
                let response = self.send(&head).await?;
                let Some(digest) = response.headers().get(DIGEST_HEADER) else {
                    let get = Ask { method: Method::GET, ..head.clone() };
                    return Ok(Digest::of(&self.whole_manifest(&get).await?));
                };
                let digest = String::from_utf8_lossy(digest.as_bytes());
                digest.parse().map_err(|error: crate::DigestError| Fault::Final(self.unfit(error.to_string())))
            })
        })
        .await
    }

    /// The bytes of a manifest or an index.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Bytes, ImageError> {
        let ask = Ask { method: Method::GET, path: format!("manifests/{digest}"), offset: 0 };
        let bytes = self.retry(|| self.in_time(self.whole_manifest(&ask))).await?;
        if Digest::of(&bytes) != *digest {
            return Err(self.unfit(format!("the registry sent another manifest than {digest}")));
        }
        Ok(bytes)
    }

    async fn whole_manifest(&self, ask: &Ask) -> Result<Bytes, Fault> {
        let response = self.send(ask).await?;
        response.read(MAX_MANIFEST).await.map_err(|error| match error {
            FetchError::TooLarge(_) => {
                Fault::Final(self.unfit(format!("{} is larger than {MAX_MANIFEST} bytes", ask.path)))
            }
            error => self.fault(error.into()),
        })
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let late = |_| Fault::Passing(format!("the registry took longer than {} s", MANIFEST_TIME.as_secs()));
        self.remote.clock.timeout(MANIFEST_TIME, work).await.map_err(late)?
    }

    async fn send(&self, ask: &Ask) -> Result<Response, Fault> {
        self.client.send(self.reference, ask).await.map_err(|error| self.fault(error))
    }

    /// Streams a blob into the content store. A broken transfer goes on where it stopped.
    pub(crate) async fn blob(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), ImageError> {
        let part = tokio::sync::Mutex::new(None);
        self.retry(|| async {
            let mut part = part.lock().await;
            let mut upload = match part.take() {
                Some(upload) => upload,
                None => content.upload().await.map_err(|error| self.host(error))?,
            };
            match self.transfer(blob, content, &mut upload).await {
                Ok(()) => {}
                Err(fault) => {
                    *part = Some(upload);
                    return Err(fault);
                }
            }
            match upload.finish(&blob.digest).await {
                Ok(()) => Ok(()),
                // Perhaps a proxy on the way spoiled it: from the start, then.
                Err(error @ crate::ContentError::DigestMismatch { .. }) => Err(Fault::Passing(error.to_string())),
                Err(error) => Err(self.host(error)),
            }
        })
        .await
    }

    async fn transfer(&self, blob: &Descriptor, content: &ContentStore, upload: &mut Upload) -> Result<(), Fault> {
        if upload.size() == blob.size {
            return Ok(());
        }
        let offset = upload.size();
        let ask = Ask { method: Method::GET, path: format!("blobs/{}", blob.digest), offset };
        let mut response = self.send(&ask).await?;
        if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            *upload = content.upload().await.map_err(|error| self.host(error))?;
        }
        while let Some(bytes) = response.chunk().await.map_err(|error| self.fault(error.into()))? {
            if upload.size() + bytes.len() as u64 > blob.size {
                let cause = format!("blob {} is larger than the {} bytes its manifest says", blob.digest, blob.size);
                return Err(Fault::Final(self.unfit(cause)));
            }
            upload.write(&bytes).await.map_err(|error| self.host(error))?;
        }
        if upload.size() < blob.size {
            return Err(Fault::Passing(format!(
                "blob {} ended at {} of {} bytes",
                blob.digest,
                upload.size(),
                blob.size
            )));
        }
        Ok(())
    }

    async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ImageError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(cause)) if left == 0 => {
                    return Err(ImageError::Unavailable { image: self.reference.to_string(), cause });
                }
                Err(Fault::Passing(cause)) => {
                    tracing::debug!(image = %self.reference, cause, left, "trying again");
                    self.remote.clock.sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    fn fault(&self, error: TransportError) -> Fault {
        let image = self.reference.to_string();
        let cause = error.to_string();
        match &error {
            TransportError::Broken(_) => Fault::Passing(cause),
            TransportError::Forbidden(_) => Fault::Final(ImageError::Forbidden { image, cause }),
            TransportError::Login(_) => Fault::Final(self.denied(cause)),
            TransportError::TooLarge(_) => Fault::Final(ImageError::Unavailable { image, cause }),
            TransportError::Refused { status, code, .. } => match (code.as_str(), status.as_u16()) {
                ("UNAUTHORIZED" | "DENIED", _) => Fault::Final(self.denied(cause)),
                ("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND", _) => {
                    Fault::Final(ImageError::Missing { image, cause })
                }
                ("TOOMANYREQUESTS", _) | (_, 408 | 429 | 500..) => Fault::Passing(cause),
                (_, 401 | 403) => Fault::Final(self.denied(cause)),
                (_, 404) => Fault::Final(ImageError::Missing { image, cause }),
                _ => Fault::Final(ImageError::Unavailable { image, cause }),
            },
        }
    }

    fn denied(&self, cause: String) -> ImageError {
        let cause = match self.credentials.hint {
            Some(hint) => format!("{cause} ({hint})"),
            None => cause,
        };
        ImageError::Denied { image: self.reference.to_string(), cause }
    }

    fn unfit(&self, cause: String) -> ImageError {
        ImageError::unfit(&self.reference.to_string(), cause)
    }

    fn host(&self, error: crate::ContentError) -> Fault {
        Fault::Final(ImageError::of_content(&self.reference.to_string(), error))
    }
}
