//! Worlds in a line, and what the plan makes of them.

use expect_test::{Expect, expect};

use super::*;

/// A world in a line: `min=1 max=5 concurrency=2 waiting=3 check held=4s`, and instances as
/// `starting`, `draining`, `busy:2` (requests) and `idle:30` (seconds); `ill:2` and `ill-idle:30` are not ready.
fn check(world: &str, expected: Expect) {
    let mut bounds = Bounds { concurrency: 1, min: 0, max: 5, check: Check::Done };
    let mut observed = Observed {
        bounds: None,
        check: CheckState::Open,
        waiting: 0,
        instances: Vec::new(),
        idle: Duration::from_secs(900),
        held_back: Duration::ZERO,
    };
    let mut removed = false;
    for word in world.split_whitespace() {
        let (key, value) = word.split_once(['=', ':']).unwrap_or((word, "0"));
        let number: u32 = value.parse().expect("a number");
        let seconds = Duration::from_secs(number.into());
        let phase = match key {
            "starting" => Some(Phase::Starting),
            "draining" => Some(Phase::Draining),
            "busy" => Some(Phase::Ready { in_flight: number, idle_for: Duration::ZERO }),
            "idle" => Some(Phase::Ready { in_flight: 0, idle_for: seconds }),
            "ill" => Some(Phase::Unready { in_flight: number, idle_for: Duration::ZERO }),
            "ill-idle" => Some(Phase::Unready { in_flight: 0, idle_for: seconds }),
            _ => None,
        };
        match key {
            "min" => bounds.min = number,
            "max" => bounds.max = number,
            "concurrency" => bounds.concurrency = number,
            "waiting" => observed.waiting = number,
            "held" => observed.held_back = seconds,
            "check" => bounds.check = Check::Wanted,
            "passed" => observed.check = CheckState::Passed,
            "failed" => observed.check = CheckState::Failed,
            "removed" => removed = true,
            _ => assert!(phase.is_some(), "unknown word {word}"),
        }
        let id = format!("#{}", observed.instances.len());
        observed.instances.extend(phase.map(|phase| Instance { id, phase }));
    }
    observed.bounds = (!removed).then_some(bounds);
    expected.assert_eq(&plan(&observed).to_string());
}

#[test]
fn nothing_wanted_nothing_done() {
    check("", expect![[""]]);
    check("busy:1", expect![[""]]);
}

#[test]
fn a_waiting_request_starts_an_instance() {
    check(
        "waiting=1",
        expect![[r#"
            start 1: 1 request has no place
        "#]],
    );
}

#[test]
fn instances_on_their_way_are_counted_with_all_their_places() {
    check("waiting=2 concurrency=2 starting", expect![[""]]);
    check(
        "waiting=5 concurrency=2 starting",
        expect![[r#"
            start 2: 3 requests have no place
        "#]],
    );
    check("waiting=1 concurrency=2 busy:1", expect![[""]]);
}

#[test]
fn never_more_than_the_maximum_the_drained_counted_in() {
    check(
        "waiting=100",
        expect![[r#"
            start 5: 100 requests have no place
        "#]],
    );
    check(
        "waiting=100 busy:1 starting draining",
        expect![[r#"
            start 2: 99 requests have no place
        "#]],
    );
    check("waiting=9 max=1 draining", expect![[""]]);
}

#[test]
fn idle_instances_go_when_their_time_is_over_the_oldest_first() {
    check(
        "idle:899",
        expect![[r#"
            look again in 1s
        "#]],
    );
    check(
        "idle:900 idle:1000 busy:1 idle:10",
        expect![[r#"
            retire #1: idle
            retire #0: idle
            look again in 890s
        "#]],
    );
}

#[test]
fn the_minimum_is_started_and_kept() {
    check(
        "min=2",
        expect![[r#"
            start 2: below the minimum
        "#]],
    );
    check("min=2 starting idle:1000", expect![[""]]);
    check(
        "min=1 idle:1000 idle:2000",
        expect![[r#"
            retire #1: idle
        "#]],
    );
    check("min=1 idle:5000", expect![[""]]);
}

#[test]
fn a_lowered_maximum_takes_the_least_useful_first() {
    check(
        "max=1 busy:3 busy:1 starting idle:5 concurrency=3",
        expect![[r#"
            retire #3: above the maximum
            retire #2: above the maximum
            retire #1: above the maximum
            look again in 895s
        "#]],
    );
}

#[test]
fn what_is_not_ready_has_no_free_place_and_counts_towards_minimum_and_maximum() {
    check(
        "waiting=1 concurrency=9 ill:1",
        expect![[r#"
            start 1: 1 request has no place
        "#]],
    );
    check(
        "waiting=1 max=2 ill:1 ill-idle:5",
        expect![[r#"
        look again in 895s
    "#]],
    );
    check("min=1 ill-idle:5", expect![[""]]);
}

#[test]
fn what_is_not_ready_goes_when_it_is_idle_and_before_what_is() {
    check(
        "ill-idle:900 ill:1 idle:10",
        expect![[r#"
            retire #0: idle
            look again in 890s
        "#]],
    );
    // The minimum is kept of those that serve, whoever has been idle for longer.
    check(
        "min=1 idle:5000 ill-idle:10",
        expect![[r#"
            look again in 890s
        "#]],
    );
    check(
        "min=1 idle:900 ill-idle:2000",
        expect![[r#"
            retire #1: idle
        "#]],
    );
    check(
        "max=1 idle:50 ill-idle:10",
        expect![[r#"
            retire #1: above the maximum
            look again in 850s
        "#]],
    );
}

#[test]
fn a_check_starts_one_and_no_more_until_it_is_decided() {
    check(
        "check min=3",
        expect![[r#"
            start 1: check before ready
        "#]],
    );
    check("check min=3 starting", expect![[""]]);
    check("check min=3 failed", expect![[""]]);
    check(
        "check min=3 passed idle:0",
        expect![[r#"
            start 2: below the minimum
        "#]],
    );
}

#[test]
fn failed_starts_hold_the_next_one_back() {
    check(
        "waiting=1 held=4",
        expect![[r#"
            look again in 4s
        "#]],
    );
    check("held=4", expect![[""]]);
}

#[test]
fn a_revision_that_is_gone_keeps_nothing() {
    check(
        "removed waiting=3 busy:1 starting draining idle:1",
        expect![[r#"
            retire #0: its revision is gone
            retire #1: its revision is gone
            retire #3: its revision is gone
        "#]],
    );
}

#[test]
fn the_busiest_with_a_free_place_is_picked() {
    assert_eq!(pick([0, 2, 1], 3), Some(1));
    assert_eq!(pick([0, 3, 1], 3), Some(2));
    assert_eq!(pick([0, 0], 1), Some(0));
    assert_eq!(pick([1, 1], 1), None);
    assert_eq!(pick([], 1), None);
}
