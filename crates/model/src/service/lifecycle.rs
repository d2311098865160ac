//! The conditions of a service.
//!
//! Source: Cloud Run Admin API v2, conditions of `Service`: `Ready` holds when `ConfigurationsReady` and
//! `RoutesReady` do; routes wait for configurations.

use std::time::SystemTime;

use crate::condition::{Condition, Reason, State, kind};

/// How one half of a service fares: its configuration (the latest revision) or its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Half {
    /// It is as the intent says.
    Holds,
    /// It is on its way.
    Waits {
        /// For what; may be empty.
        message: String,
    },
    /// It cannot become so.
    Fails {
        /// Why, for people.
        message: String,
    },
}

/// The conditions of a service, `Ready` first.
pub fn conditions(configuration: &Half, routes: &Half, now: SystemTime) -> Vec<Condition> {
    // A failed configuration is told before a failed route: it is the cause.
    let worse = match (configuration, routes) {
        (Half::Fails { .. }, _) | (Half::Waits { .. }, Half::Holds | Half::Waits { .. }) => configuration,
        (Half::Holds, _) | (Half::Waits { .. }, Half::Fails { .. }) => routes,
    };
    [(kind::READY, worse), (kind::CONFIGURATIONS_READY, configuration), (kind::ROUTES_READY, routes)]
        .map(|(kind, half)| condition(kind, half, now))
        .into()
}

fn condition(kind: &'static str, half: &Half, now: SystemTime) -> Condition {
    match half {
        Half::Holds => Condition::new(kind, State::Succeeded, now),
        Half::Waits { message } => Condition::new(kind, State::Reconciling, now).with_message(message),
        Half::Fails { message } => Condition::failed(kind, Reason::RevisionFailed, message, now),
    }
}
