//! What went wrong, in the engine's words.

use updraft_engine::EngineError;
use updraft_model::instance::InstanceId;

/// Ids become parts of paths.
pub(super) fn check_id(id: &InstanceId) -> Result<(), EngineError> {
    let well_formed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if (1..=128).contains(&id.0.len()) && id.0.bytes().all(well_formed) {
        return Ok(());
    }
    Err(refused(id, "its id must be 1 to 128 letters, digits, '-' or '_'"))
}

pub(super) fn refused(id: &InstanceId, cause: &str) -> EngineError {
    EngineError::Host { operation: format!("start of {id}"), cause: cause.to_owned() }
}

/// For `map_err`: the operation that failed.
pub(super) fn host<E: std::error::Error>(operation: &'static str) -> impl Fn(E) -> EngineError {
    move |error| EngineError::Host { operation: operation.to_owned(), cause: chain(&error) }
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
