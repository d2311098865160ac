use std::time::{Duration, UNIX_EPOCH};

use updraft_model::schedule::Endpoint;

use super::*;

const MINUTE: u64 = 60;

/// So many seconds after a midnight.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

fn timing(schedule: &str) -> Timing {
    Timing::read(schedule, "UTC").unwrap_or_else(|error| panic!("{schedule}: {error}"))
}

fn progress(last: u64) -> Progress {
    Progress::starting(1, at(last))
}

fn retry(count: u32) -> Retry {
    Retry { count, ..Retry::default() }
}

fn ended(started: u64, ended: u64, outcome: Outcome) -> Ended {
    Ended { started: at(started), ended: at(ended), outcome }
}

/// The attempt that is due now.
fn attempt(timing: &Timing, progress: &Progress, now: u64) -> Attempt {
    match step(timing, State::Enabled, progress, at(now)) {
        Step::Attempt(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_waits_until_it_is_due_and_runs_once_for_each_time() {
    let timing = timing("*/5 * * * *");
    let before = progress(30);
    assert_eq!(step(&timing, State::Enabled, &before, at(60)), Step::Wait(at(5 * MINUTE)));
    let now = attempt(&timing, &before, 5 * MINUTE);
    assert_eq!((now.due, now.number, now.cause), (at(5 * MINUTE), 0, Cause::Due));
    let done = after(&timing, &retry(3), &before, &now, ended(5 * MINUTE, 5 * MINUTE + 2, Outcome::Succeeded));
    assert_eq!(step(&timing, State::Enabled, &done, at(5 * MINUTE + 2)), Step::Wait(at(10 * MINUTE)));
    assert_eq!(next_time(&timing, State::Enabled, &done), Some(at(10 * MINUTE)));
}

#[test]
fn times_that_pass_during_a_run_or_a_downtime_are_one_run() {
    let timing = timing("* * * * *");
    // It took from 1:00 to 15:30.
    let now = attempt(&timing, &progress(0), MINUTE);
    let done = after(&timing, &retry(0), &progress(0), &now, ended(MINUTE, 15 * MINUTE + 30, Outcome::Succeeded));
    let next = attempt(&timing, &done, 15 * MINUTE + 30);
    assert_eq!((next.due, timing.dropped(&next, at(15 * MINUTE + 30))), (at(2 * MINUTE), 13));
    let done = after(&timing, &retry(0), &done, &next, ended(15 * MINUTE + 30, 15 * MINUTE + 31, Outcome::Succeeded));
    assert_eq!(step(&timing, State::Enabled, &done, at(15 * MINUTE + 31)), Step::Wait(at(16 * MINUTE)));
}

#[test]
fn an_interval_counts_from_the_end_of_the_run_and_its_retries() {
    let timing = timing("every 5 minutes");
    let before = progress(0);
    let first = attempt(&timing, &before, 5 * MINUTE);
    let failed = after(&timing, &retry(1), &before, &first, ended(5 * MINUTE, 9 * MINUTE, Outcome::Failed));
    assert_eq!(step(&timing, State::Enabled, &failed, at(9 * MINUTE)), Step::Wait(at(9 * MINUTE + 5)));
    // Long after the next time would have been, had it not failed.
    let second = attempt(&timing, &failed, 30 * MINUTE);
    assert_eq!((second.cause, second.number, second.due), (Cause::Retry, 1, at(5 * MINUTE)));
    let done = after(&timing, &retry(1), &failed, &second, ended(30 * MINUTE, 31 * MINUTE, Outcome::Failed));
    assert_eq!(step(&timing, State::Enabled, &done, at(31 * MINUTE)), Step::Wait(at(36 * MINUTE)));
}

#[test]
fn a_failure_is_tried_again_and_times_that_pass_until_it_is_over_are_skipped() {
    let timing = timing("* * * * *");
    let mut job = progress(1);
    let mut now = MINUTE;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let next = attempt(&timing, &job, now);
        assert_eq!((next.due, timing.dropped(&next, at(now))), (at(MINUTE), 0));
        seen.push((now - MINUTE, next.number, next.cause));
        job = after(&timing, &retry(5), &job, &next, ended(now, now + 1, Outcome::Failed));
        let Step::Wait(until) = step(&timing, State::Enabled, &job, at(now + 1)) else { panic!("there is a pause") };
        assert_eq!(next_time(&timing, State::Enabled, &job), Some(until));
        now = until.duration_since(at(0)).expect("later").as_secs();
    }
    let retries = [(6, 1), (17, 2), (38, 3), (79, 4), (160, 5)].map(|(at, number)| (at, number, Cause::Retry));
    assert_eq!((seen[0], &seen[1..]), ((0, 0, Cause::Due), &retries[..]));
    assert_eq!((job.execution, now), (None, 4 * MINUTE), "that at 2:00 and 3:00 was not made up for");
    // So is one that ends well.
    let first = attempt(&timing, &job, now);
    let failed = after(&timing, &retry(1), &job, &first, ended(now, now + 58, Outcome::Failed));
    let second = attempt(&timing, &failed, now + 63);
    let done = after(&timing, &retry(1), &failed, &second, ended(now + 63, now + 64, Outcome::Succeeded));
    assert_eq!(step(&timing, State::Enabled, &done, at(now + 64)), Step::Wait(at(now + 2 * MINUTE)));
}

#[test]
fn what_is_asked_for_comes_at_once_and_changes_nothing_of_the_schedule() {
    let timing = timing("0 * * * *");
    let asked = Progress { forced: Some(at(90)), ..progress(30) };
    assert_eq!(next_time(&timing, State::Paused, &asked), Some(at(90)));
    for state in [State::Enabled, State::Paused] {
        let Step::Attempt(now) = step(&timing, state, &asked, at(91)) else { panic!("it was asked for") };
        assert_eq!((now.due, now.cause), (at(90), Cause::Forced));
        let done = after(&timing, &retry(0), &asked, &now, ended(91, 95, Outcome::Succeeded));
        assert_eq!(done, progress(30));
    }
    assert_eq!(step(&timing, State::Paused, &progress(0), at(1 << 20)), Step::Rest);
    assert_eq!(next_time(&timing, State::Paused, &progress(0)), None);
}

#[test]
fn what_is_asked_for_of_a_job_that_rests_is_tried_again_as_any_other() {
    let timing = timing("0 * * * *");
    let asked = Progress { forced: Some(at(90)), ..progress(30) };
    let Step::Attempt(first) = step(&timing, State::Paused, &asked, at(91)) else { panic!("it was asked for") };
    let failed = after(&timing, &retry(1), &asked, &first, ended(91, 95, Outcome::Failed));
    assert_eq!(step(&timing, State::Paused, &failed, at(95)), Step::Wait(at(100)));
    assert_eq!(next_time(&timing, State::Paused, &failed), Some(at(100)));
    let Step::Attempt(second) = step(&timing, State::Paused, &failed, at(100)) else { panic!("it failed") };
    assert_eq!((second.number, second.cause), (1, Cause::Retry));
    let over = after(&timing, &retry(1), &failed, &second, ended(100, 101, Outcome::Failed));
    assert_eq!(step(&timing, State::Paused, &over, at(1 << 20)), Step::Rest);
}

#[test]
fn what_a_clock_wrote_that_was_far_ahead_does_not_count() {
    const DAY: u64 = 24 * 60 * MINUTE;
    let timing = timing("*/5 * * * *");
    assert_eq!(set_right(&progress(DAY), at(0)), None, "a clock may be set a little");
    let first = at(30 * DAY);
    let execution = Execution { due: first, first, attempts: 1, retry_at: at(30 * DAY + 5) };
    let ahead = Progress { execution: Some(execution), ..progress(30 * DAY) };
    let right = set_right(&ahead, at(7)).expect("it is wrong");
    assert_eq!(right, progress(7));
    assert_eq!(step(&timing, State::Enabled, &right, at(7)), Step::Wait(at(5 * MINUTE)));
}

#[test]
fn pauses_grow_as_documented() {
    let seconds = |retry: &Retry, attempts: std::ops::RangeInclusive<u32>| -> Vec<u64> {
        attempts.map_while(|attempts| pause(retry, attempts, Duration::ZERO)).map(|pause| pause.as_secs()).collect()
    };
    let example = Retry {
        count: 100,
        window: Duration::ZERO,
        min_backoff: Duration::from_secs(10),
        max_backoff: Duration::from_secs(300),
        doublings: 3,
    };
    assert_eq!(seconds(&example, 1..=8), [10, 20, 40, 80, 160, 240, 300, 300]);
    assert_eq!(seconds(&retry(5), 1..=9), [5, 10, 20, 40, 80]);
    assert_eq!(seconds(&retry(0), 1..=1), [0_u64; 0]);
    assert_eq!(seconds(&Retry { doublings: u32::MAX, ..example }, 90..=90), [300]);
    let none = Retry { min_backoff: Duration::ZERO, max_backoff: Duration::ZERO, ..retry(2) };
    assert_eq!(seconds(&none, 1..=3), [1, 1], "never at once");
    // More than five, while there is time.
    let window = Retry { window: Duration::from_secs(600), ..retry(1) };
    assert!(pause(&window, 7, Duration::from_secs(599)).is_some());
    assert!(pause(&window, 7, Duration::from_secs(600)).is_none());
    // Both have to be used up where there are both; one of them is enough.
    assert!(pause(&window, 1, Duration::from_secs(600)).is_some());
    let only_window = Retry { count: 0, ..window };
    assert!(pause(&only_window, 3, Duration::from_secs(599)).is_some());
    assert!(pause(&only_window, 1, Duration::from_secs(600)).is_none());
}

#[test]
fn what_means_this_server_takes_the_way_in() {
    let ours = Ours { domain: "run.localhost".to_owned(), ports: vec![8080, 8443] };
    let api = |name: &str| Way::Api(Some(name.to_owned()));
    for (uri, token, expected) in [
        ("http://hello-1.us-central1.run.localhost:8080/x", Token::Other, Way::Service),
        ("http://HELLO.run.localhost", Token::Other, Way::Service),
        ("http://run.localhost:8080/", Token::Other, Way::Api(None)),
        ("http://localhost:8080/v2/x", Token::Other, Way::Api(None)),
        ("https://127.0.0.1:8443/", Token::Other, Way::Api(None)),
        ("https://[::ffff:127.0.0.1]:8443/", Token::Other, Way::Api(None)),
        ("http://0.0.0.0:8080/", Token::Other, Way::Api(None)),
        ("http://updraft.internal/", Token::Other, Way::Api(None)),
        ("http://localhost:9000/", Token::Other, Way::Out),
        ("http://localhost/", Token::Other, Way::Out),
        ("https://run.googleapis.com/v2/projects/p/locations/l/jobs/j:run", Token::Access, api("run")),
        ("https://us-central1-run.googleapis.com/apis/x", Token::Access, api("run")),
        ("https://secretmanager.us-central1.rep.googleapis.com/v1/x", Token::Other, api("secretmanager")),
        ("https://storage.googleapis.com/b/o", Token::Other, Way::Out),
        ("https://storage.googleapis.com/b/o", Token::Access, api("storage")),
        ("https://googleapis.com/", Token::Access, Way::Out),
        ("https://evilgoogleapis.com/", Token::Access, Way::Out),
        ("https://run.googleapis.com.example.com/", Token::Access, Way::Out),
        ("https://notrun.localhost/", Token::Other, Way::Out),
        ("https://example.com/", Token::Other, Way::Out),
    ] {
        let way = way(&Endpoint::of(uri).expect(uri), &ours, token);
        assert_eq!(way, expected, "{uri}");
        assert!(way.may_see(Token::Other) && way.may_see(Token::Access) == matches!(way, Way::Api(_)), "{uri}");
    }
}

#[test]
fn statuses_have_googles_codes() {
    for (status, code) in [(200, 0), (204, 0), (301, 2), (400, 3), (401, 16), (403, 7), (404, 5), (412, 9), (429, 8)] {
        assert_eq!(code_of(status), code, "{status}");
    }
    for (status, code) in [(500, 13), (502, 13), (503, 14), (504, 4), (501, 12), (100, 2), (0, 2)] {
        assert_eq!(code_of(status), code, "{status}");
    }
}
