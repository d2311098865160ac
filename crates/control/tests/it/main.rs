//! The control plane alone: memory store, fake engine, virtual time, and a fleet that the test plays.

mod access;
mod accounts;
mod crashes;
mod iam;
mod images;
mod lifecycle;
mod mortal;
mod mounts;
mod operations;
mod pools;
mod scheduler;
mod sealer;
mod secret_access;
mod secret_keys;
mod secrets;
mod services;
mod stuck;
mod traffic;
mod world;
