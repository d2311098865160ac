use expect_test::{Expect, expect};
use updraft_model::{Reason, revision::lifecycle::Failure};

use super::*;

/// `r1 ready` / `r2 checking` / `r3 failed`, in the order they were made; the last is the latest created.
fn revisions(text: &str) -> Vec<Observed> {
    let words: Vec<(&str, &str)> = text.split(", ").filter_map(|word| word.split_once(' ')).collect();
    let phase = |word: &str| match word {
        "ready" => Phase::Ready,
        "checking" => Phase::Checking,
        "failed" => Phase::Failed(Failure::new(Reason::HealthCheckContainerError, "It exited.")),
        other => panic!("no phase '{other}'"),
    };
    let one = |(sequence, (id, word)): (usize, &(&str, &str))| Observed {
        id: (*id).to_owned(),
        sequence: sequence as u64 + 1,
        phase: phase(word),
        scaling: RevisionScaling { min: 0, max: 100 },
    };
    words.iter().enumerate().map(one).collect()
}

/// `LATEST 100` / `r1 90 #blue, LATEST 10`.
fn traffic(text: &str) -> Vec<TrafficTarget> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let allocation = match words[0] {
            "LATEST" => Allocation::Latest,
            id => Allocation::Revision(id.to_owned()),
        };
        let tag = words.get(2).map(|tag| tag.trim_start_matches('#').to_owned());
        TrafficTarget { allocation, percent: words[1].parse().expect("a number"), tag }
    };
    text.split(", ").filter(|line| !line.is_empty()).map(line).collect()
}

/// A service that says nothing of its bounds.
const USUAL: Sizing = Sizing::Requests(Scaling { min: 0, max: 0, mode: ScalingMode::Automatic, manual_count: None });

/// `current` is `LATEST=r1 100`-like: the line, and the revision it leads to now.
fn check(wanted: &str, observed: &str, current: &str, expected: Expect) {
    check_sized(USUAL, (wanted, observed, current), expected);
}

fn check_sized(sizing: Sizing, (wanted, observed, current): (&str, &str, &str), expected: Expect) {
    let revisions = revisions(observed);
    let current: Vec<Assignment> = current
        .split(", ")
        .filter_map(|line| line.split_once(" via "))
        .map(|(line, revision)| Assignment { target: traffic(line).remove(0), revision: revision.to_owned() })
        .collect();
    let latest_created = &revisions.last().expect("one at least").id;
    let now = SystemTime::UNIX_EPOCH;
    let input =
        Input { targets: &traffic(wanted), sizing, latest_created, revisions: &revisions, current: &current, now };
    expected.assert_eq(&plan(&input).to_string());
}

#[test]
fn the_first_revision_gets_everything_once_it_is_ready() {
    check(
        "LATEST 100",
        "r1 checking",
        "",
        expect![[r#"
            latest ready: none
            Ready: reconciling
            ConfigurationsReady: reconciling
            RoutesReady: reconciling
        "#]],
    );
    check(
        "LATEST 100",
        "r1 ready",
        "",
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 0 to 100 instances
            Ready: succeeded
            ConfigurationsReady: succeeded
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn latest_moves_only_when_the_new_revision_is_ready() {
    check(
        "LATEST 100",
        "r1 ready, r2 checking",
        "LATEST 100 via r1",
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 0 to 100 instances
            Ready: reconciling
            ConfigurationsReady: reconciling
            RoutesReady: reconciling
        "#]],
    );
    check(
        "LATEST 100",
        "r1 ready, r2 ready",
        "LATEST 100 via r1",
        expect![[r#"
            latest ready: r2
            route 100% to LATEST → r2
            retire r1
            serve r2 with 0 to 100 instances
            Ready: succeeded
            ConfigurationsReady: succeeded
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn a_failed_revision_leaves_the_old_one_serving_and_says_why() {
    check(
        "LATEST 100",
        "r1 ready, r2 failed",
        "LATEST 100 via r1",
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 0 to 100 instances
            retire r2
            Ready: failed [RevisionFailed] Revision 'r2' is not ready and cannot serve traffic. It exited.
            ConfigurationsReady: failed [RevisionFailed] Revision 'r2' is not ready and cannot serve traffic. It exited.
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn a_first_revision_that_fails_leaves_no_route() {
    check(
        "LATEST 100",
        "r1 failed",
        "",
        expect![[r#"
            latest ready: none
            retire r1
            Ready: failed [RevisionFailed] Revision 'r1' is not ready and cannot serve traffic. It exited.
            ConfigurationsReady: failed [RevisionFailed] Revision 'r1' is not ready and cannot serve traffic. It exited.
            RoutesReady: failed [RevisionFailed] Revision 'r1' is not ready and cannot serve traffic. It exited.
        "#]],
    );
}

#[test]
fn once_pinned_a_new_revision_gets_nothing() {
    check(
        "r1 100",
        "r1 ready, r2 ready",
        "r1 100 via r1",
        expect![[r#"
            latest ready: r2
            route 100% to r1
            serve r1 with 0 to 100 instances
            retire r2
            Ready: succeeded
            ConfigurationsReady: succeeded
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn shares_go_as_given_and_tags_are_served_without_one() {
    check(
        "r1 90, LATEST 10 #new, r2 0 #old",
        "r1 ready, r2 ready, r3 ready",
        "LATEST 100 via r2",
        expect![[r#"
            latest ready: r3
            route 90% to r1
            route 10% to LATEST → r3 tag new
            route 0% to r2 tag old
            serve r1 with 0 to 100 instances
            serve r2 with 0 to 100 instances
            serve r3 with 0 to 100 instances
            Ready: succeeded
            ConfigurationsReady: succeeded
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn a_share_on_a_revision_that_is_not_ready_leaves_traffic_where_it_is() {
    check(
        "r2 50, r1 50",
        "r1 ready, r2 failed",
        "LATEST 100 via r1",
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 0 to 100 instances
            retire r2
            Ready: failed [RevisionFailed] Revision 'r2' is not ready and cannot serve traffic. It exited.
            ConfigurationsReady: failed [RevisionFailed] Revision 'r2' is not ready and cannot serve traffic. It exited.
            RoutesReady: failed [RevisionFailed] Revision 'r2' is not ready and cannot serve traffic. It exited.
        "#]],
    );
    check(
        "r2 100",
        "r1 ready, r2 checking",
        "LATEST 100 via r1",
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 0 to 100 instances
            Ready: reconciling
            ConfigurationsReady: reconciling
            RoutesReady: reconciling
        "#]],
    );
}

#[test]
fn the_oldest_revisions_beyond_a_thousand_are_collected_unless_something_refers_to_them() {
    let text: Vec<String> = (0..1003).map(|n| format!("r{n:04} ready")).collect();
    let revisions = revisions(&text.join(", "));
    let input = Input {
        targets: &traffic("r0000 50, LATEST 50"),
        sizing: USUAL,
        latest_created: "r1002",
        revisions: &revisions,
        current: &[],
        now: SystemTime::UNIX_EPOCH,
    };
    let collected: Vec<String> = plan(&input)
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Collect { .. }))
        .map(ToString::to_string)
        .collect();
    assert_eq!(collected, ["collect r0001", "collect r0002", "collect r0003"]);
}

#[test]
fn bounds_of_the_service_are_shared_out_by_traffic() {
    let own = RevisionScaling { min: 1, max: 20 };
    let of = |min, max| Scaling { min, max, ..Scaling::default() };
    assert_eq!(bounds(&of(0, 0), own, 100), (1, 20));
    assert_eq!(bounds(&of(10, 5), own, 100), (5, 5));
    assert_eq!(bounds(&of(3, 5), own, 50), (2, 2));
    assert_eq!(bounds(&of(0, 5), own, 1), (1, 1));
    let manual = |count| Scaling { mode: ScalingMode::Manual, manual_count: Some(count), ..Scaling::default() };
    assert_eq!(bounds(&manual(4), own, 75), (3, 3));
    assert_eq!(bounds(&manual(0), own, 100), (0, 0));
    assert_eq!(bounds(&manual(4), own, 0), (0, 1));
}

#[test]
fn a_latest_revision_that_is_not_there_is_not_waited_for() {
    let (targets, revisions) = (traffic("LATEST 100"), revisions("r1 ready"));
    let (current, now) = (&[], SystemTime::UNIX_EPOCH);
    let input = Input { targets: &targets, sizing: USUAL, latest_created: "r2", revisions: &revisions, current, now };
    let plan = plan(&input);
    assert!(plan.is_settled() && !plan.serves());
    assert_eq!(plan.ready().map(|ready| ready.message.as_str()), Some("Revision 'r2' is not found."));
}

#[test]
fn a_worker_pool_has_as_many_instances_as_it_says_of_its_revisions_together() {
    check_sized(
        Sizing::Count(5),
        ("r1 50, LATEST 50", "r1 ready, r2 ready, r3 ready", ""),
        expect![[r#"
            latest ready: r3
            route 50% to r1
            route 50% to LATEST → r3
            serve r1 with 3 to 3 instances
            retire r2
            serve r3 with 2 to 2 instances
            Ready: succeeded
            ConfigurationsReady: succeeded
            RoutesReady: succeeded
        "#]],
    );
}

#[test]
fn the_workers_of_the_old_revision_stay_until_the_new_one_is_ready() {
    check_sized(
        Sizing::Count(2),
        ("LATEST 100", "r1 ready, r2 checking", "LATEST 100 via r1"),
        expect![[r#"
            latest ready: r1
            route 100% to LATEST → r1
            serve r1 with 2 to 2 instances
            Ready: reconciling
            ConfigurationsReady: reconciling
            RoutesReady: reconciling
        "#]],
    );
}
