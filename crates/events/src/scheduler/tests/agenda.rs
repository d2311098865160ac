//! The agenda by itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use updraft_model::{
    Parent,
    schedule::{ScheduleBook, ScheduledJobName},
};

use super::{
    super::{
        Limits,
        agenda::{Agenda, Start},
    },
    world::job,
};

fn name(index: usize) -> Arc<ScheduledJobName> {
    Arc::new(ScheduledJobName::new(Parent::new("demo-project", "us-central1"), format!("j{index}")))
}

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn book(count: usize) -> Arc<ScheduleBook> {
    let mut book = ScheduleBook::default();
    for index in 0..count {
        book.entries.insert(name(index), Arc::new(job("* * * * *").entry(start())));
    }
    Arc::new(book)
}

#[test]
fn however_many_are_overdue_after_a_start_they_begin_within_a_minute() {
    let mut agenda = Agenda::new(Limits { most: 10_000, most_of_project: 10_000 });
    let now = start() + Duration::from_secs(3600);
    agenda.take_in(&book(5000), now, Start::First);
    let begun = |agenda: &mut Agenda, now| {
        let mut count = 0;
        while let Some(name) = agenda.next_due(now) {
            agenda.began(&name);
            count += 1;
        }
        count
    };
    assert_eq!(begun(&mut agenda, now), 1);
    let half = begun(&mut agenda, now + Duration::from_secs(30));
    assert!((2400..2600).contains(&half), "{half}");
    assert_eq!(1 + half + begun(&mut agenda, now + Duration::from_secs(60)), 5000);
}

#[test]
fn jobs_run_on_after_a_clock_that_was_far_ahead_for_a_while() {
    let mut agenda = Agenda::new(Limits::default());
    let ahead = start() + Duration::from_secs(30 * 24 * 60 * 60);
    let of_then = job("* * * * *").entry(ahead);
    let mut written = ScheduleBook::default();
    written.entries.insert(name(0), Arc::new(of_then));
    agenda.take_in(&Arc::new(written), ahead, Start::First);
    assert_eq!(agenda.pause(ahead), Some(Duration::from_secs(60)));
    agenda.plan_anew(start());
    assert_eq!(agenda.pause(start()), Some(Duration::from_secs(60)));
    let due = start() + Duration::from_secs(60);
    assert_eq!(agenda.next_due(due), Some(name(0)));
    let known = agenda.get(&name(0)).expect("is there");
    assert_eq!(known.entry.progress.last, start(), "what comes of it is counted from here");
}

#[test]
fn a_job_that_was_put_in_is_due_at_its_time_and_one_that_was_taken_out_is_not() {
    let mut agenda = Agenda::new(Limits::default());
    agenda.take_in(&book(2), start(), Start::First);
    assert_eq!(agenda.pause(start()), Some(Duration::from_secs(60)));
    agenda.take_in(&book(1), start(), Start::Later);
    let due = start() + Duration::from_secs(60);
    assert_eq!(agenda.next_due(due), Some(name(0)));
    assert_eq!(agenda.next_due(due), None);
    // It is looked at, and nothing was done: it is in nobody's way.
    assert_eq!(agenda.pause(due), None);
}
