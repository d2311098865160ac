//! Executions step by step, and all that chance makes of them.

use super::*;

mod chance;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn terms(task_count: u32, parallelism: u32, max_retries: u32) -> Terms {
    Terms { task_count, parallelism, max_retries, timeout: 600 * SECOND }
}

fn attempt(index: u32, attempt: u32) -> Attempt {
    Attempt { index, attempt }
}

/// `#0.0 #1.0`.
fn shown(attempts: &[Attempt]) -> String {
    attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn tasks_begin_in_order_and_never_more_than_may_run_or_have_room() {
    let mut progress = Progress::new(terms(5, 3, 0));
    assert_eq!(shown(&progress.begin(2, at(0))), "#0.0 #1.0");
    assert_eq!(shown(&progress.begin(9, at(0))), "#2.0");
    assert_eq!(shown(&progress.begin(9, at(0))), "");
    assert_eq!(progress.to_string(), "0 of 5 tasks over, 3 running of at most 3, 2 pending");
    let over = Follows::Over { end: AttemptEnd::Succeeded, phase: TaskPhase::Succeeded };
    assert_eq!(progress.ended(attempt(1, 0), AttemptEnd::Succeeded, at(1)), over);
    assert_eq!(shown(&progress.begin(9, at(1))), "#3.0");
    assert_eq!(progress.take_changed(), [0, 1, 2, 3]);
    assert_eq!(progress.take_changed(), [0; 0], "each change is told once");
}

#[test]
fn without_a_limit_as_many_run_as_there_is_room_for() {
    let mut progress = Progress::new(terms(10_000, 0, 0));
    assert_eq!(progress.begin(9_000, at(0)).len(), 9_000);
    assert_eq!(progress.begin(9_000, at(0)).len(), 1_000);
}

#[test]
fn an_execution_succeeds_when_all_its_tasks_have() {
    let mut progress = Progress::new(terms(2, 1, 0));
    for index in 0..2 {
        assert_eq!((progress.outcome(), progress.is_over()), (None, false));
        progress.begin(1, at(0));
        progress.ended(attempt(index, 0), AttemptEnd::Succeeded, at(1));
    }
    assert_eq!(progress.outcome(), Some(Outcome::Succeeded));
    assert_eq!(progress.to_string(), "2 of 2 tasks over (2 succeeded)");
}

#[test]
fn a_failed_task_is_tried_again_at_once_and_then_after_growing_waits() {
    let mut progress = Progress::new(terms(1, 1, 10));
    let mut now = at(0);
    let mut waits = Vec::new();
    for number in 0..10 {
        assert_eq!(shown(&progress.begin(1, now)), format!("#0.{number}"));
        let Follows::Retry { end: AttemptEnd::Exited(1), at } =
            progress.ended(attempt(0, number), AttemptEnd::Exited(1), now)
        else {
            panic!("is tried again")
        };
        waits.push(at.duration_since(now).expect("not before").as_secs());
        if at > now {
            assert_eq!((shown(&progress.begin(1, now)), progress.due(now)), (String::new(), Some(at)));
        }
        now = at;
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    progress.begin(1, now);
    let over = Follows::Over { end: AttemptEnd::Signalled(11), phase: TaskPhase::Failed };
    assert_eq!(progress.ended(attempt(0, 10), AttemptEnd::Signalled(11), now), over);
    let failed = FailedTasks { indexes: vec![0], count: 1, end: AttemptEnd::Signalled(11) };
    assert_eq!(progress.outcome(), Some(Outcome::Failed(failed)));
}

#[test]
fn what_is_due_to_be_tried_again_begins_before_what_was_never_tried() {
    let mut progress = Progress::new(terms(4, 2, 3));
    progress.begin(2, at(0));
    progress.ended(attempt(1, 0), AttemptEnd::Exited(1), at(0));
    assert_eq!(shown(&progress.begin(1, at(0))), "#1.1");
    progress.ended(attempt(1, 1), AttemptEnd::Exited(1), at(0));
    assert_eq!(shown(&progress.begin(1, at(0))), "#2.0", "while it waits others begin");
    progress.ended(attempt(0, 0), AttemptEnd::Succeeded, at(1));
    assert_eq!(shown(&progress.begin(1, at(1))), "#1.2");
    assert_eq!(progress.to_string(), "1 of 4 tasks over (1 succeeded), 2 running of at most 2, 1 pending, 1 retried");
}

#[test]
fn an_execution_fails_only_after_all_its_tasks_were_tried() {
    let mut progress = Progress::new(terms(13, 1, 0));
    for index in 0..13 {
        assert_eq!(progress.outcome(), None);
        progress.begin(1, at(0));
        let end =
            if index == 1 { AttemptEnd::Succeeded } else { AttemptEnd::Exited(100 - i32::try_from(index).unwrap()) };
        progress.ended(attempt(index, 0), end, at(0));
    }
    let indexes = vec![0, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    let failed = FailedTasks { indexes, count: 12, end: AttemptEnd::Exited(100) };
    assert_eq!(progress.outcome(), Some(Outcome::Failed(failed)));
}

#[test]
fn an_end_of_another_attempt_and_one_told_twice_change_nothing() {
    let mut progress = Progress::new(terms(2, 1, 1));
    progress.begin(1, at(0));
    progress.ended(attempt(0, 0), AttemptEnd::Exited(1), at(0));
    progress.begin(1, at(0));
    progress.take_changed();
    for (index, number) in [(0, 0), (0, 2), (1, 0), (7, 0), (u32::MAX, u32::MAX)] {
        assert_eq!(progress.ended(attempt(index, number), AttemptEnd::Succeeded, at(1)), Follows::Nothing);
    }
    assert_eq!((progress.take_changed(), progress.counts().running), (vec![], 1));
}

#[test]
fn an_attempt_that_takes_too_long_is_told_once_and_counts_as_timed_out_unless_it_had_ended_by_itself() {
    let mut progress = Progress::new(terms(2, 2, 1));
    progress.begin(1, at(0));
    progress.begin(1, at(5));
    assert_eq!(progress.due(at(5)), Some(at(600)));
    assert_eq!(shown(&progress.overdue(at(599))), "");
    assert_eq!(shown(&progress.overdue(at(600))), "#0.0");
    assert_eq!(shown(&progress.overdue(at(601))), "", "told once");
    assert_eq!(progress.due(at(601)), Some(at(605)), "counted from when it was begun");
    let stop = Some(Stop { why: StopReason::TimedOut, at: at(600) });
    assert_eq!(progress.task(0).expect("there").stop, stop);
    let again = Follows::Retry { end: AttemptEnd::TimedOut, at: at(602) };
    assert_eq!(progress.ended(attempt(0, 0), AttemptEnd::TimedOut, at(602)), again);
    assert_eq!(shown(&progress.overdue(at(605))), "#1.0");
    let over = Follows::Over { end: AttemptEnd::Succeeded, phase: TaskPhase::Succeeded };
    let crossed = progress.ended(attempt(1, 0), AttemptEnd::Succeeded, at(606));
    assert_eq!(crossed, over, "it succeeded while it was being told");
}

#[test]
fn a_cancelled_execution_begins_nothing_and_is_over_when_what_runs_has_ended() {
    let mut progress = Progress::new(terms(5, 3, 3));
    progress.begin(3, at(0));
    progress.ended(attempt(0, 0), AttemptEnd::Succeeded, at(1));
    progress.ended(attempt(1, 0), AttemptEnd::Exited(1), at(1));
    progress.begin(1, at(1));
    progress.ended(attempt(1, 1), AttemptEnd::Exited(1), at(1));
    progress.begin(1, at(1));
    assert_eq!(shown(&progress.cancel(at(2))), "#2.0 #3.0");
    assert_eq!((shown(&progress.cancel(at(2))), shown(&progress.begin(9, at(90)))), (String::new(), String::new()));
    assert_eq!(
        progress.to_string(),
        "3 of 5 tasks over (1 succeeded, 1 cancelled, 1 abandoned), 2 running of at most 3, 0 pending, 1 retried, cancelled"
    );
    let over = Follows::Over { end: AttemptEnd::Cancelled, phase: TaskPhase::Cancelled };
    assert_eq!(progress.ended(attempt(2, 0), AttemptEnd::Cancelled, at(3)), over);
    assert_eq!((progress.outcome(), progress.due(at(3))), (None, None));
    let early = Follows::Over { end: AttemptEnd::Succeeded, phase: TaskPhase::Succeeded };
    assert_eq!(progress.ended(attempt(3, 0), AttemptEnd::Succeeded, at(1)), early, "it had ended before");
    assert_eq!(progress.outcome(), Some(Outcome::Cancelled));
    assert_eq!(progress.task(4).expect("there").phase, TaskPhase::Abandoned);
}

#[test]
fn what_was_cancelled_when_all_had_ended_by_themselves_ended_by_itself() {
    let mut progress = Progress::new(terms(1, 1, 3));
    progress.begin(1, at(0));
    progress.cancel(at(2));
    progress.ended(attempt(0, 0), AttemptEnd::Succeeded, at(1));
    assert_eq!(progress.outcome(), Some(Outcome::Succeeded));
}

/// A world that stops, and comes back with what was written down.
fn restarted(before: &Progress, adopted: &[Attempt], now: SystemTime) -> Progress {
    let tasks = (0..before.terms().task_count).filter_map(|index| Some((index, before.task(index)?)));
    Progress::resume(before.terms(), tasks, &adopted.iter().copied().collect(), now)
}

#[test]
fn after_a_restart_what_was_adopted_runs_on_and_what_is_gone_counts_as_failed() {
    let mut before = Progress::new(terms(6, 4, 1));
    before.begin(4, at(0));
    before.ended(attempt(0, 0), AttemptEnd::Succeeded, at(1));
    before.ended(attempt(1, 0), AttemptEnd::Exited(1), at(1));
    before.begin(1, at(1));
    let mut after = restarted(&before, &[attempt(2, 0), attempt(0, 0)], at(9));
    assert_eq!(after.take_changed(), [1, 3], "what was lost is written down");
    let phases: Vec<_> = (0..6).map(|index| after.task(index).expect("there").phase.as_str()).collect();
    assert_eq!(phases, ["Succeeded", "Failed", "Running", "Pending", "Pending", "Pending"]);
    assert_eq!(after.task(3).expect("there").last, Some(AttemptEnd::Lost));
    assert_eq!(shown(&after.begin(9, at(9))), "#3.1 #4.0 #5.0");
    assert_eq!(after.counts().retried, 2);
    assert_eq!(after.ended(attempt(3, 0), AttemptEnd::Succeeded, at(9)), Follows::Nothing, "it was lost already");
}

#[test]
fn after_a_restart_waits_and_time_limits_go_on_and_stops_are_sent_again() {
    let mut before = Progress::new(terms(3, 3, 5));
    before.begin(2, at(0));
    before.begin(1, at(50));
    before.ended(attempt(0, 0), AttemptEnd::Exited(1), at(100));
    before.begin(1, at(100));
    before.ended(attempt(0, 1), AttemptEnd::Exited(1), at(100));
    before.overdue(at(600));
    let mut after = restarted(&before, &[attempt(1, 0), attempt(2, 0)], at(610));
    assert_eq!(shown(&after.overdue(at(610))), "#1.0", "nobody knows whether it was told");
    assert_eq!(after.due(at(610)), Some(at(650)));
    assert_eq!(after.task(0).expect("there").not_before, Some(at(101)));
    let end = after.ended(attempt(1, 0), AttemptEnd::Succeeded, at(605));
    assert_eq!(end, Follows::Retry { end: AttemptEnd::TimedOut, at: at(605) }, "it was told at 600");
}

#[test]
fn after_a_restart_a_cancelled_execution_stays_so() {
    let mut before = Progress::new(terms(3, 2, 5));
    before.begin(2, at(0));
    before.cancel(at(1));
    let mut after = restarted(&before, &[attempt(0, 0)], at(2));
    assert!(after.is_cancelled());
    assert_eq!(after.task(1).expect("there").phase, TaskPhase::Cancelled, "gone, and told to");
    assert_eq!(shown(&after.cancel(at(2))), "#0.0");
    after.ended(attempt(0, 0), AttemptEnd::Exited(143), at(3));
    assert_eq!(after.outcome(), Some(Outcome::Cancelled));
}

#[test]
fn the_terms_are_those_of_the_template() {
    let mut template = ExecutionTemplate { task_count: 7, parallelism: 3, ..ExecutionTemplate::default() };
    (template.template.max_retries, template.template.timeout) = (Some(0), Some(SECOND));
    let got = Terms::of(&template);
    assert_eq!(got, Terms { task_count: 7, parallelism: 3, max_retries: 0, timeout: SECOND });
    assert_eq!((got.limit(), terms(7, 0, 0).limit()), (3, 7));
}
