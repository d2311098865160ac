//! The way out: everything that the server fetches because a user named it goes through here.
//!
//! [`Client::send`] makes a request hop by hop. Of each hop it looks up the name once, decides about all its addresses
//! ([`allowed`]), and connects to those and to no others, so an answer that changes between the check and the connection
//! changes nothing. What an answer names (a redirect, a token endpoint) is a hop like any other, with less rights: see
//! [`Request::sent_by`]. [`Client::get_json`] is for documents such as keys of identity providers.
//!
//! No tasks, no channels, no clock; `docs/outbound.md` is for operators.

mod client;
mod error;
mod json;
mod kind;
mod network;
mod origin;
mod policy;
mod proxy;
pub mod redirect;
mod response;
mod way;

pub use client::{Client, Config, NotRoots, Request, roots};
pub use error::FetchError;
pub use json::Document;
pub use kind::Kind;
pub use network::{Network, System};
pub use policy::{Allow, NotAllow, Peer, Policy, Refusal, SETTING, Side, Target, allowed};
pub use proxy::Proxy;
pub use reqwest::{Certificate, Url};
pub use response::Response;
