//! Containers on this host: the driver behind [`updraft_engine::Engine`] for Linux.
//!
//! * [`LocalEngine`] is the server's half: it knows images, addresses and events, and touches no
//!   container itself.
//! * The launcher ([`launcher_main`]) is a single-threaded process of its own that makes sandboxes
//!   and keeps their output and exit statuses. The two speak a versioned protocol over a socket. A server that is
//!   shut down says farewell, and the launcher removes everything it made and ends; one that is killed does not, and
//!   the launcher keeps its instances for the next, which adopts them.
//! * `sandbox` decides what a sandbox looks like, as plain data that prints as text; `sys` is the
//!   thin layer that does it. All `unsafe` of the project is there and in `net`.
//! * `net` gives every instance a network namespace with an address, a way out and names.
//! * `root` copies images where layers cannot be stacked; [`Isolation`] says how much of the above there is.
//! * `inspect` looks at the processes of an instance from outside, when it does not do what it should.
//! * [`survey()`] tells what this host offers and lacks, [`look()`] what engines left on it.
//!
//! Everything made on the host carries the engine's tag, which is derived from its data directory:
//! several servers live beside each other, and a start finds what a dead server of its own left.

mod fault;
mod inspect;
mod launcher;
mod leaks;
mod net;
mod protocol;
mod root;
mod sandbox;
mod server;
mod survey;
mod sys;

pub use launcher::launcher_main;
pub use leaks::{Holder, Leak, LeakKind, Look, Scope, Waiting, look};
pub use sandbox::isolation::{Isolation, UnknownIsolation};
pub use server::{
    LauncherCommand, LocalConfig, LocalEngine, Predecessor, Runtime, StartTiming, UnusableRuntime, tag_of,
};
pub use survey::{Finding, Possible, Verdict, identities, isolations, survey};
