//! Scheduled jobs: what is published of them, and what comes of reports.

use std::time::{Duration, SystemTime};

use updraft_api::scheduler::{
    CreateJobRequest, DeleteJobRequest, GetJobRequest, HttpTarget, Job, ListJobsRequest, OidcToken, PauseJobRequest,
    ResumeJobRequest, RunJobRequest, UpdateJobRequest, http_target::AuthorizationHeader, job,
};
use updraft_model::{
    Error, ErrorKind,
    schedule::{AttemptEnd, AttemptReport, Execution, Progress, ScheduleEntry, ScheduledJobName, State},
};

use updraft_store::{Change, Key, Kind};

use crate::world::*;

fn name(id: &str) -> String {
    format!("{PARENT}/jobs/{id}")
}

fn every(schedule: &str) -> Job {
    let target = HttpTarget { uri: "https://example.com/".to_owned(), ..HttpTarget::default() };
    Job { schedule: schedule.to_owned(), target: Some(job::Target::HttpTarget(target)), ..Job::default() }
}

async fn create(world: &World, id: &str, job: Job) -> Result<Job, Error> {
    let job = Some(Job { name: name(id), ..job });
    world.control.scheduled_jobs_create(&ME, CreateJobRequest { parent: PARENT.to_owned(), job }).await
}

async fn get(world: &World, id: &str) -> Result<Job, Error> {
    world.control.scheduled_jobs_get(&ME, GetJobRequest { name: name(id) }).await
}

async fn update(world: &World, job: Job, paths: &[&str]) -> Result<Job, Error> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    world.control.scheduled_jobs_update(&ME, UpdateJobRequest { job: Some(job), update_mask }).await
}

async fn pause(world: &World, id: &str) -> Result<Job, Error> {
    world.control.scheduled_jobs_pause(&ME, PauseJobRequest { name: name(id) }).await
}

async fn resume(world: &World, id: &str) -> Result<Job, Error> {
    world.control.scheduled_jobs_resume(&ME, ResumeJobRequest { name: name(id) }).await
}

async fn run(world: &World, id: &str) -> Result<Job, Error> {
    world.control.scheduled_jobs_run(&ME, RunJobRequest { name: name(id) }).await
}

/// What is published of a job.
fn entry(world: &World, id: &str) -> Option<ScheduleEntry> {
    let name: ScheduledJobName = name(id).parse().expect("a name");
    world.schedules.borrow().entries.get(&name).map(|entry| ScheduleEntry::clone(entry))
}

fn report(id: &str, entry: &ScheduleEntry, started: SystemTime, progress: Progress) -> AttemptReport {
    AttemptReport {
        name: name(id).parse().expect("a name"),
        uid: entry.uid.clone(),
        started,
        end: AttemptEnd { code: 0, message: String::new(), status: Some(200) },
        progress,
        forced: None,
    }
}

#[tokio::test]
async fn what_is_made_changed_paused_and_deleted_is_published_before_the_answer() {
    let world = World::new().await;
    create(&world, "a", every("*/5 * * * *")).await.expect("is made");
    let made = entry(&world, "a").expect("published");
    assert_eq!((made.state, made.progress), (State::Enabled, Progress::starting(1, world.now())));
    world.hand.advance(Duration::from_secs(7));
    update(&world, Job { name: name("a"), schedule: "0 0 * * *".to_owned(), ..Job::default() }, &["schedule"])
        .await
        .expect("is changed");
    let changed = entry(&world, "a").expect("published");
    assert_eq!((changed.schedule.as_str(), changed.progress), ("0 0 * * *", Progress::starting(2, world.now())));
    pause(&world, "a").await.expect("rests");
    assert_eq!(entry(&world, "a").expect("published").state, State::Paused);
    let request = DeleteJobRequest { name: name("a") };
    world.control.scheduled_jobs_delete(&ME, request).await.expect("is deleted");
    assert_eq!(entry(&world, "a"), None);
}

#[tokio::test]
async fn a_change_that_is_not_about_time_does_not_begin_anew() {
    let world = World::new().await;
    create(&world, "a", every("*/5 * * * *")).await.expect("is made");
    let before = entry(&world, "a").expect("published").progress;
    world.hand.advance(Duration::from_secs(7));
    update(&world, Job { name: name("a"), description: "d".to_owned(), ..Job::default() }, &["description", "state"])
        .await
        .expect("is changed");
    assert_eq!(entry(&world, "a").expect("published").progress, before);
    let job = Job { name: name("a"), ..Job::default() };
    for (paths, field) in [(["labels"], "update_mask"), (["http_target"], "job.http_target")] {
        let error = update(&world, job.clone(), &paths).await.expect_err("refused");
        assert_eq!(error.violations()[0].field, field);
    }
}

#[tokio::test]
async fn a_token_whose_fields_are_cleared_is_none_and_one_that_was_never_whole_is_refused() {
    let world = World::new().await;
    let with = |email: &str, mut job: Job| {
        let token = OidcToken { service_account_email: email.to_owned(), audience: String::new() };
        if let Some(job::Target::HttpTarget(target)) = &mut job.target {
            target.authorization_header = Some(AuthorizationHeader::OidcToken(token));
        }
        job
    };
    let error = create(&world, "a", with("", every("* * * * *"))).await.expect_err("refused");
    assert_eq!(error.violations()[0].field, "job.http_target.oidc_token.service_account_email");
    let default = updraft_model::account::default_email("demo-project");
    create(&world, "a", with(&default, every("* * * * *"))).await.expect("is made");
    let paths = ["http_target.oidc_token.service_account_email", "http_target.oauth_token.scope"];
    let changed = update(&world, Job { name: name("a"), ..Job::default() }, &paths).await.expect("is changed");
    let Some(job::Target::HttpTarget(target)) = changed.target else { panic!("it has a target") };
    assert_eq!((target.authorization_header, target.uri.as_str()), (None, "https://example.com/"));
}

#[tokio::test]
async fn jobs_are_published_again_after_a_start() {
    let world = World::new().await;
    create(&world, "a", every("*/5 * * * *")).await.expect("is made");
    run(&world, "a").await.expect("is asked for");
    let before = entry(&world, "a");
    let world = world.restart().await;
    assert!(before.as_ref().is_some_and(|entry| entry.progress.forced.is_some()));
    assert_eq!(entry(&world, "a"), before);
}

#[tokio::test]
async fn a_report_is_written_down_and_shown() {
    let world = World::new().await;
    create(&world, "a", every("0 * * * *")).await.expect("is made");
    let there = entry(&world, "a").expect("published");
    let (now, later) = (world.now(), world.now() + Duration::from_secs(60));
    let execution = Execution { due: now, first: now, attempts: 1, retry_at: later };
    let progress = Progress { last: now, execution: Some(execution), ..there.progress };
    let failed = AttemptReport {
        end: AttemptEnd { code: 14, message: "The target answered 503.".to_owned(), status: Some(503) },
        ..report("a", &there, now, progress)
    };
    world.control.scheduled_job_attempted(&failed).await.expect("is written");
    assert_eq!(entry(&world, "a").expect("published").progress, progress);
    let shown = get(&world, "a").await.expect("is there");
    assert_eq!(shown.last_attempt_time, Some(now.into()));
    assert_eq!(shown.schedule_time, Some(later.into()), "the retry is next");
    let status = shown.status.expect("there was an attempt");
    assert_eq!((status.code, status.message.as_str()), (14, "The target answered 503."));
    let done = Progress { last: later, execution: None, ..progress };
    world.control.scheduled_job_attempted(&report("a", &there, later, done)).await.expect("is written");
    let status = get(&world, "a").await.expect("is there").status.expect("there was an attempt");
    assert_eq!((status.code, status.message.as_str()), (0, ""));
}

#[tokio::test]
async fn a_report_of_before_a_pause_does_not_count_and_a_run_that_was_asked_for_meanwhile_is_still_to_come() {
    let world = World::new().await;
    create(&world, "a", every("0 * * * *")).await.expect("is made");
    let there = entry(&world, "a").expect("published");
    pause(&world, "a").await.expect("rests");
    world.hand.advance(Duration::from_secs(60));
    resume(&world, "a").await.expect("runs");
    let resumed = entry(&world, "a").expect("published").progress;
    let late = report("a", &there, world.now(), Progress { last: SystemTime::UNIX_EPOCH, ..there.progress });
    world.control.scheduled_job_attempted(&late).await.expect("is taken");
    assert_eq!(entry(&world, "a").expect("published").progress, resumed);
    assert!(get(&world, "a").await.expect("is there").last_attempt_time.is_some(), "there was an attempt all the same");

    run(&world, "a").await.expect("is asked for");
    let asked = entry(&world, "a").expect("published").progress;
    world.control.scheduled_job_attempted(&report("a", &there, world.now(), resumed)).await.expect("is taken");
    assert_eq!(entry(&world, "a").expect("published").progress.forced, asked.forced, "it is still to come");
    // Somebody asks again while that run is under way.
    let done = AttemptReport { forced: asked.forced, ..report("a", &there, world.now(), resumed) };
    world.hand.advance(Duration::from_secs(1));
    run(&world, "a").await.expect("is asked for");
    world.control.scheduled_job_attempted(&done).await.expect("is taken");
    let again = entry(&world, "a").expect("published").progress;
    assert_eq!(again.forced, Some(world.now()));
    let done = AttemptReport { forced: again.forced, ..done };
    world.control.scheduled_job_attempted(&done).await.expect("is taken");
    assert_eq!(entry(&world, "a").expect("published").progress.forced, None);
}

#[tokio::test]
async fn of_a_job_that_is_gone_or_made_again_no_report_is_kept() {
    let world = World::new().await;
    create(&world, "a", every("0 * * * *")).await.expect("is made");
    let there = entry(&world, "a").expect("published");
    let delete = async || world.control.scheduled_jobs_delete(&ME, DeleteJobRequest { name: name("a") }).await;
    delete().await.expect("is deleted");
    let late = report("a", &there, world.now(), there.progress);
    world.control.scheduled_job_attempted(&late).await.expect("is taken");
    assert_eq!(get(&world, "a").await.expect_err("is gone").kind(), ErrorKind::NotFound);
    create(&world, "a", every("0 * * * *")).await.expect("is made again");
    world.control.scheduled_job_attempted(&late).await.expect("is taken");
    assert_eq!(get(&world, "a").await.expect("is there").last_attempt_time, None);
}

#[tokio::test]
async fn a_job_that_is_being_deleted_is_not_published_any_more_when_its_report_is_answered() {
    let world = World::new().await;
    create(&world, "a", every("0 * * * *")).await.expect("is made");
    let there = entry(&world, "a").expect("published");
    // The deletion is in the store, and its call has not come to publishing it.
    let key = Key::new(Kind::ScheduledJob, PARENT.parse().expect("a parent"), "a");
    world.store.commit(vec![Change::Delete { key, resource_version: 0 }]).await.expect("is deleted");
    world.control.scheduled_job_attempted(&report("a", &there, world.now(), there.progress)).await.expect("is taken");
    assert_eq!(entry(&world, "a"), None);
}

#[tokio::test]
async fn lists_go_page_by_page_and_there_is_a_most() {
    let world = World::new().await;
    for index in 0..3 {
        create(&world, &format!("j{index}"), every("0 * * * *")).await.expect("is made");
        world.hand.advance(Duration::from_secs(1));
    }
    let page = async |size: i32, token: &str| {
        let request = ListJobsRequest { parent: PARENT.to_owned(), page_size: size, page_token: token.to_owned() };
        world.control.scheduled_jobs_list(&ME, request).await.expect("lists")
    };
    let first = page(2, "").await;
    let second = page(2, &first.next_page_token).await;
    let ids = |jobs: &[Job]| jobs.iter().map(|job| id(&job.name)).collect::<Vec<_>>();
    assert_eq!((first.jobs.len(), second.jobs.len(), second.next_page_token.as_str()), (2, 1, ""));
    let mut all = [ids(&first.jobs), ids(&second.jobs)].concat();
    all.sort();
    assert_eq!(all, ["j0", "j1", "j2"]);
    assert_eq!(page(0, "").await.jobs.len(), 3);
    for index in 3..1000 {
        create(&world, &format!("j{index}"), every("0 * * * *")).await.expect("is made");
    }
    let error = create(&world, "more", every("0 * * * *")).await.expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn the_first_job_of_a_project_that_somebody_else_just_made_is_made() {
    let world = World::new().await;
    create(&world, "some", every("* * * * *")).await.expect("is made");
    let key = Key::new(Kind::ScheduledJob, PARENT.parse().expect("a parent"), "some");
    let some = world.store.get(&key).await.expect("reads").expect("is there");
    world.project_is_made_elsewhere("new-project", some).await;
    let parent = PARENT.replace("demo-project", "new-project");
    let job = Some(Job { name: format!("{parent}/jobs/a"), ..every("* * * * *") });
    let request = CreateJobRequest { parent, job };
    world.control.scheduled_jobs_create(&ME, request.clone()).await.expect("the job was not there");
    let again = world.control.scheduled_jobs_create(&ME, request).await.expect_err("now it is");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
}
