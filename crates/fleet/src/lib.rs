//! Every live instance, in memory: admission, queues, starts, probes, idle time, drain.
//!
//! A request comes through [`Fleet::admit`] and gets a [`Slot`], a place in an instance that is its
//! own until the slot is dropped. How many instances there are is decided by
//! `updraft_plan::scaling`, asked anew whenever something happened ([`revision`]); what a start is
//! made of is in [`instance`], what ends it in [`probe`], and what is asked of it afterwards in [`health`].
//!
//! Attempts at tasks of jobs have one instance each, which nobody asks anything ([`attempts`]).
//!
//! Instances that a server before this one had started, and that the engine took over, join their revision after one
//! probe ([`adoption`]).
//!
//! Tasks: `fleet book` (follows the [`RevisionBook`]), `fleet attempts` (follows the [`TaskBook`]), `fleet events` (reads the engine's events),
//! `fleet timer` (wakes revisions whose plan is due), `fleet health` (publishes
//! [`RevisionHealth`]), and one `instance` (`adopted instance`, `attempt`) for each. They end with [`Fleet::drain`].
//!
//! Channels: `book` and `tasks` in, `health`, `ends` and `logs` out. Nothing here is stored.

mod adoption;
mod affinity;
mod attempts;
mod board;
mod boost;
mod config;
mod containers;
mod context;
mod ended;
mod events;
mod evidence;
mod failure;
mod frost;
mod handle;
mod health;
mod instance;
mod meter;
mod metrics;
mod parting;
mod probe;
mod revision;
mod secrets;
mod series;
mod slot;
mod timer;

pub use affinity::{Affinity, NoAffinity};
pub use config::FleetConfig;
pub use handle::{Fleet, FleetDeps};
pub use instance::Timing;
pub use slot::{Cause, Refusal, Slot};

#[cfg(doc)]
use updraft_model::channel::{RevisionBook, RevisionHealth, TaskBook};

#[cfg(test)]
mod tests;
