//! Cloud Scheduler: what is typed, and what Google lets gcloud print.

use super::{Line, Then, Who};

const fn line(words: &'static str, exit: i32, says: &'static [&'static str]) -> Line {
    Line { words, who: Who::Operator, exit, says, then: Then::Unsaid }
}

const ACCOUNT: &str = "planner@demo-project.iam.gserviceaccount.com";

/// The commands, in their order.
pub(super) const COMMANDS: &[Line] = &[
    line("iam service-accounts create planner", 0, &["Created service account [planner]."]),
    line(
        "scheduler jobs create http nightly --location us-central1 --schedule '*/5 * * * *' --uri https://demo.invalid/ \
         --oidc-service-account-email planner@demo-project.iam.gserviceaccount.com --message-body hi",
        0,
        &["body: aGk=", "httpMethod: POST", ACCOUNT, "jobs/nightly", "state: ENABLED", "timeZone: Etc/UTC"],
    ),
    line(
        "scheduler jobs create http nightly --location us-central1 --schedule '* * * * *' --uri https://demo.invalid/",
        1,
        &["ERROR: (gcloud.scheduler.jobs.create.http)", "jobs/nightly already exists."],
    ),
    line(
        "scheduler jobs create http other --location us-central1 --schedule '61 * * * *' --uri https://demo.invalid/",
        1,
        &["INVALID_ARGUMENT: Schedule or time zone is invalid."],
    ),
    line(
        "scheduler jobs update http nightly --location us-central1 --schedule 'every day 09:30' --time-zone Europe/Berlin \
         --max-retry-attempts 3",
        0,
        &["schedule: every day 09:30", "timeZone: Europe/Berlin", "retryCount: 3", "body: aGk="],
    ),
    line("scheduler jobs pause nightly --location us-central1", 0, &["Job has been paused."]),
    line("scheduler jobs describe nightly --location us-central1", 0, &["state: PAUSED"]),
    line("scheduler jobs resume nightly --location us-central1", 0, &["Job has been resumed."]),
    line("scheduler jobs run nightly --location us-central1", 0, &[]),
    line(
        "scheduler jobs list --location us-central1",
        0,
        &["ID", "SCHEDULE (TZ)", "nightly", "every day 09:30 (Europe/Berlin)", "HTTP", "ENABLED"],
    ),
    line("scheduler jobs delete nightly --location us-central1 --quiet", 0, &["Deleted job [nightly]."]),
    line("scheduler jobs describe nightly --location us-central1", 1, &["NOT_FOUND: Job not found."]),
];
