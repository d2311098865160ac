//! Shares and tags: the arithmetic of gcloud's `update-traffic`, pure.
//!
//! A traffic table is put in order whenever shares change: one line per revision with a share
//! (LATEST last), then one line per tag without a share.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use updraft_api::run::{TrafficTarget, TrafficTargetAllocationType as Allocation};

/// The word for the latest revision. Revisions cannot have it for a name: it is upper case.
pub(crate) const LATEST: &str = "LATEST";

/// What a line of a traffic table points to. LATEST sorts last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A revision, by its id.
    Revision(String),
    /// The latest ready one.
    Latest,
}

/// Why shares cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrafficError {
    #[error("the shares make {0} percent, more than 100")]
    TooMuch(i32),
    #[error("the shares make {0} percent, and no other revision has traffic to take the rest")]
    TooLittle(i32),
    #[error("no revision has the tag '{0}'")]
    NoSuchTag(String),
}

/// How tags change: first those in `remove` go (or all), then those in `set` come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TagChange {
    pub(crate) remove: Remove,
    pub(crate) set: BTreeMap<String, Target>,
}

/// Which tags go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remove {
    These(BTreeSet<String>),
    All,
}

/// Gives the revisions in `wanted` their shares. Those that have traffic and are not in `wanted`
/// share what is left in proportion to what they had, in whole percents: those that lose most by
/// rounding down get the missing ones, among equals the smaller first.
pub(crate) fn set_shares(
    targets: &[TrafficTarget],
    wanted: &BTreeMap<Target, i32>,
) -> Result<Vec<TrafficTarget>, TrafficError> {
    let (mut before, tags) = normalised(targets);
    let sum: i32 = wanted.values().sum();
    if sum > 100 {
        return Err(TrafficError::TooMuch(sum));
    }
    before.retain(|target, _| !wanted.contains_key(target));
    if before.is_empty() && sum < 100 {
        return Err(TrafficError::TooLittle(sum));
    }
    let mut shares: BTreeMap<Target, i32> = wanted
        .iter()
        .filter(|(_, percent)| **percent > 0)
        .map(|(target, percent)| (target.clone(), *percent))
        .collect();
    if sum < 100 {
        shares.extend(scaled(&before, 100 - sum));
    }
    Ok(shares.into_iter().map(|(target, percent)| line(&target, percent, "")).chain(tags).collect())
}

/// `before`, scaled to make `rest` together.
fn scaled(before: &BTreeMap<Target, i32>, rest: i32) -> BTreeMap<Target, i32> {
    let whole: i32 = before.values().sum();
    let mut shares = BTreeMap::new();
    let mut losses = Vec::new();
    for (target, percent) in before {
        let exact = percent * rest;
        shares.insert(target.clone(), exact / whole);
        losses.push((Reverse(exact % whole), exact, target));
    }
    let missing = rest - shares.values().sum::<i32>();
    losses.sort();
    for (_, _, target) in losses.into_iter().take(usize::try_from(missing).unwrap_or(0)) {
        shares.entry(target.clone()).and_modify(|percent| *percent += 1);
    }
    shares
}

/// Changes tags; shares stay as they are.
pub(crate) fn set_tags(targets: &[TrafficTarget], change: &TagChange) -> Vec<TrafficTarget> {
    let goes = |tag: &str| match &change.remove {
        Remove::All => true,
        Remove::These(tags) => tags.contains(tag) || change.set.contains_key(tag),
    };
    let mut lines = Vec::new();
    for mut target in or_default(targets) {
        if goes(&target.tag) {
            target.tag.clear();
        }
        if target.percent != 0 || !target.tag.is_empty() {
            lines.push(target);
        }
    }
    lines.extend(change.set.iter().map(|(tag, target)| line(target, 0, tag)));
    lines
}

/// What LATEST has goes to `revision` by name, so that the next revision gets nothing.
pub(crate) fn pin_latest(targets: &[TrafficTarget], revision: &str) -> Vec<TrafficTarget> {
    let (mut shares, tags) = normalised(targets);
    let Some(percent) = shares.remove(&Target::Latest) else { return targets.to_vec() };
    *shares.entry(Target::Revision(revision.to_owned())).or_default() += percent;
    shares.into_iter().map(|(target, percent)| line(&target, percent, "")).chain(tags).collect()
}

/// Which target a tag points to.
pub(crate) fn of_tag(targets: &[TrafficTarget], tag: &str) -> Result<Target, TrafficError> {
    let found = targets.iter().find(|target| target.tag == tag);
    found.map(Target::of).ok_or_else(|| TrafficError::NoSuchTag(tag.to_owned()))
}

/// Shares by target, merged, and the tags on lines of their own.
fn normalised(targets: &[TrafficTarget]) -> (BTreeMap<Target, i32>, Vec<TrafficTarget>) {
    let mut shares = BTreeMap::new();
    let mut tags = Vec::new();
    for line_before in or_default(targets) {
        let target = Target::of(&line_before);
        if !line_before.tag.is_empty() {
            tags.push(line(&target, 0, &line_before.tag));
        }
        if line_before.percent > 0 {
            *shares.entry(target).or_default() += line_before.percent;
        }
    }
    (shares, tags)
}

/// An empty table means all to the latest.
fn or_default(targets: &[TrafficTarget]) -> Vec<TrafficTarget> {
    if targets.is_empty() { vec![line(&Target::Latest, 100, "")] } else { targets.to_vec() }
}

fn line(target: &Target, percent: i32, tag: &str) -> TrafficTarget {
    let (allocation, revision) = match target {
        Target::Latest => (Allocation::Latest, ""),
        Target::Revision(id) => (Allocation::Revision, id.as_str()),
    };
    TrafficTarget { r#type: allocation.into(), revision: revision.to_owned(), percent, tag: tag.to_owned() }
}

// === impl Target ===

impl Target {
    /// The target of a word of the user's.
    pub(crate) fn named(word: &str) -> Self {
        if word == LATEST { Self::Latest } else { Self::Revision(word.to_owned()) }
    }

    /// The target of a line. Google gives revisions by id or by full name.
    pub(crate) fn of(line: &TrafficTarget) -> Self {
        if line.r#type() == Allocation::Revision {
            Self::Revision(line.revision.rsplit('/').next().unwrap_or_default().to_owned())
        } else {
            Self::Latest
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Revision(id) => f.write_str(id),
        }
    }
}

// === impl Remove ===

impl Default for Remove {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a=40 LATEST=60 #v2:a a=0#v1`: targets with shares and tags.
    fn table(text: &str) -> Vec<TrafficTarget> {
        let parse = |word: &str| {
            let (word, tag) = word.split_once('#').unwrap_or((word, ""));
            let (target, percent) = word.split_once('=').unwrap_or((word, "0"));
            line(&Target::named(target), percent.parse().unwrap(), tag)
        };
        text.split_whitespace().map(parse).collect()
    }

    fn show(targets: &[TrafficTarget]) -> String {
        let show = |target: &TrafficTarget| {
            let tag = if target.tag.is_empty() { String::new() } else { format!("#{}", target.tag) };
            format!("{}={}{tag}", Target::of(target), target.percent)
        };
        targets.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn shares(text: &str) -> BTreeMap<Target, i32> {
        table(text).iter().map(|line| (Target::of(line), line.percent)).collect()
    }

    #[test]
    fn untouched_revisions_share_the_rest_as_they_did_before() {
        for (before, wanted, after) in [
            // The whole is said.
            ("LATEST=100", "a=100", "a=100"),
            ("a=100", "LATEST=100", "LATEST=100"),
            ("", "a=100", "a=100"),
            ("a=50 b=50", "a=40 LATEST=60", "a=40 LATEST=60"),
            // A part is said.
            ("LATEST=100", "a=10", "a=10 LATEST=90"),
            ("a=50 b=50", "a=10", "a=10 b=90"),
            ("a=50 b=50", "c=20", "a=40 b=40 c=20"),
            ("a=60 b=20 LATEST=20", "a=0", "b=50 LATEST=50"),
            ("a=90 b=10", "b=0", "a=100"),
            // Rounding: the bigger loss first, then the smaller share, then the name; LATEST last.
            ("a=33 b=33 LATEST=34", "c=50", "a=17 b=16 c=50 LATEST=17"),
            ("a=50 b=50", "c=33", "a=34 b=33 c=33"),
            ("a=50 LATEST=50", "c=99", "a=1 c=99 LATEST=0"),
            ("a=1 b=99", "c=50", "a=1 b=49 c=50"),
            ("a=10 b=20 c=30 d=40", "e=1", "a=10 b=20 c=30 d=39 e=1"),
            // Tags stay, on lines of their own; shares of one revision are merged.
            ("a=100#v1", "b=30", "a=70 b=30 a=0#v1"),
            ("a=20 a=30#v1 LATEST=50", "LATEST=60", "a=40 LATEST=60 a=0#v1"),
            ("LATEST=100 a=0#v1", "a=100", "a=100 a=0#v1"),
            // What had nothing gets nothing.
            ("a=100 b=0", "c=50", "a=50 c=50"),
        ] {
            let got = set_shares(&table(before), &shares(wanted)).map(|after| show(&after));
            assert_eq!(got.as_deref(), Ok(after), "{before} --to-revisions {wanted}");
        }
    }

    #[test]
    fn shares_always_make_a_hundred() {
        for first in 0..=100 {
            for second in 0..=(100 - first) {
                for wanted in [0, 1, 33, 50, 99] {
                    let before = format!("a={first} b={second} LATEST={}", 100 - first - second);
                    let after = set_shares(&table(&before), &shares(&format!("c={wanted}"))).unwrap();
                    let sum: i32 = after.iter().map(|line| line.percent).sum();
                    assert_eq!(sum, 100, "{before} with c={wanted}");
                }
            }
        }
    }

    #[test]
    fn shares_that_cannot_make_a_hundred_are_refused() {
        let refused = |before, wanted| set_shares(&table(before), &shares(wanted)).unwrap_err().to_string();
        assert_eq!(refused("LATEST=100", "a=60 b=41"), "the shares make 101 percent, more than 100");
        assert_eq!(
            refused("a=100", "a=99"),
            "the shares make 99 percent, and no other revision has traffic to take the rest"
        );
        assert!(refused("a=50 b=50", "a=0 b=0").contains("no other revision"));
    }

    #[test]
    fn tags_come_and_go_without_touching_shares() {
        let all = |set: &[(&str, &str)], remove| TagChange {
            remove,
            set: set.iter().map(|(tag, target)| ((*tag).to_owned(), Target::named(target))).collect(),
        };
        let these = |tags: &[&str]| Remove::These(tags.iter().map(|&tag| tag.to_owned()).collect());
        for (before, change, after) in [
            ("", all(&[("v1", "a")], these(&[])), "LATEST=100 a=0#v1"),
            ("LATEST=100", all(&[("v1", "a"), ("cur", "LATEST")], these(&[])), "LATEST=100 LATEST=0#cur a=0#v1"),
            ("LATEST=100 a=0#v1", all(&[("v1", "b")], these(&[])), "LATEST=100 b=0#v1"),
            ("a=40#v1 LATEST=60 b=0#v2", all(&[], these(&["v1", "unknown"])), "a=40 LATEST=60 b=0#v2"),
            ("a=40#v1 LATEST=60 b=0#v2", all(&[], Remove::All), "a=40 LATEST=60"),
            ("LATEST=100 b=0#v2", all(&[("v3", "c")], Remove::All), "LATEST=100 c=0#v3"),
            ("LATEST=100 b=0#v2", all(&[("v3", "c")], these(&["v2"])), "LATEST=100 c=0#v3"),
        ] {
            assert_eq!(show(&set_tags(&table(before), &change)), after, "{before}: {change:?}");
        }
    }

    #[test]
    fn pinning_gives_the_share_of_latest_to_a_revision_by_name() {
        for (before, after) in [
            ("", "a=100"),
            ("LATEST=100", "a=100"),
            ("b=40 LATEST=60 LATEST=0#cur", "a=60 b=40 LATEST=0#cur"),
            ("a=40 LATEST=60", "a=100"),
            ("b=100", "b=100"),
        ] {
            assert_eq!(show(&pin_latest(&table(before), "a")), after, "{before}");
        }
    }

    #[test]
    fn a_tag_leads_to_its_revision() {
        let before = table("LATEST=100 a=0#v1 LATEST=0#cur");
        assert_eq!(of_tag(&before, "v1"), Ok(Target::named("a")));
        assert_eq!(of_tag(&before, "cur"), Ok(Target::Latest));
        assert_eq!(of_tag(&before, "v9").unwrap_err().to_string(), "no revision has the tag 'v9'");
    }
}
