//! The types.

use std::collections::BTreeMap;

use crate::{name::ServiceName, revision::RevisionTemplate};

/// A service as decisions see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Free text, at most 512 characters.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// From where it may be called.
    pub ingress: Option<Ingress>,
    /// May anybody call, whatever the policy says?
    pub invoker_iam_disabled: bool,
    /// Are its own URLs switched off?
    pub default_uri_disabled: bool,
    /// Service-level scaling; never makes a revision.
    pub scaling: Scaling,
    /// The template of the next revision.
    pub template: RevisionTemplate,
    /// Where traffic goes; empty means all to the latest ready revision.
    pub traffic: Vec<TrafficTarget>,
    /// Further audiences of tokens; stored, without effect.
    pub custom_audiences: Vec<String>,
    /// What made the request, and its version: free text.
    pub client: [String; 2],
    /// Fields of the service itself that are set and that this version does not act on, though
    /// ignoring them would serve something else: such as `iap_enabled`.
    pub unsupported: Vec<String>,
}

/// From where a service may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ingress {
    /// From anywhere.
    All,
    /// From this project's own networks.
    Internal,
    /// The same, and through a load balancer.
    InternalAndLoadBalancing,
    /// From nowhere.
    None,
}

/// One line of the traffic table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrafficTarget {
    /// Which revision.
    pub allocation: Allocation,
    /// Its share, 0 to 100. All lines together make 100.
    pub percent: i32,
    /// The tag that has a URL of its own.
    pub tag: Option<String>,
}

/// What a line of the traffic table points to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The newest ready revision, whichever that is.
    Latest,
    /// The revision with this id.
    Revision(String),
}

/// Service-level scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scaling {
    /// Instances kept over all revisions that take traffic.
    pub min: u32,
    /// Instances allowed over all revisions; 0 means no limit of its own.
    pub max: u32,
    /// Automatic or manual.
    pub mode: ScalingMode,
    /// The fixed count in manual mode.
    pub manual_count: Option<u32>,
}

/// Who decides how many instances there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingMode {
    /// The platform, by traffic.
    #[default]
    Automatic,
    /// The user, by number.
    Manual,
}
