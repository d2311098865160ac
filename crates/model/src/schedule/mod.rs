//! Scheduled jobs: names, rules, defaults, states, and how far each has come.
//!
//! When an expression is due is decided by `updraft-plan`. "Scheduled job" is what Cloud Scheduler calls a job: a word that
//! Cloud Run has for something else.
//! Source: Cloud Scheduler API v1 and its documented limits.

mod book;
mod endpoint;
mod lifecycle;
mod name;
mod types;
mod validation;

pub use book::{AttemptEnd, AttemptEntry, AttemptEvent, AttemptReport, ScheduleBook, ScheduleEntry};
pub use endpoint::Endpoint;
pub use lifecycle::{Change, Execution, Progress, State};
pub use name::{ID_MAX, ScheduledJobName};
pub use types::{Authorization, HttpMethod, HttpTarget, Retry, ScheduledJob};
pub use validation::{
    DEADLINE_MAX, DEADLINE_MIN, DESCRIPTION_MAX, HEADERS_BYTES_MAX, JOB_BYTES_MAX, RETRIES_MAX, URI_MAX, check,
    is_replaced_header,
};
