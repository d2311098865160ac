//! Being a service of systemd: how the host is set up for it, and how the server talks to it.
//!
//! * [`install`]: what `updraft install --systemd` and `uninstall` do, as a plan that prints as text.
//! * [`mod@unit`]: the unit file.
//! * [`Notifier`]: readiness, stopping and the watchdog.

pub mod install;
mod notify;
pub mod unit;

pub use notify::Notifier;
