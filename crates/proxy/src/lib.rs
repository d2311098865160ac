//! The front door: one listener for the API and the services, and the straight line of a request.
//!
//! `listener → route → screen → authorise → split → admit → forward → record`, one file each, read top-down
//! in [`serve`]. Each stop takes the type the stop before made, so none can be left out; a refusal
//! becomes bytes in [`respond`] and nowhere else.
//!
//! A request takes one snapshot of the [`RouteTable`] and keeps what it chose from it; only if that
//! revision is removed before the request got a place does it choose again. There is no store here
//! and no lock across an await; a client that goes away only drops guards.
//!
//! Tasks: one `connection` for each accepted connection, one `upstream connection` for each to an
//! instance, one `upgraded connection` for each WebSocket and its like.

mod access;
mod admit;
mod affinity;
mod authorise;
mod body;
mod client;
mod config;
mod cookies;
mod forward;
mod headers;
mod inbound;
mod limit;
mod listener;
mod pool;
mod record;
mod respond;
mod route;
mod screen;
mod serve;
mod split;
mod trace;
mod upgrade;
mod waits;
mod websocket;
mod wire;

pub use body::{Body, BoxError};
pub use config::{ProxyConfig, ReservedPaths, ServerTiming};
pub use listener::{Errand, Fallback, Front};
pub use serve::{Proxy, ProxyDeps};

#[cfg(doc)]
use updraft_model::route::RouteTable;

#[cfg(test)]
mod tests;
