//! What the platform tells about itself and about what runs on it: logs and metrics.
//!
//! * [`LogStore`] keeps the output of containers and the platform's own lines about them, on disk
//!   for later and in memory for now. [`LogStore::run`] is its task: it takes [`LogLine`]s and loses
//!   none silently. [`LogStore::query`] reads, [`LogStore::follow`] listens, [`LogStore::search`] looks through all
//!   services for what a [`filter::Filter`] of Cloud Logging means.
//! * [`LogStore::attempt`] keeps what comes of scheduled jobs, in a log of their project.
//! * [`LogStore::audit`] keeps who asked for what, in logs of projects that are beside those of services.
//! * [`LogEntry`] is one line as Cloud Logging would show it.
//! * [`Metrics`] is the registry that every part registers its metrics with, and what `/metrics`
//!   prints.
//!
//! [`LogLine`]: updraft_model::channel::LogLine

mod attempts;
mod audit;
mod config;
mod disk;
mod entry;
pub mod filter;
mod follow;
mod logs;
mod metrics;
mod opened;
mod recent;
mod requests;
mod search;
mod which;

pub use config::LogConfig;
pub use disk::{FrozenLog, LogError, strays};
pub use entry::{LogEntry, Resource, Severity};
pub use follow::{Followed, Follower};
pub use logs::{LogQuery, LogStore, Order};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use search::{Found, Position, Search};
pub use which::Which;
