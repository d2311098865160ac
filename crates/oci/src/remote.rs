//! Other registries, through `oci-client`.

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt;
use oci_client::{
    Client,
    client::{BlobResponse, ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};
use updraft_base::{Backoff, Clock};

use crate::{
    content::{ContentStore, Upload},
    credentials::Credentials,
    digest::Digest,
    error::ImageError,
    manifest::{Descriptor, MAX_MANIFEST, media_type},
    reference::{DEFAULT_TAG, Reference},
};

/// How often a passing error is met with another try: about six seconds in all.
const ATTEMPTS: u32 = 6;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(3);
/// A registry that sends nothing for so long is not coming back.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to other registries. Clients are kept: they hold connections and tokens.
#[derive(Debug)]
pub(crate) struct Remote {
    credentials: Option<PathBuf>,
    clock: Clock,
    clients: Mutex<HashMap<String, Known>>,
}

struct Known {
    auth: RegistryAuth,
    client: Client,
}

/// One registry, for one image.
pub(crate) struct Session<'a> {
    remote: &'a Remote,
    reference: &'a Reference,
    client: Client,
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
    pub(crate) fn new(credentials: Option<PathBuf>, clock: Clock) -> Self {
        Self { credentials, clock, clients: Mutex::default() }
    }

    pub(crate) fn session<'a>(&'a self, reference: &'a Reference) -> Result<Session<'a>, ImageError> {
        let credentials = Credentials::find(self.credentials.as_deref(), reference)?;
        let key = match &credentials.auth {
            RegistryAuth::Anonymous => reference.registry().to_owned(),
            // Credentials can be for one repository; the client keeps one set for each registry.
            _ => format!("{}/{}", reference.registry(), reference.repository()),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&key) {
            Some(known) if known.auth == credentials.auth => known.client.clone(),
            _ => {
                let client = Client::try_from(config_for(reference))
                    .map_err(|error| ImageError::host("set up the registry client", std::io::Error::other(error)))?;
                clients.insert(key, Known { auth: credentials.auth.clone(), client: client.clone() });
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
        let target = target(self.reference, None);
        self.retry(|| async {
            self.login().await;
            let digest = self.client.fetch_manifest_digest(&target, &self.credentials.auth).await;
            let digest = digest.map_err(|error| self.fault(error))?;
            digest.parse().map_err(|error: crate::DigestError| Fault::Final(self.unfit(error.to_string())))
        })
        .await
    }

    /// The bytes of a manifest or an index.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Bytes, ImageError> {
        let target = target(self.reference, Some(digest));
        let bytes = self
            .retry(|| async {
                self.login().await;
                let pulled = self.client.pull_manifest_raw(&target, &self.credentials.auth, &media_type::ALL).await;
                pulled.map(|(bytes, _)| bytes).map_err(|error| self.fault(error))
            })
            .await?;
        if bytes.len() > MAX_MANIFEST {
            return Err(self.unfit(format!("manifest {digest} is larger than {MAX_MANIFEST} bytes")));
        }
        if Digest::of(&bytes) != *digest {
            return Err(self.unfit(format!("the registry sent another manifest than {digest}")));
        }
        Ok(bytes)
    }

    /// Streams a blob into the content store. A broken transfer goes on where it stopped.
    pub(crate) async fn blob(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), ImageError> {
        let target = target(self.reference, None);
        let part = tokio::sync::Mutex::new(None);
        self.retry(|| async {
            self.login().await;
            let mut part = part.lock().await;
            let mut upload = match part.take() {
                Some(upload) => upload,
                None => content.upload().await.map_err(|error| self.host(error))?,
            };
            match self.transfer(&target, blob, content, &mut upload).await {
                Ok(()) => {}
                Err(fault) => {
                    *part = Some(upload);
                    return Err(fault);
                }
            }
            match upload.finish(Some(&blob.digest)).await {
                Ok(_) => Ok(()),
                // Perhaps a proxy on the way spoiled it: from the start, then.
                Err(error @ crate::ContentError::DigestMismatch { .. }) => Err(Fault::Passing(error.to_string())),
                Err(error) => Err(self.host(error)),
            }
        })
        .await
    }

    async fn transfer(
        &self,
        target: &oci_client::Reference,
        blob: &Descriptor,
        content: &ContentStore,
        upload: &mut Upload,
    ) -> Result<(), Fault> {
        if upload.size() == blob.size {
            return Ok(());
        }
        let offset = upload.size();
        let response = self.client.pull_blob_stream_partial(target, blob.digest.as_str(), offset, None).await;
        let mut stream = match response.map_err(|error| self.fault(error))? {
            BlobResponse::Partial(stream) => stream.stream,
            BlobResponse::Full(stream) => {
                if offset > 0 {
                    *upload = content.upload().await.map_err(|error| self.host(error))?;
                }
                stream.stream
            }
        };
        while let Some(bytes) = stream.try_next().await.map_err(|error| Fault::Passing(chain(&error)))? {
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

    /// Hands the credentials to the client, which shows them when it is asked to.
    async fn login(&self) {
        self.client.store_auth_if_needed(target(self.reference, None).resolve_registry(), &self.credentials.auth).await;
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

    fn fault(&self, error: OciDistributionError) -> Fault {
        use OciDistributionError as E;
        use OciErrorCode as C;
        let image = self.reference.to_string();
        let cause = chain(&error);
        match &error {
            E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => Fault::Final(self.denied(cause)),
            E::ServerError { code: 401 | 403, .. } => Fault::Final(self.denied(cause)),
            E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => {
                Fault::Final(ImageError::Missing { image, cause })
            }
            E::ServerError { code: 408 | 429 | 500.., .. } | E::RequestError(_) | E::IoError(_) => {
                Fault::Passing(cause)
            }
            E::RegistryError { envelope, .. } => match envelope.errors.first().map(|error| &error.code) {
                Some(C::Unauthorized | C::Denied) => Fault::Final(self.denied(cause)),
                Some(C::ManifestUnknown | C::NameUnknown | C::BlobUnknown | C::NotFound) => {
                    Fault::Final(ImageError::Missing { image, cause })
                }
                Some(C::Toomanyrequests) => Fault::Passing(cause),
                _ => Fault::Final(ImageError::Unavailable { image, cause }),
            },
            E::DigestError(_) => Fault::Passing(cause),
            _ => Fault::Final(ImageError::Unavailable { image, cause }),
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

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("auth", &self.auth).finish_non_exhaustive()
    }
}

fn config_for(reference: &Reference) -> ClientConfig {
    let protocol = if reference.is_loopback() { ClientProtocol::Http } else { ClientProtocol::Https };
    ClientConfig {
        protocol,
        read_timeout: Some(READ_TIMEOUT),
        connect_timeout: Some(CONNECT_TIMEOUT),
        user_agent: concat!("updraft/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    }
}

fn target(reference: &Reference, digest: Option<&Digest>) -> oci_client::Reference {
    let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
    match digest {
        Some(digest) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
        None => {
            let tag = reference.tag().unwrap_or(DEFAULT_TAG).to_owned();
            oci_client::Reference::with_tag(registry, repository, tag)
        }
    }
}

/// An error with its causes: the HTTP client's own text leaves out what broke.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
