//! The neutral error of the control plane, and the violations that validation finds.
//!
//! `updraft-api` maps it to `google.rpc.Status`, HTTP and gRPC, in one place.

use std::fmt;

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
}

// === impl Violation ===

impl Violation {
    /// A violation of `rule` at `field`.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
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
        Self { kind, message: message.into(), violations: Vec::new(), internal: None }
    }

    /// The request breaks these rules. The message names the first.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let message = match violations.first() {
            Some(first) if violations.len() == 1 => first.to_string(),
            Some(first) => format!("{first} (and {} more)", violations.len() - 1),
            None => "invalid argument".to_owned(),
        };
        Self { violations, ..Self::new(ErrorKind::InvalidArgument, message) }
    }

    /// One field breaks one rule.
    pub fn invalid_field(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::invalid(vec![Violation::new(field, rule)])
    }

    /// With another sentence for the caller.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
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
