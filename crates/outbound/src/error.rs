//! What can go wrong on the way out.

use std::time::Duration;

use crate::policy::Refusal;

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The policy says no; another try is of no use.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The network, a certificate, or not HTTP.
    #[error("{0}")]
    Broken(String),
    /// More came than may.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// One redirect led to the next.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// It took longer than it may.
    #[error("no answer within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// Another status than one of success.
    #[error("{peer} answered {status}")]
    Status {
        /// Who.
        peer: String,
        /// What.
        status: reqwest::StatusCode,
    },
    /// The answer is not the JSON that was asked for.
    #[error("{peer} did not answer with the JSON that is expected: line {line}, column {column}")]
    NotJson {
        /// Who.
        peer: String,
        /// Where the JSON is wrong.
        line: usize,
        /// Where in that line.
        column: usize,
    },
}

// === impl FetchError ===

impl FetchError {
    pub(crate) fn broken(error: &reqwest::Error) -> Self {
        Self::Broken(chain(error))
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
