//! The nouns, pure: types, names, defaults, validation, conditions.
//!
//! No async, no I/O, no wire format, no clock: `now` is always an argument. A newcomer finds a rule
//! by its noun and its kind: `service/defaults.rs`, `revision/validation.rs`.
//!
//! The types here are *interpretations* of the stored v2 messages, made by `updraft-api`; what a
//! client sent is kept in the message itself, so nothing is lost that these types do not name.

pub mod account;
pub mod audit;
pub mod channel;
pub mod condition;
pub mod confidential;
pub mod cpu;
pub mod diagnosis;
pub mod error;
pub mod fault;
pub mod iam;
pub mod instance;
pub mod job;
pub mod label;
pub mod level;
pub mod name;
pub mod owner;
pub mod quantity;
pub mod receipt;
pub mod revision;
pub mod route;
pub mod secret;
pub mod service;

pub use condition::{Condition, Reason, Severity, State};
pub use confidential::Confidential;
pub use error::{Error, ErrorKind, Violation};
pub use name::{Parent, RevisionName, ServiceName};
