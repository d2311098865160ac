//! One attempt: a token if there is to be one, the request, what came of it, and writing that down.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION};
use updraft_base::Backoff;
use updraft_model::schedule::{
    AttemptEnd, AttemptEntry, AttemptEvent, AttemptReport, Endpoint, HttpTarget, ScheduleEntry, ScheduledJobName,
};
use updraft_outbound::{FetchError, Request, Url, redirect};
use updraft_plan::delivery::{self, Attempt, Cause, Ended, Outcome, Timing, Token, Way, after, code_of};

use super::{SchedulerDeps, inward, request};

/// How long an attempt may go on when the server ends; then it is made again after the next start.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is tried to write down what came of an attempt.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// The longest message that is kept, in characters.
const MESSAGE_MAX: usize = 500;

/// The codes of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// An attempt to be made.
pub(super) struct Attempted {
    pub(super) name: Arc<ScheduledJobName>,
    pub(super) entry: Arc<ScheduleEntry>,
    pub(super) timing: Timing,
    pub(super) attempt: Attempt,
}

/// Makes an attempt and writes down what came of it. When the server ends meanwhile neither may come to its end.
pub(super) async fn make(attempted: Attempted, deps: &SchedulerDeps) {
    let over = async {
        deps.tasks.shutdown().asked().await;
        deps.clock.sleep(FAREWELL).await;
    };
    tokio::select! {
        () = whole(&attempted, deps) => {}
        () = over => tracing::info!(job = %attempted.name, "the server ends; the attempt is made again after the next start"),
    }
}

async fn whole(attempted: &Attempted, deps: &SchedulerDeps) {
    let Attempted { name, entry, timing, attempt } = attempted;
    let started = deps.clock.now();
    let log = |time, event| {
        let (name, url) = (ScheduledJobName::clone(name), entry.target.uri.clone());
        (deps.log)(AttemptEntry { time, name, url, due: attempt.due, event });
    };
    // Counted here and not where it is decided: a job that waits for long must not keep the others waiting.
    log(started, AttemptEvent::Started { dropped: timing.dropped(attempt, started) });
    let end = match deps.clock.timeout(entry.deadline, deliver(attempted, deps)).await {
        Ok(end) => end,
        Err(_) => {
            let message = format!("The target did not answer within {} s.", entry.deadline.as_secs());
            failed(DEADLINE_EXCEEDED, message)
        }
    };
    let ended = deps.clock.now();
    tracing::debug!(job = %name, ?attempt, ?end, "an attempt is over");
    log(ended, AttemptEvent::Finished(end.clone()));
    let outcome = if end.code == 0 { Outcome::Succeeded } else { Outcome::Failed };
    let progress = after(timing, &entry.retry, &entry.progress, attempt, Ended { started, ended, outcome });
    let forced = (attempt.cause == Cause::Forced).then_some(attempt.due);
    let name = ScheduledJobName::clone(name);
    write_down(AttemptReport { name, uid: entry.uid.clone(), started, end, progress, forced }, deps).await;
}

/// Until it is written down the job makes no other attempt.
async fn write_down(report: AttemptReport, deps: &SchedulerDeps) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    while let Err(error) = (deps.report)(report.clone()).await {
        tracing::warn!(%error, cause = error.cause(), job = %report.name, "an attempt could not be written down");
        deps.clock.sleep(backoff.next_delay()).await;
    }
}

/// Makes the request.
async fn deliver(attempted: &Attempted, deps: &SchedulerDeps) -> AttemptEnd {
    let Attempted { name, entry, attempt, .. } = attempted;
    let target = &*entry.target;
    let endpoint = match Endpoint::of(&target.uri) {
        Ok(endpoint) => endpoint,
        Err(rule) => return failed(INVALID_ARGUMENT, format!("The URL {rule}.")),
    };
    let shows = Token::of(target.authorization.as_ref());
    let way = delivery::way(&endpoint, &deps.ours, shows);
    // It was so when the job was written; the server's domain or its ports may be others now.
    if !way.may_see(shows) {
        let message = "The target is no API of this server (any more), and to no other is an access token shown.";
        return failed(PERMISSION_DENIED, message.to_owned());
    }
    let token = match &target.authorization {
        None => None,
        Some(authorization) => match (deps.mint)(name.parent.project.clone(), authorization.clone()).await {
            Ok(token) => Some(token),
            Err(reason) => return failed(UNAUTHENTICATED, format!("There is no token to show: {reason}.")),
        },
    };
    let headers = match request::headers(name, target, attempt.due, token.as_deref()) {
        Ok(headers) => headers,
        Err(reason) => return failed(INVALID_ARGUMENT, format!("The request cannot be made: {reason}.")),
    };
    follow(attempted, (endpoint, way), headers, deps).await
}

/// Makes the request where it leads, and again where this server redirects it. The way is decided anew for each hop: nobody
/// is redirected to where a job may not go.
async fn follow(
    attempted: &Attempted,
    (mut endpoint, mut way): (Endpoint, Way),
    mut headers: HeaderMap,
    deps: &SchedulerDeps,
) -> AttemptEnd {
    let target = &*attempted.entry.target;
    let mut uri = target.uri.clone();
    for _ in 0..=redirect::MOST {
        let prefix = match &way {
            Way::Out => return outward((target, &uri), headers, deps).await,
            Way::Api(name) => name.as_deref(),
            Way::Service => None,
        };
        let doorway = (&deps.doorway, attempted.name.parent.project.as_str());
        let (status, answer) = match inward::send(doorway, (&endpoint, prefix), target, headers.clone()).await {
            Ok(answer) => answer,
            Err(reason) => return failed(UNAVAILABLE, format!("There was no answer: {reason}.")),
        };
        let Some(location) = redirect::location(&request::method(target.method), status, &answer) else {
            return answered(status.as_u16());
        };
        let next = Url::parse(&uri).ok().and_then(|url| redirect::follow(&url, location, &mut headers));
        let read = next.and_then(|next| Some((Endpoint::of(next.as_str()).ok()?, next.into())));
        let Some(next) = read else {
            return failed(UNAVAILABLE, "The target redirects to what is no URL.".to_owned());
        };
        (endpoint, uri) = next;
        // A token does not go along to others.
        let shows = match headers.contains_key(AUTHORIZATION) {
            true => Token::of(target.authorization.as_ref()),
            false => Token::Other,
        };
        way = delivery::way(&endpoint, &deps.ours, shows);
    }
    failed(UNAVAILABLE, format!("The target redirects more than {} times.", redirect::MOST))
}

async fn outward((target, uri): (&HttpTarget, &str), headers: HeaderMap, deps: &SchedulerDeps) -> AttemptEnd {
    let mut request = Request::new(request::method(target.method), uri);
    for (name, value) in &headers {
        request = request.header(name.clone(), value.clone());
    }
    let whole = async {
        let mut answer = deps.outbound.send(request.body(Bytes::copy_from_slice(&target.body))).await?;
        while answer.chunk().await?.is_some() {}
        Ok::<_, FetchError>(answer.status().as_u16())
    };
    match whole.await {
        Ok(status) => answered(status),
        Err(FetchError::Refused(refusal)) => {
            failed(PERMISSION_DENIED, format!("The target is not reached: {refusal}."))
        }
        Err(FetchError::TooSlow(time)) => failed(DEADLINE_EXCEEDED, format!("No answer within {} s.", time.as_secs())),
        Err(error) => failed(UNAVAILABLE, format!("There was no answer: {error}.")),
    }
}

fn answered(status: u16) -> AttemptEnd {
    match code_of(status) {
        0 => AttemptEnd { code: 0, message: String::new(), status: Some(status) },
        code => AttemptEnd { status: Some(status), ..failed(code, format!("The target answered {status}.")) },
    }
}

fn failed(code: i32, message: String) -> AttemptEnd {
    AttemptEnd { code, message: message.chars().take(MESSAGE_MAX).collect(), status: None }
}
