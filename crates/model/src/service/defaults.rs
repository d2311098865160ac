//! What a service gets that does not say otherwise.
//!
//! Source: Cloud Run Admin API v2, as observed on a service created with nothing but an image.

use super::{Allocation, Ingress, Service, TrafficTarget};
use crate::revision;

/// Fills in what the client left open. Applying it twice is applying it once.
pub fn apply(service: &mut Service) {
    service.ingress.get_or_insert(Ingress::All);
    if service.traffic.is_empty() {
        service.traffic.push(TrafficTarget { allocation: Allocation::Latest, percent: 100, tag: None });
    }
    revision::defaults::apply(&mut service.template, &service.name.parent.project);
}
