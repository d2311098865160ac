//! Decisions: `(desired, observed, now) → what to do`. Pure; imports nothing but `model`.
//!
//! No async, no clock, no logging, no wire format. Plans print as text and are tested as tables.
//!
//! * [`rollout`]: which revisions of a service serve, and what the service says of it.
//! * [`readiness`]: the next step of a revision on its way to ready.
//! * [`diagnosis`]: why an instance did not start, from what was seen of it.
//! * [`hosts`]: the host names and URLs of a service.
//! * [`iam`]: who may do what.
//! * [`rate`]: how many calls a caller may make.
//! * [`cpu`]: when an instance has its CPU, and how much.
//! * [`job`]: which attempts of an execution's tasks begin and end, and what comes of them.
//! * [`scaling`]: how many instances a revision needs.
//! * [`health`]: what the probes of a running instance mean.
//! * [`secret_filter`]: which secrets and versions a list is to have.
//! * [`startup`]: in which order the containers of an instance start.

pub mod cpu;
pub mod diagnosis;
pub mod health;
pub mod hosts;
pub mod iam;
pub mod job;
pub mod patience;
pub mod rate;
pub mod readiness;
pub mod rollout;
pub mod scaling;
pub mod secret_filter;
pub mod startup;
