//! The server's half: the engine as its users see it.

mod config;
mod engine;
mod events;
mod footing;
mod leftovers;
mod link;
mod live;
mod memo;
mod order;
mod pool;
mod ports;
mod predecessor;
mod prepare;
mod supervise;

pub use config::{LauncherCommand, LocalConfig, Predecessor};
pub use engine::LocalEngine;
pub use leftovers::tag_of;
pub use live::StartTiming;
