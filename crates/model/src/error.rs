//! The neutral error of the control plane, and the violations that validation finds.
//!
//! `updraft-api` maps it to `google.rpc.Status`, HTTP and gRPC, in one place.

use std::{fmt, time::Duration};

/// The most violations that an error keeps: more help nobody, and an answer stays smaller than its request.
pub const VIOLATIONS_MAX: usize = 20;
/// The longest path of a field in a violation, in characters.
const FIELD_SHOWN: usize = 256;
/// The longest rule of a violation, in characters; the value that broke it comes last and is cut.
const RULE_SHOWN: usize = 384;
/// The longest message, in characters. gRPC sends it in a header.
const MESSAGE_SHOWN: usize = 2048;

/// One broken rule in one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `service.template.containers[0].image`.
    pub field: String,
    /// The rule and the value that broke it.
    pub rule: String,
}

/// What went wrong, in the words of `google.rpc.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong, whatever the state of the system. HTTP 400.
    InvalidArgument,
    /// The system's state forbids it; repeating will not help until that changes. HTTP 400.
    FailedPrecondition,
    /// No such resource. HTTP 404.
    NotFound,
    /// The name is taken. HTTP 409.
    AlreadyExists,
    /// Somebody else was faster (etag, version). HTTP 409.
    Aborted,
    /// The caller is known and may not. HTTP 403.
    PermissionDenied,
    /// The caller is not known. HTTP 401.
    Unauthenticated,
    /// A limit is reached. HTTP 429.
    ResourceExhausted,
    /// Not built. HTTP 501.
    Unimplemented,
    /// For the moment; try again. HTTP 503.
    Unavailable,
    /// The deadline passed. HTTP 504.
    DeadlineExceeded,
    /// A fault of ours. HTTP 500.
    Internal,
}

/// An error with what the caller may see and, apart from it, what only the operator may.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    violations: Vec<Violation>,
    /// The cause, for the log.
    internal: Option<String>,
    /// When it is worth trying again.
    retry_after: Option<Duration>,
}

// === impl Violation ===

impl Violation {
    /// A violation of `rule` at `field`. What a client sent may be as long as its request; what is told of
    /// it is not.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: cut(field.into(), FIELD_SHOWN), rule: cut(rule.into(), RULE_SHOWN) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

// === impl Error ===

impl Error {
    /// An error whose `message` the caller sees.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = cut(message.into(), MESSAGE_SHOWN);
        Self { kind, message, violations: Vec::new(), internal: None, retry_after: None }
    }

    /// The request breaks these rules. The message names the first; of very many only the first are kept.
    pub fn invalid(mut violations: Vec<Violation>) -> Self {
        let message = match violations.first() {
            Some(first) if violations.len() == 1 => first.to_string(),
            Some(first) => format!("{first} (and {} more)", violations.len() - 1),
            None => "invalid argument".to_owned(),
        };
        violations.truncate(VIOLATIONS_MAX);
        Self { violations, ..Self::new(ErrorKind::InvalidArgument, message) }
    }

    /// One field breaks one rule.
    pub fn invalid_field(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::invalid(vec![Violation::new(field, rule)])
    }

    /// With another sentence for the caller.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: cut(message.into(), MESSAGE_SHOWN), ..self }
    }

    /// With only the first `count` violations; the message stays.
    #[must_use]
    pub fn with_violations(mut self, count: usize) -> Self {
        self.violations.truncate(count);
        self
    }

    /// With the time after which it is worth trying again.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// There is no such resource; Google's sentence.
    pub fn not_found(name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("Resource '{name}' was not found"))
    }

    /// A fault of ours: the caller sees a general sentence, the log the cause.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self { internal: Some(cause.to_string()), ..Self::new(ErrorKind::Internal, "an internal error has occurred") }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the caller sees.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When it is worth trying again, if that is known.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The broken rules, field by field.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The cause that only the log may show.
    pub fn cause(&self) -> Option<&str> {
        self.internal.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The first `most` characters, and a sign when there were more.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most
        && let Some((end, _)) = text.char_indices().nth(most)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_small_however_large_the_request_was() {
        let long = "é".repeat(1 << 20);
        let violation = Violation::new(&long, &long);
        assert_eq!((violation.field.chars().count(), violation.rule.chars().count()), (257, 385));
        let error = Error::invalid(vec![violation; 5000]);
        assert_eq!(error.violations().len(), VIOLATIONS_MAX);
        assert!(error.message().ends_with("(and 4999 more)"), "the number of all is told");
        assert!(Error::not_found(&long).message().len() < 2 * MESSAGE_SHOWN + 8);
        assert!(error.with_message(&long).message().ends_with('…'));
    }
}
