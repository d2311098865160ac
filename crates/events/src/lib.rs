//! What happens by itself: requests that somebody wants to be made later, or again and again.
//!
//! * [`scheduler`]: the requests of Cloud Scheduler's jobs.
//!
//! Everything that is decided comes from `updraft-plan` (`delivery`); everything that is kept is the control plane's.
//!
//! Tasks: `scheduler`, one `scheduled attempt` for each request under way. Channels: [`ScheduleBook`] in (a level);
//! [`AttemptReport`] out, a call that is answered once it is written down, and [`AttemptEntry`] for the log. What signs tokens, and the way to the server
//! itself, come as functions ([`SchedulerDeps`]): those who have them are no floor below.
//!
//! [`ScheduleBook`]: updraft_model::schedule::ScheduleBook
//! [`AttemptEntry`]: updraft_model::schedule::AttemptEntry
//! [`AttemptReport`]: updraft_model::schedule::AttemptReport

pub mod scheduler;

pub use scheduler::{Doorway, Limits, Log, Mint, Report, SchedulerDeps, Scheme, start};
