//! The scheduler with virtual time, a book that the test writes, and a door that the test answers.

mod agenda;
mod world;

use std::time::Duration;

use updraft_model::schedule::{AttemptEvent, Authorization, HttpMethod, Retry, State};

use super::Limits;
use world::{Answer, World, job};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_job_is_requested_when_it_is_due_with_its_headers_and_its_body() {
    let world = World::start().await;
    world.put("nightly", job("30 0 * * *"));
    world.pass(29 * MINUTE).await;
    assert_eq!(world.seen().len(), 0);
    world.pass(MINUTE).await;
    let seen = world.seen();
    let [request] = &seen[..] else { panic!("{seen:#?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/x?y=z"));
    for (name, value) in [
        ("host", "hello.run.localhost:8080"),
        ("user-agent", "Google-Cloud-Scheduler"),
        ("x-cloudscheduler", "true"),
        ("x-cloudscheduler-jobname", "nightly"),
        ("x-cloudscheduler-scheduletime", "2026-01-01T00:30:00Z"),
        ("content-type", "application/octet-stream"),
        ("content-length", "2"),
    ] {
        assert_eq!(request.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(request.body, "hi");
    assert!(!request.headers.contains_key("authorization"));
    world.pass(24 * 60 * MINUTE).await;
    assert_eq!(world.seen().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_token_is_made_for_the_account_and_shown() {
    let world = World::start().await;
    let account = "a@demo-project.iam.gserviceaccount.com".to_owned();
    let mut wanted = job("* * * * *");
    let authorization = Authorization::Oidc { account, audience: "https://me".to_owned() };
    wanted.target.authorization = Some(authorization.clone());
    world.put("a", wanted);
    world.pass(MINUTE).await;
    assert_eq!(world.seen()[0].headers["authorization"], "Bearer token-of-a");
    assert_eq!(world.minted(), [("demo-project".to_owned(), authorization)]);
    // One that cannot be had is a failure that is told.
    world.refuse_tokens();
    world.pass(MINUTE).await;
    assert_eq!(world.seen().len(), 1, "nothing is sent without it");
    let report = world.reports().pop().expect("a report");
    assert_eq!((report.end.code, report.end.message.as_str()), (16, "There is no token to show: it is disabled."));
    world.end().await;
}

#[tokio::test]
async fn an_access_token_is_shown_to_the_apis_of_this_server_and_to_nobody_else() {
    let world = World::start().await;
    let account = "a@demo-project.iam.gserviceaccount.com".to_owned();
    let mut wanted = job("* * * * *");
    wanted.target.authorization = Some(Authorization::OAuth { account, scope: String::new() });
    // A program of somebody, and a port that was this server's once.
    for uri in ["http://hello.run.localhost:8080/", "http://localhost:9090/v2/x"] {
        wanted.target.uri = uri.to_owned();
        world.put("a", wanted.clone());
        world.pass(MINUTE).await;
        let end = world.reports().pop().expect("a report").end;
        assert_eq!((end.code, end.message.starts_with("The target is no API")), (7, true), "{uri}: {end:?}");
    }
    assert_eq!((world.seen().len(), world.minted().len()), (0, 0));
    wanted.target.uri = "http://localhost:8080/v2/x".to_owned();
    world.put("a", wanted);
    world.pass(MINUTE).await;
    assert_eq!(world.seen()[0].headers["authorization"], "Bearer token-of-a");
    world.end().await;
}

#[tokio::test]
async fn redirects_are_followed_with_the_token_only_to_where_it_was_shown_before() {
    let world = World::start().await;
    let account = "a@demo-project.iam.gserviceaccount.com".to_owned();
    let mut wanted = job("* * * * *");
    wanted.target.method = HttpMethod::Get;
    wanted.target.body.clear();
    wanted.target.authorization = Some(Authorization::Oidc { account, audience: String::new() });
    world.answer(Answer::Redirects(|path| match path {
        "/x?y=z" => Some("../near"),
        "/near" => Some("http://other.run.localhost:8080/far"),
        _ => None,
    }));
    world.put("a", wanted.clone());
    world.pass(MINUTE).await;
    let seen = world.seen();
    let shown = seen.iter().map(|request| (request.headers["host"].as_str(), request.path.as_str()));
    let (here, there) = ("hello.run.localhost:8080", "other.run.localhost:8080");
    assert_eq!(shown.collect::<Vec<_>>(), [(here, "/x?y=z"), (here, "/near"), (there, "/far")]);
    let has_token = seen.iter().map(|request| request.headers.contains_key("authorization"));
    assert_eq!(has_token.collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(world.reports().pop().map(|report| report.end.code), Some(0));
    // Nobody is redirected to where a job may not go.
    world.answer(Answer::Redirects(|_| Some("http://127.0.0.1:9/")));
    world.pass(MINUTE).await;
    let end = world.reports().pop().expect("a report").end;
    assert_eq!((world.seen().len(), end.code), (4, 7), "{end:?}");
    world.answer(Answer::Redirects(|_| Some("/again")));
    world.pass(MINUTE).await;
    let end = world.reports().pop().expect("a report").end;
    assert_eq!((world.seen().len(), end.message.as_str()), (10, "The target redirects more than 5 times."));
    // What could be done twice by this is not sent again.
    wanted.target.method = HttpMethod::Post;
    world.put("a", wanted);
    world.pass(MINUTE).await;
    let end = world.reports().pop().expect("a report").end;
    assert_eq!((world.seen().len(), end.status), (11, Some(302)));
    world.end().await;
}

#[tokio::test]
async fn a_call_of_an_api_of_googles_comes_to_this_server_below_the_prefix_of_that_api() {
    let world = World::start().await;
    let mut wanted = job("* * * * *");
    wanted.target.uri =
        "https://us-central1-run.googleapis.com/apis/run.googleapis.com/v1/namespaces/p/jobs/j:run".to_owned();
    world.put("a", wanted);
    world.pass(MINUTE).await;
    let request = &world.seen()[0];
    assert_eq!(request.path, "/run/apis/run.googleapis.com/v1/namespaces/p/jobs/j:run");
    assert_eq!(request.headers["host"], "us-central1-run.googleapis.com");
    assert!(request.is_secure);
    world.end().await;
}

#[tokio::test]
async fn a_failure_is_reported_and_tried_again_as_the_job_says() {
    let world = World::start().await;
    let mut wanted = job("0 * * * *");
    wanted.retry = Retry { count: 2, ..Retry::default() };
    world.put("a", wanted);
    world.answer(Answer::Status(503));
    world.pass(60 * MINUTE).await;
    let first = world.reports().pop().expect("a report");
    assert_eq!((first.end.code, first.end.message.as_str()), (14, "The target answered 503."));
    assert!(first.progress.execution.is_some());
    world.pass(Duration::from_secs(6)).await;
    assert_eq!(world.seen().len(), 2);
    world.pass(Duration::from_secs(12)).await;
    assert_eq!(world.seen().len(), 3);
    world.pass(30 * MINUTE).await;
    assert_eq!(world.seen().len(), 3, "there are two retries");
    world.answer(Answer::Status(204));
    world.pass(30 * MINUTE).await;
    assert_eq!(world.reports().pop().map(|report| report.end.code), Some(0));
    world.end().await;
}

#[tokio::test]
async fn an_attempt_ends_at_its_deadline_and_no_other_begins_before() {
    let world = World::start().await;
    world.put("a", job("* * * * *"));
    world.answer(Answer::Never);
    world.pass(MINUTE).await;
    assert_eq!(world.seen().len(), 1);
    world.pass(2 * MINUTE).await;
    assert_eq!((world.seen().len(), world.reports().len()), (1, 0), "it has three minutes");
    world.answer(Answer::Status(200));
    world.pass(MINUTE).await;
    let reports = world.reports();
    assert_eq!((reports[0].end.code, reports[0].end.message.as_str()), (4, "The target did not answer within 180 s."));
    // What was due meanwhile is one run.
    assert_eq!(world.seen().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn what_is_asked_for_runs_at_once_and_what_rests_does_not() {
    let world = World::start().await;
    let mut wanted = job("* * * * *");
    wanted.state = State::Paused;
    world.put("a", wanted.clone());
    world.pass(5 * MINUTE).await;
    assert_eq!(world.seen().len(), 0);
    wanted.progress.forced = Some(world.now());
    world.put("a", wanted);
    world.settle().await;
    assert_eq!(world.seen().len(), 1);
    assert_eq!(world.reports()[0].forced, Some(world.now()));
    world.pass(5 * MINUTE).await;
    assert_eq!(world.seen().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn until_an_attempt_is_written_down_no_other_is_made() {
    let world = World::start().await;
    world.put("a", job("* * * * *"));
    world.refuse_reports(3);
    world.pass(MINUTE).await;
    assert_eq!((world.seen().len(), world.reports().len()), (1, 0));
    for _ in 0..20 {
        world.pass(Duration::from_secs(1)).await;
    }
    assert_eq!((world.seen().len(), world.reports().len()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn a_server_that_is_killed_before_it_wrote_down_an_attempt_makes_it_again_and_loses_none() {
    let world = World::start().await;
    world.put("a", job("30 0 * * *"));
    world.refuse_reports(usize::MAX);
    world.pass(30 * MINUTE).await;
    assert_eq!(world.seen().len(), 1);
    // What is known of the job is what was written down: nothing.
    let world = world.killed().await;
    world.settle().await;
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.seen()[1].headers["x-cloudscheduler-scheduletime"], "2026-01-01T00:30:00Z");
    assert_eq!(world.reports().len(), 1);
    let world = world.killed().await;
    world.pass(MINUTE).await;
    assert_eq!(world.seen().len(), 2, "that was written down");
    world.end().await;
}

#[tokio::test]
async fn after_a_downtime_each_job_runs_once_and_they_do_not_all_begin_at_once() {
    let world = World::start().await;
    for index in 0..10 {
        world.put(&format!("j{index}"), job("*/10 * * * *"));
    }
    let world = world.down(60 * MINUTE + Duration::from_secs(5)).await;
    world.settle().await;
    assert_eq!(world.seen().len(), 1, "the others follow");
    world.pass(Duration::from_millis(120)).await;
    assert_eq!(world.seen().len(), 3);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.seen().len(), 10);
    for request in world.seen() {
        assert_eq!(request.headers["x-cloudscheduler-scheduletime"], "2026-01-01T00:10:00Z");
    }
    // That the rest is dropped is told, and so that it was not run.
    let dropped = AttemptEvent::Started { dropped: 5 };
    assert_eq!(world.events().iter().filter(|event| **event == dropped).count(), 10);
    world.pass(5 * MINUTE).await;
    assert_eq!(world.seen().len(), 10);
    world.end().await;
}

#[tokio::test]
async fn there_are_so_many_attempts_at_a_time_and_one_project_does_not_have_them_all() {
    let world = World::with(Limits { most: 3, most_of_project: 2 }).await;
    for project in ["demo-project", "other-project"] {
        for index in 0..4 {
            world.put_in(project, &format!("j{index}"), job("30 0 * * *"));
        }
    }
    world.answer(Answer::Never);
    world.pass(30 * MINUTE).await;
    assert_eq!(world.seen().len(), 3);
    world.answer(Answer::Status(200));
    world.pass(4 * MINUTE).await;
    assert_eq!(world.seen().len(), 8, "all have their turn");
    world.end().await;
}

#[tokio::test]
async fn a_target_elsewhere_takes_the_way_out_and_what_must_not_be_reached_is_told() {
    let world = World::start().await;
    let mut wanted = job("* * * * *");
    wanted.target.uri = "http://127.0.0.1:9/".to_owned();
    wanted.target.method = HttpMethod::Get;
    wanted.target.body.clear();
    world.put("a", wanted);
    world.pass(MINUTE).await;
    assert_eq!(world.seen().len(), 0, "the door is not for it");
    let report = world.reports().pop().expect("a report");
    assert_eq!(report.end.code, 7);
    assert!(report.end.message.contains("outbound-allow"), "{}", report.end.message);
    world.end().await;
}

#[tokio::test]
async fn a_job_that_is_deleted_during_its_attempt_is_not_run_again() {
    let world = World::start().await;
    world.put("a", job("* * * * *"));
    world.answer(Answer::Never);
    world.pass(MINUTE).await;
    world.take("a");
    world.pass(10 * MINUTE).await;
    assert_eq!((world.seen().len(), world.reports().len()), (1, 1));
    // One that is made again in its place has attempts of its own.
    world.answer(Answer::Status(200));
    world.put("a", job("* * * * *"));
    world.pass(MINUTE).await;
    assert_eq!(world.seen().len(), 2);
    world.end().await;
}
