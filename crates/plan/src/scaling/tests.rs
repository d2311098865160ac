//! Worlds in a line, and what is decided in them.

use expect_test::{Expect, expect};

use super::*;

/// A world in a line: `min=1 max=5 concurrency=2 waiting=3 check held=4s requests=9 cpu=700` (the last minute: requests at a
/// time, thousandths of a CPU), and instances as
/// `starting`, `draining`, `busy:2` (requests) and `idle:30` (seconds); `ill:2` and `ill-idle:30` are not ready.
fn check(world: &str, expected: Expect) {
    let mut bounds =
        Bounds { concurrency: 1, min: 0, max: 5, cpu_milli: 1000, targets: Targets::default(), check: Check::Done };
    let mut observed = Observed {
        bounds: None,
        check: CheckState::Open,
        waiting: 0,
        load: Load::default(),
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
            "requests" => observed.load.requests_milli = u64::from(number) * 1000,
            "cpu" => observed.load.cpu_milli = number.into(),
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
            no more than the maximum of 5: 100 requests have no place
        "#]],
    );
    check(
        "waiting=100 busy:1 starting draining",
        expect![[r#"
            start 2: 99 requests have no place
            no more than the maximum of 5: 99 requests have no place
        "#]],
    );
    check(
        "waiting=9 max=1 draining",
        expect![[r#"
        no more than the maximum of 1: 9 requests have no place
    "#]],
    );
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
            held back after starts that failed: 1 request has no place
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
fn those_there_are_get_help_when_they_have_more_to_do_than_they_are_to_have() {
    check("requests=83 concurrency=80 busy:80 busy:3", expect![[""]]);
    check(
        "requests=150 cpu=710 concurrency=80 busy:75 busy:75",
        expect![[r#"
            start 2: 150 requests at a time over a minute, target 48 = 80 × 60 %
        "#]],
    );
    check(
        "requests=20 cpu=1500 concurrency=80 busy:20 starting",
        expect![[r#"
            start 1: CPU 1.5 over a minute, target 0.6 = 1 × 60 %
        "#]],
    );
    check(
        "requests=500 concurrency=80 max=2 busy:80 busy:80",
        expect![[r#"
        no more than the maximum of 2: 500 requests at a time over a minute, target 48 = 80 × 60 %
    "#]],
    );
}

#[test]
fn only_a_request_starts_the_first() {
    check("requests=500 cpu=5000 concurrency=80", expect![[""]]);
    check("requests=500 concurrency=80 draining", expect![[""]]);
}

#[test]
fn waiting_requests_speak_before_the_load_and_the_larger_number_is_started() {
    check(
        "requests=4 waiting=1 max=9 busy:1",
        expect![[r#"
            start 6: 1 request has no place
        "#]],
    );
}

#[test]
fn what_the_load_needs_is_not_retired_for_being_idle() {
    check(
        "requests=90 concurrency=80 busy:70 idle:1000 idle:2000",
        expect![[r#"
            retire #2: idle
        "#]],
    );
}

#[test]
fn the_load_of_the_last_minute_holds_no_last_instance_whose_idle_time_is_over() {
    check(
        "requests=9 concurrency=80 idle:900",
        expect![[r#"
            retire #0: idle
        "#]],
    );
    check(
        "requests=9 cpu=300 concurrency=80 idle:1000 idle:899",
        expect![[r#"
            retire #0: idle
            look again in 1s
        "#]],
    );
    // It would be started again for the load: the other one does none of the work.
    check("requests=1 concurrency=80 ill:1 idle:900", expect![[""]]);
    check(
        "requests=1 concurrency=80 ill:1",
        expect![[r#"
            start 1: 1 requests at a time over a minute, target 48 = 80 × 60 %
        "#]],
    );
}

#[test]
fn load_does_not_help_a_revision_whose_check_is_open() {
    check("check requests=90 concurrency=1 starting", expect![[""]]);
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
            no more than the maximum of 2: 1 request has no place
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
fn what_is_not_ready_does_none_of_the_work_that_the_load_asks_for() {
    check(
        "requests=90 concurrency=80 busy:45 ill:45",
        expect![[r#"
            start 1: 90 requests at a time over a minute, target 48 = 80 × 60 %
        "#]],
    );
}

/// Picks among instances like `3` (requests) and `0*` (frozen), each of which is to have `target` of its 8 places
/// taken; the first `kept` are to have the requests.
fn picked(instances: &str, target: u32, kept: u32) -> Option<usize> {
    let candidates = instances.split_whitespace().enumerate().map(|(index, word)| {
        let load = word.trim_end_matches('*').parse().expect("a number");
        (index, Candidate { load, frozen: word.ends_with('*') })
    });
    pick(candidates, Spread { concurrency: 8, target, kept })
}

#[test]
fn those_that_are_kept_share_the_requests_and_the_others_run_dry() {
    assert_eq!(picked("5 3 0", 8, 2), Some(1));
    assert_eq!(picked("8 8 0", 8, 2), Some(2), "there is no other place");
    assert_eq!(picked("8 8", 8, 2), None);
    assert_eq!(picked("", 8, 1), None);
}

#[test]
fn what_is_frozen_is_thawed_when_those_awake_have_what_they_are_to_have() {
    assert_eq!(picked("0* 3", 4, 2), Some(1));
    assert_eq!(picked("0* 4", 4, 2), Some(0));
    assert_eq!(picked("4 0*", 4, 1), Some(0), "the other one is to run dry");
    assert_eq!(picked("4 0", 4, 1), Some(1), "it is awake, and the first has what it is to have");
    assert_eq!(picked("4 4", 4, 1), Some(0));
    assert_eq!(picked("8 0*", 4, 1), Some(1), "there is no other place");
    assert_eq!(picked("0* 3", 4, 1), Some(0), "the other one is to run dry");
}

#[test]
fn of_the_places_of_an_instance_so_many_are_to_be_taken_as_its_target_says() {
    let bounds = |concurrency, target| {
        let targets = Targets { concurrency: target, ..Targets::default() };
        Bounds { concurrency, min: 0, max: 5, cpu_milli: 1000, targets, check: Check::Done }.spread(1).target
    };
    assert_eq!((bounds(80, 60), bounds(1, 60), bounds(80, 0)), (48, 1, 80));
}
