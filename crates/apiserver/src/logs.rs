//! Log entries of a service, a worker pool or a job, line by line.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use serde::Serialize;
use serde_json::json;
use updraft_api::{json::EnumEncoding, status};
use updraft_base::{Clock, Shutdown};
use updraft_control::{Control, Permitted};
use updraft_identity::Authenticated;
use updraft_model::{
    Error, Parent, ServiceName,
    iam::Permission,
    name::{Collection, check_location_id, check_project_id, check_service_id},
};
use updraft_telemetry::{Followed, Follower, LogQuery, Which};

use crate::{
    Served,
    own::{Parameters, uncached},
    respond::{BoxBody, BoxError, boxed, note, text},
};

/// Entries when the query does not say.
const LIMIT: usize = 100;
/// The most entries of one answer.
const LIMIT_MAX: usize = 10_000;
/// How often whoever follows is asked for the permission again.
const AGAIN: Duration = Duration::from_secs(60);
/// One JSON object per line.
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// `GET /updraft/v1/logs?service=&revision=&which=&limit=&follow=&project=&location=`, with `workerPool`, or `job`,
/// `execution` and `task`, instead of `service` and `revision` for those: the newest entries, or with
/// `which=decisions` those of the scaler, which are left out otherwise; the oldest of them first, each an object in the form of Cloud Logging; with `follow=true` also those that
/// come after. A follower that is too slow gets `{"lost": N}` for what it missed, and one that may not read them any more
/// an error in the form of the API's, at the end.
///
/// # Errors
/// `InvalidArgument` for a parameter that is missing or wrong.
pub(crate) async fn read(
    deps: &Served,
    (who, permission, permit): (impl FnOnce() -> Authenticated, Permission, &Permitted),
    parameters: &Parameters,
) -> Result<Response<BoxBody>, Error> {
    let limit = parameters.parse::<usize>("limit")?.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::invalid_field("limit", format!("must be 1 to {LIMIT_MAX}, got {limit}")));
    }
    let revision = parameters.get("revision").or_else(|| parameters.get("execution")).map(str::to_owned);
    let task = parameters.parse::<u32>("task")?;
    let which = match parameters.get("which") {
        None | Some("output") => Which::Output,
        Some("decisions") => Which::Decisions,
        Some(other) => {
            return Err(Error::invalid_field("which", format!("must be output or decisions, got '{other}'")));
        }
    };
    let service = service(deps, parameters)?;
    let query = LogQuery { revision, task, which, limit, ..LogQuery::of(service.clone()) };
    if !parameters.parse::<bool>("follow")?.unwrap_or_default() {
        let entries = deps.logs.open(permit).query(query).await;
        let lines: Vec<u8> = entries.iter().rev().flat_map(line).collect();
        return Ok(uncached(text(StatusCode::OK, NDJSON, lines)));
    }
    let (entries, follower) = deps.logs.open(permit).tail(query).await;
    let before: Vec<Bytes> = entries.iter().rev().map(line).collect();
    let (control, clock) = (deps.control.clone(), deps.clock.clone());
    let reader = Reader { control, clock, who: who(), permission, service };
    let after = follow(follower, end(deps.shutdown.clone(), reader));
    let lines = stream::iter(before).chain(after).map(|line| Ok::<_, BoxError>(Frame::data(line)));
    let mut answer = text(StatusCode::OK, NDJSON, "");
    *answer.body_mut() = boxed(StreamBody::new(lines));
    Ok(uncached(answer))
}

/// What a query names what has a log by.
const NAMED: [(&str, Collection); 3] =
    [("service", Collection::Services), ("workerPool", Collection::WorkerPools), ("job", Collection::Jobs)];

/// The service, worker pool or job that a query names.
pub(crate) fn service(deps: &Served, parameters: &Parameters) -> Result<ServiceName, Error> {
    let mut named = NAMED.into_iter().filter(|(parameter, _)| parameters.get(parameter).is_some());
    let (field, collection) = named.next().unwrap_or(NAMED[0]);
    if let Some((other, _)) = named.next() {
        return Err(Error::invalid_field(other, format!("must not be given together with {field}")));
    }
    let id = parameters.need(field)?;
    let project = parameters.get("project").unwrap_or(&deps.info.default_project);
    let location = parameters.get("location").unwrap_or(&deps.info.default_location);
    let checks =
        [check_service_id(field, id), check_project_id("project", project), check_location_id("location", location)];
    match checks.into_iter().find_map(Result::err) {
        Some(violation) => Err(Error::invalid(vec![violation])),
        None => Ok(Parent::new(project, location).resource(collection, id)),
    }
}

/// Who follows, and what they were permitted.
struct Reader {
    control: Control,
    clock: Clock,
    who: Authenticated,
    permission: Permission,
    service: ServiceName,
}

// === impl Reader ===

impl Reader {
    /// Ends when it is not permitted any more, with what a call would be told now. A stream may last for weeks, and nothing
    /// of it is asked for again by itself.
    async fn withdrawn(self) -> Error {
        loop {
            self.clock.sleep(AGAIN).await;
            if let Err(error) = self.again().await {
                return error;
            }
        }
    }

    async fn again(&self) -> Result<(), Error> {
        self.who.check(self.clock.now())?;
        self.control.authorise_service(self.who.principal(), self.permission, &self.service).await.map(drop)
    }
}

/// When a stream ends, and with which error. Without an end of its own it would hold up the end of the server.
async fn end(shutdown: Shutdown, reader: Reader) -> Option<Error> {
    tokio::select! {
        () = shutdown.asked() => None,
        error = reader.withdrawn() => Some(error),
    }
}

/// What is heard until `end`, whose error is the last line.
fn follow(follower: Follower, end: impl Future<Output = Option<Error>>) -> impl Stream<Item = Bytes> {
    stream::unfold(Some((follower, Box::pin(end))), |state| async move {
        let (mut follower, mut end) = state?;
        tokio::select! {
            biased;
            error = &mut end => error.map(|error| (refusal(&error), None)),
            heard = follower.next() => {
                let line = match heard? {
                    Followed::Entry(entry) => line(&*entry),
                    Followed::Lost(lost) => line(&json!({"lost": lost})),
                };
                Some((line, Some((follower, end))))
            }
        }
    })
}

fn refusal(error: &Error) -> Bytes {
    note(error);
    line(&status::error_body(error, EnumEncoding::default()))
}

fn line(entry: &impl Serialize) -> Bytes {
    // Into memory, and nothing in an entry is without a form in JSON.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
