//! The server's half: the engine as its users see it.

mod company;
mod config;
mod crew;
mod engine;
mod events;
mod footing;
mod leftovers;
mod link;
mod live;
mod look;
mod pool;
mod ports;
mod prepare;
mod supervise;

pub use config::{LauncherCommand, LocalConfig};
pub use engine::LocalEngine;
pub use leftovers::tag_of;
pub use live::StartTiming;
