//! Volumes, and where containers see them.
//!
//! Sources: Cloud Run Admin API v2, `Volume` and `VolumeMount`; Cloud Run's "Configure in-memory volume mounts".

use std::collections::HashSet;

use super::{Container, Volume, VolumeKind, secret_rules, validation::is_path};
use crate::{error::Violation, name, quantity};

/// The most volumes of a revision, and the most places where one container sees some.
pub(super) const VOLUMES_MAX: usize = 32;

/// Directories in which the platform has something of its own.
const OURS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Checks the `volumes` of a template at the path `at`, and where its `containers` see them.
pub(super) fn check(at: &str, volumes: &[Volume], containers: &[Container], found: &mut Vec<Violation>) {
    if volumes.len() > VOLUMES_MAX {
        let rule = format!("must have at most {VOLUMES_MAX} volumes, got {}", volumes.len());
        found.push(Violation::new(format!("{at}.volumes"), rule));
    }
    let mut names = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        if !name::is_label(&volume.name) || !names.insert(&*volume.name) {
            let rule =
                format!("must be a name of its own of lowercase letters, digits or hyphens, got '{}'", volume.name);
            found.push(Violation::new(format!("{at}.volumes[{index}].name"), rule));
        }
        if let VolumeKind::EmptyDir { size_limit } = &volume.kind
            && !size_limit.is_empty()
            && quantity::memory_bytes(size_limit).is_none_or(|bytes| bytes == 0)
        {
            let rule = format!("must be a quantity above 0 such as 64Mi or 1Gi, got '{size_limit}'");
            found.push(Violation::new(format!("{at}.volumes[{index}].empty_dir.size_limit"), rule));
        }
        if let VolumeKind::Secret(source) = &volume.kind {
            secret_rules::check_source(&format!("{at}.volumes[{index}].secret"), source, found);
        }
    }
    for (index, container) in containers.iter().enumerate() {
        check_mounts(&format!("{at}.containers[{index}]"), &container.volume_mounts, &names, found);
    }
}

fn check_mounts(at: &str, mounts: &[(String, String)], volumes: &HashSet<&str>, found: &mut Vec<Violation>) {
    if mounts.len() > VOLUMES_MAX {
        let rule = format!("must have at most {VOLUMES_MAX} mounts, got {}", mounts.len());
        found.push(Violation::new(format!("{at}.volume_mounts"), rule));
    }
    let mut taken: Vec<&str> = Vec::new();
    for (index, (volume, path)) in mounts.iter().enumerate() {
        if !volumes.contains(volume.as_str()) {
            let rule = format!("must name a volume of the template, got '{volume}'");
            found.push(Violation::new(format!("{at}.volume_mounts[{index}].name"), rule));
        }
        let field = format!("{at}.volume_mounts[{index}].mount_path");
        let place = path.trim_end_matches('/');
        let is_odd = path.contains(':') || path.split('/').any(|part| part == "..");
        let rule = if !is_path(path) || is_odd || taken.contains(&place) {
            format!("must be an absolute path of its own without ':', got '{path}'")
        } else if place.is_empty() || OURS.iter().any(|ours| is_in(place, ours)) {
            format!("must not be /, nor in {}, got '{path}'", OURS.join(", "))
        } else if let Some(other) = taken.iter().find(|other| is_in(place, other) || is_in(other, place)) {
            format!("volumes must not be mounted in one another, got '{path}' and '{other}'")
        } else {
            taken.push(place);
            continue;
        };
        found.push(Violation::new(field, rule));
    }
}

/// Is `path` the directory `dir`, or in it?
fn is_in(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn said(volumes: &[(&str, VolumeKind)], mounts: &[(&str, &str)]) -> String {
        let volume = |(name, kind): &(&str, VolumeKind)| Volume { name: (*name).to_owned(), kind: kind.clone() };
        let volume_mounts = mounts.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect();
        let containers = [Container { volume_mounts, ..Container::default() }];
        let volumes: Vec<Volume> = volumes.iter().map(volume).collect();
        let mut found = Vec::new();
        check("t", &volumes, &containers, &mut found);
        found.iter().map(|violation| format!("{violation}\n")).collect()
    }

    fn memory(size: &str) -> VolumeKind {
        VolumeKind::EmptyDir { size_limit: size.to_owned() }
    }

    #[test]
    fn volumes_have_names_and_sizes_and_containers_see_them_side_by_side() {
        let volumes = [("a", memory("")), ("b", memory("64Mi")), ("c", VolumeKind::Gcs)];
        assert_eq!(said(&volumes, &[("a", "/data"), ("b", "/data-2/"), ("c", "/devices/x"), ("a", "/tmp/x")]), "");
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        let volumes = [
            ("a", memory("0")),
            ("b", memory("-1Mi")),
            ("a", memory("much")),
            ("B", VolumeKind::Unset),
            ("d", memory("")),
        ];
        let mounts = [
            ("x", "/x"),
            ("d", "relative"),
            ("d", "/a/../b"),
            ("d", "/"),
            ("d", "/proc"),
            ("d", "/dev/shm"),
            ("d", "/x/"),
            ("d", "/x/y"),
            ("d", "/v/w"),
            ("d", "/v"),
        ];
        expect![[r#"
            t.volumes[0].empty_dir.size_limit: must be a quantity above 0 such as 64Mi or 1Gi, got '0'
            t.volumes[1].empty_dir.size_limit: must be a quantity above 0 such as 64Mi or 1Gi, got '-1Mi'
            t.volumes[2].name: must be a name of its own of lowercase letters, digits or hyphens, got 'a'
            t.volumes[2].empty_dir.size_limit: must be a quantity above 0 such as 64Mi or 1Gi, got 'much'
            t.volumes[3].name: must be a name of its own of lowercase letters, digits or hyphens, got 'B'
            t.containers[0].volume_mounts[0].name: must name a volume of the template, got 'x'
            t.containers[0].volume_mounts[1].mount_path: must be an absolute path of its own without ':', got 'relative'
            t.containers[0].volume_mounts[2].mount_path: must be an absolute path of its own without ':', got '/a/../b'
            t.containers[0].volume_mounts[3].mount_path: must not be /, nor in /dev, /proc, /sys, got '/'
            t.containers[0].volume_mounts[4].mount_path: must not be /, nor in /dev, /proc, /sys, got '/proc'
            t.containers[0].volume_mounts[5].mount_path: must not be /, nor in /dev, /proc, /sys, got '/dev/shm'
            t.containers[0].volume_mounts[6].mount_path: must be an absolute path of its own without ':', got '/x/'
            t.containers[0].volume_mounts[7].mount_path: volumes must not be mounted in one another, got '/x/y' and '/x'
            t.containers[0].volume_mounts[9].mount_path: volumes must not be mounted in one another, got '/v' and '/v/w'
        "#]]
        .assert_eq(&said(&volumes, &mounts));
    }
}
