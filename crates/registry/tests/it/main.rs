//! The registry from outside: over sockets, by hand and by the tools people have.

mod conformance;
mod distribution;
mod durable;
mod garbage;
mod tools;
mod world;
