//! The route table: what the proxy knows, and all it knows.

use std::{sync::Arc, time::Duration};

use crate::{
    iam::{InvokerAccess, ProjectInvokers},
    level::Level,
    name::{RevisionName, ServiceName},
    revision::Protocol,
    service::Ingress,
};

/// Every host that is served here. Immutable; a new one replaces it whole.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// Host, lower case, without port → where it leads.
    pub hosts: Level<Arc<str>, Arc<Route>>,
    /// Project → who may call what is in it, where its policy lets anybody.
    pub projects: Level<Arc<str>, Arc<ProjectInvokers>>,
    /// Has everything been looked at that could have a host? Not so in the first tables after the start of a server: then
    /// a host that is missing may only not be known yet.
    pub is_whole: bool,
}

/// Where one host leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The service.
    pub service: ServiceName,
    /// From where it may be called.
    pub ingress: Ingress,
    /// Who may call.
    pub invoker: InvokerAccess,
    /// Revisions with their shares; the shares of one route make 100. A tag's host has one target.
    pub targets: Vec<RouteTarget>,
}

/// One revision that a route may choose.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteTarget {
    /// The revision.
    pub revision: RevisionName,
    /// Its share, 0 to 100.
    pub percent: u32,
    /// How long a request may take, all included.
    pub timeout: Duration,
    /// What the container speaks.
    pub protocol: Protocol,
    /// Are requests of one client to go to one instance?
    pub affinity: SessionAffinity,
}

/// Are requests of one client to go to one instance?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SessionAffinity {
    /// Any instance will do.
    #[default]
    None,
    /// To the one that its first request went to, as long as that has room.
    Client,
}
