//! The rules of a service, each with its field and the value that broke it.
//!
//! Source: Cloud Run Admin API v2, `Service` and `TrafficTarget`. Run it after the defaults.

use std::collections::HashSet;

use super::{Allocation, Scaling, ScalingMode, Service, TrafficTarget};
use crate::{error::Violation, label, name, revision};

/// The longest description, in characters.
pub const DESCRIPTION_MAX: usize = 512;
/// The most lines of a traffic table.
pub const TRAFFIC_MAX: usize = 1000;

/// The longest tag and service id together, in characters: what is left of a DNS label.
pub const TAG_AND_SERVICE_MAX: usize = 46;

/// The longest name of a client and the longest version of it, in bytes.
pub const CLIENT_BYTES_MAX: usize = 256;
/// The most custom audiences.
pub const AUDIENCES_MAX: usize = 100;
/// The longest custom audience, in bytes.
pub const AUDIENCE_BYTES_MAX: usize = 2048;

/// Checks everything that can be checked without looking at anything else.
pub fn check(service: &Service) -> Vec<Violation> {
    let mut found = Vec::new();
    let length = service.description.chars().count();
    if length > DESCRIPTION_MAX {
        let rule = format!("must be at most {DESCRIPTION_MAX} characters long, got {length}");
        found.push(Violation::new("service.description", rule));
    }
    label::check_labels("service.labels", &service.labels, &mut found);
    label::check_annotations("service.annotations", &service.annotations, &mut found);
    revision::egress::check_service("service.annotations", &service.annotations, &mut found);
    for (field, text) in ["client", "client_version"].into_iter().zip(&service.client) {
        if text.len() > CLIENT_BYTES_MAX {
            let rule = format!("must be at most {CLIENT_BYTES_MAX} bytes long, got {}", text.len());
            found.push(Violation::new(format!("service.{field}"), rule));
        }
    }
    check_audiences(&service.custom_audiences, &mut found);
    check_scaling(&service.scaling, &mut found);
    revision::validation::check("service.template", &service.name.service, &service.template, &mut found);
    check_traffic(service, &mut found);
    let unsupported = service.unsupported.iter().map(|field| format!("service.{field}"));
    found.extend(unsupported.map(|field| Violation::new(field, "is not supported by this version")));
    found
}

fn check_audiences(audiences: &[String], found: &mut Vec<Violation>) {
    if audiences.len() > AUDIENCES_MAX {
        let rule = format!("must have at most {AUDIENCES_MAX} audiences, got {}", audiences.len());
        found.push(Violation::new("service.custom_audiences", rule));
    }
    for (index, audience) in audiences.iter().enumerate() {
        let fits = |c: char| !c.is_whitespace() && !c.is_control();
        if audience.is_empty() || audience.len() > AUDIENCE_BYTES_MAX || !audience.chars().all(fits) {
            let rule = format!("must be 1 to {AUDIENCE_BYTES_MAX} bytes without spaces, got '{audience}'");
            found.push(Violation::new(format!("service.custom_audiences[{index}]"), rule));
        }
    }
}

fn check_scaling(scaling: &Scaling, found: &mut Vec<Violation>) {
    let counts = [
        ("min_instance_count", scaling.min),
        ("max_instance_count", scaling.max),
        ("manual_instance_count", scaling.manual_count.unwrap_or_default()),
    ];
    for (field, count) in counts {
        revision::validation::check_instances(&format!("service.scaling.{field}"), count, found);
    }
    if scaling.max != 0 && scaling.min > scaling.max {
        let rule = format!("must not be greater than max_instance_count {}, got {}", scaling.max, scaling.min);
        found.push(Violation::new("service.scaling.min_instance_count", rule));
    }
    match (scaling.mode, scaling.manual_count) {
        (ScalingMode::Automatic, Some(count)) => {
            let rule = format!("may only be set when scaling_mode is MANUAL, got {count}");
            found.push(Violation::new("service.scaling.manual_instance_count", rule));
        }
        (ScalingMode::Manual, None) => {
            let rule = "must be set when scaling_mode is MANUAL, got nothing";
            found.push(Violation::new("service.scaling.manual_instance_count", rule));
        }
        (ScalingMode::Automatic, None) | (ScalingMode::Manual, Some(_)) => {}
    }
}

fn check_traffic(service: &Service, found: &mut Vec<Violation>) {
    let traffic = &service.traffic;
    if traffic.len() > TRAFFIC_MAX {
        let rule = format!("must have at most {TRAFFIC_MAX} targets, got {}", traffic.len());
        found.push(Violation::new("service.traffic", rule));
    }
    let mut tags = HashSet::new();
    for (index, target) in traffic.iter().enumerate() {
        check_target(service, (index, target), found);
        if let Some(tag) = &target.tag
            && !tags.insert(tag)
        {
            let rule = format!("each tag may be used once, got '{tag}' again");
            found.push(Violation::new(format!("service.traffic[{index}].tag"), rule));
        }
    }
    let sum: i64 = traffic.iter().map(|target| i64::from(target.percent)).sum();
    if sum != 100 {
        found.push(Violation::new("service.traffic", format!("percentages must add up to 100, got {sum}")));
    }
}

fn check_target(service: &Service, (index, target): (usize, &TrafficTarget), found: &mut Vec<Violation>) {
    let field = |name: &str| format!("service.traffic[{index}].{name}");
    if !(0..=100).contains(&target.percent) {
        let rule = format!("must be between 0 and 100, got {}", target.percent);
        found.push(Violation::new(field("percent"), rule));
    }
    if let Some(tag) = &target.tag {
        found.extend(name::check_tag(&field("tag"), tag).err());
        // Together they make the first label of the tag's host.
        if tag.len() + service.name.service.len() > TAG_AND_SERVICE_MAX && tag.len() <= TAG_AND_SERVICE_MAX {
            let rule =
                format!("tag and service id together must be at most {TAG_AND_SERVICE_MAX} characters, got '{tag}'");
            found.push(Violation::new(field("tag"), rule));
        }
    }
    if let Allocation::Revision(id) = &target.allocation {
        if id.is_empty() {
            let rule = "must be set when type is TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, got nothing";
            found.push(Violation::new(field("revision"), rule));
        } else {
            found.extend(check_target_revision(service, &field("revision"), id));
        }
    }
}

/// A target's revision, given by its id or its full name, belongs to this service's place.
fn check_target_revision(service: &Service, field: &str, id: &str) -> Option<Violation> {
    if name::is_label(id) {
        return None;
    }
    let rule = format!("must be the id of a revision of '{}' or its full name, got '{id}'", service.name.service);
    Some(Violation::new(field, rule))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{
        name::Parent,
        revision::{Container, RevisionTemplate},
    };

    fn service() -> Service {
        let container = Container { image: "hello".to_owned(), ..Container::default() };
        Service {
            name: Parent::new("demo-project", "us-central1").service("hello"),
            description: String::new(),
            labels: Default::default(),
            annotations: Default::default(),
            ingress: None,
            invoker_iam_disabled: false,
            default_uri_disabled: false,
            scaling: Scaling::default(),
            template: RevisionTemplate { containers: vec![container], ..RevisionTemplate::default() },
            traffic: Vec::new(),
            custom_audiences: Vec::new(),
            client: Default::default(),
            unsupported: Vec::new(),
        }
    }

    fn target(revision: &str, percent: i32, tag: &str) -> TrafficTarget {
        let allocation = match revision {
            "LATEST" => Allocation::Latest,
            id => Allocation::Revision(id.to_owned()),
        };
        TrafficTarget { allocation, percent, tag: (!tag.is_empty()).then(|| tag.to_owned()) }
    }

    fn check_that(change: impl FnOnce(&mut Service), expected: Expect) {
        let mut service = service();
        change(&mut service);
        super::super::defaults::apply(&mut service);
        let lines: Vec<String> = check(&service).iter().map(|violation| format!("{violation}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn an_image_alone_is_a_valid_service() {
        check_that(|_| {}, expect![[""]]);
    }

    #[test]
    fn shares_make_a_hundred_and_tags_are_unique() {
        check_that(
            |service| service.traffic = vec![target("LATEST", 101, "x"), target("", -2, "x"), target("Up", 0, "-x")],
            expect![[r#"
                service.traffic[0].percent: must be between 0 and 100, got 101
                service.traffic[1].percent: must be between 0 and 100, got -2
                service.traffic[1].revision: must be set when type is TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, got nothing
                service.traffic[1].tag: each tag may be used once, got 'x' again
                service.traffic[2].tag: tag must be at most 46 lowercase letters, digits or hyphens and not begin or end with a hyphen, got '-x'
                service.traffic[2].revision: must be the id of a revision of 'hello' or its full name, got 'Up'
                service.traffic: percentages must add up to 100, got 99
            "#]],
        );
    }

    #[test]
    fn scaling_bounds_are_in_order_and_a_manual_count_needs_manual_mode() {
        check_that(
            |service| service.scaling = Scaling { min: 3, max: 2, manual_count: Some(1), ..Scaling::default() },
            expect![[r#"
                service.scaling.min_instance_count: must not be greater than max_instance_count 2, got 3
                service.scaling.manual_instance_count: may only be set when scaling_mode is MANUAL, got 1
            "#]],
        );
    }

    #[test]
    fn free_texts_and_lists_have_bounds() {
        check_that(
            |service| {
                service.client[1] = "x".repeat(257);
                service.custom_audiences = vec!["https://example.com".to_owned(), "a b".to_owned()];
                service.scaling.max = 10_001;
            },
            expect![[r#"
                service.client_version: must be at most 256 bytes long, got 257
                service.custom_audiences[1]: must be 1 to 2048 bytes without spaces, got 'a b'
                service.scaling.max_instance_count: must be between 0 and 10000, got 10001
            "#]],
        );
    }

    #[test]
    fn a_description_has_at_most_512_characters() {
        check_that(|service| service.description = "é".repeat(512), expect![[""]]);
        check_that(
            |service| service.description = "é".repeat(513),
            expect![[r#"
                service.description: must be at most 512 characters long, got 513
            "#]],
        );
    }
}
