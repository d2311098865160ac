//! Answers, whose size we choose, not who sends them.

use bytes::{Bytes, BytesMut};
use reqwest::{StatusCode, header::HeaderMap};

use crate::{error::FetchError, policy::Peer};

/// An answer, whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub(crate) answer: reqwest::Response,
    pub(crate) peer: Peer,
    pub(crate) is_elsewhere: bool,
}

// === impl Response ===

impl Response {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// Who answered, after all redirects.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Was it another origin that answered than the one that was asked?
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// [`FetchError::Broken`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.answer.chunk().await.map_err(|error| FetchError::broken(&error))
    }

    /// The whole body, which is given up as soon as it is larger than `limit` bytes.
    ///
    /// # Errors
    /// [`FetchError::Broken`], [`FetchError::TooLarge`].
    pub async fn read(mut self, limit: usize) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}
