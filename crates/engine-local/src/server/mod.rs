//! The server's half: the engine as its users see it.

mod callers;
mod causes;
mod company;
mod config;
mod cpu;
mod crew;
mod engine;
mod events;
mod footing;
mod freezer;
mod identities;
mod leftovers;
mod link;
mod live;
mod look;
mod memo;
mod metadata;
mod order;
mod pool;
mod ports;
mod predecessor;
mod prepare;
mod runtime;
mod secrets;
mod site;
mod supervise;
mod visits;

pub use config::{LauncherCommand, LocalConfig, Predecessor};
pub use engine::LocalEngine;
pub use leftovers::tag_of;
pub use live::StartTiming;
pub use runtime::{Runtime, UnusableRuntime};
