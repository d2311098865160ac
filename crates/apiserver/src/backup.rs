//! A backup, as a stream.

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{
    Served,
    own::{Parameters, uncached},
    respond::{BoxBody, BoxError, boxed, text},
};

/// The type of a backup; a client that reads another one talks to something else.
const KIND: HeaderValue = HeaderValue::from_static("application/vnd.updraft.backup+zstd");

/// What a backup consists of beside state and images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logs {
    /// Not the logs.
    #[default]
    Without,
    /// The logs, too.
    With,
}

/// A backup, piece by piece. An error is its last piece, and breaks the answer off, so that nobody takes what came
/// before it for the whole. Dropping it ends the work.
pub type Pieces = mpsc::Receiver<Result<Bytes, BoxError>>;

/// Takes backups of the server that it belongs to.
pub trait Backups: Send + Sync + 'static {
    /// Begins one for `caller`.
    ///
    /// # Errors
    /// `PermissionDenied`; `ResourceExhausted` while another one is under way; `Internal`.
    fn begin(&self, caller: Principal, logs: Logs) -> BoxFuture<'static, Result<Pieces, Error>>;
}

/// `GET /updraft/v1/backup?logs=true`.
///
/// # Errors
/// Those of [`Backups::begin`]; `Unimplemented` where the state is not kept in files.
pub(crate) async fn take(
    deps: &Served,
    caller: Principal,
    parameters: &Parameters,
) -> Result<Response<BoxBody>, Error> {
    let logs = match parameters.parse::<bool>("logs")? {
        Some(true) => Logs::With,
        Some(false) | None => Logs::Without,
    };
    let backups = deps.backups.as_ref();
    let backups = backups.ok_or_else(|| Error::new(ErrorKind::Unimplemented, "this server keeps nothing in files"))?;
    let pieces = backups.begin(caller, logs).await?;
    let frames = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    let mut answer = text(StatusCode::OK, KIND, "");
    *answer.body_mut() = boxed(StreamBody::new(frames.map(|piece| piece.map(Frame::data))));
    Ok(uncached(answer))
}
