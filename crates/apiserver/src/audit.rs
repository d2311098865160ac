//! Who asked for what, and what came of it: one record for each call that changes something or was refused.
//!
//! A [`Witness`] sees a call from outside: its row of the method tables, the caller, where it came from. What was decided
//! comes from the control plane's [`Trail`], what the caller is told from the one place where errors become answers. No
//! handler takes part, so none can forget to, and nothing here ever sees a body.

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response, header};
use updraft_api::{
    around,
    audit::{Audited, Calls},
    method,
    path::query_pairs,
    status, v1,
};
use updraft_control::audit::{Seen, Trail};
use updraft_model::{
    Error, ErrorKind,
    audit::{AccessCheck, AuditLog, AuditRecord, CallerAddress},
    iam::Principal,
};

use crate::{
    Api, grpc,
    own::OWN_CALLS,
    respond::BoxBody,
    rest::{route_v1, verb},
};

tokio::task_local! {
    static FAILURE: Failure;
}

/// The code and the message that a caller is told, once there is an error.
type Failure = Arc<Mutex<Option<(i32, String)>>>;

/// Of a call whose client went away before there was an answer: what it began may have been done.
const CUT_OFF: (i32, &str) = (1, "The client went away before there was an answer.");
/// Of a call whose handler panicked. Not the same: nobody went away, and somebody has to know.
const BROKEN: (i32, &str) = (13, "The server failed before there was an answer.");
/// Of a call that a library refused before any of our code saw it. What it says may repeat what the caller had sent.
const UNREADABLE: &str = "The request could not be read.";
/// The code of what nobody knows more about.
const UNKNOWN: i32 = 2;

/// Sees one call.
pub(crate) struct Witness {
    api: Api,
    /// None for a call that leads to no method, of which there is nothing to tell.
    row: Option<Row>,
    caller: Principal,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    trail: Trail,
    failure: Failure,
    is_over: bool,
}

/// What a request is by its path.
struct Row {
    audited: Audited,
    /// What the path names; empty when it names nothing.
    resource: String,
}

/// Tells the audit log why a call failed.
pub(crate) fn failed(error: &Error) {
    let _ = FAILURE.try_with(|failure| {
        let told = (status::grpc_code(error.kind()), harmless(error));
        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    });
}

/// The failure that an answer tells of without anybody having noted one: what a library answers by itself, such as gRPC's
/// to a message that is none. Such a call is no success, whoever wrote the answer.
fn unnoted<B>(answer: &Response<B>) -> Option<(i32, String)> {
    let code = match answer.headers().get("grpc-status") {
        Some(code) => code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN),
        None if answer.status().is_client_error() || answer.status().is_server_error() => UNKNOWN,
        None => 0,
    };
    (code != 0).then(|| (code, UNREADABLE.to_owned()))
}

/// The message of an error, without what the caller had sent: of a value that broke a rule the name of its field only.
fn harmless(error: &Error) -> String {
    if error.kind() != ErrorKind::InvalidArgument {
        return error.message().to_owned();
    }
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    match fields.is_empty() {
        true => "Request contains an invalid argument.".to_owned(),
        false => format!("Request contains an invalid argument: {}", fields.join(", ")),
    }
}

// === impl Witness ===

impl Witness {
    /// For a request of `caller`.
    pub(crate) fn of<B>(api: &Api, caller: &Principal, request: &Request<B>) -> Self {
        let agent = request.headers().get(header::USER_AGENT);
        Self {
            api: api.clone(),
            row: Row::of(api, request),
            caller: caller.clone(),
            address: request.extensions().get().map(|CallerAddress(address)| *address),
            user_agent: agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
            trail: Trail::default(),
            failure: Failure::default(),
            is_over: false,
        }
    }

    /// Sees the call to its answer. What it did is on record before the caller learns of it.
    pub(crate) async fn see(mut self, call: impl Future<Output = Response<BoxBody>>) -> Response<BoxBody> {
        let trail = self.trail.clone();
        let answer = FAILURE.scope(self.failure.clone(), trail.follow(call)).await;
        self.is_over = true;
        let noted = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failure = noted.or_else(|| unnoted(&answer));
        if let Some(record) = self.record(failure) {
            self.api.inner.audit.audit(record).await;
        }
        answer
    }

    /// The record of the call, if one is to be written.
    fn record(&self, failure: Option<(i32, String)>) -> Option<AuditRecord> {
        let Row { audited, resource } = self.row.as_ref()?;
        let is = |kind| failure.as_ref().is_some_and(|(code, _)| *code == status::grpc_code(kind));
        let is_denied = is(ErrorKind::PermissionDenied) || is(ErrorKind::Unauthenticated);
        if audited.calls == Calls::Denied && !is_denied {
            return None;
        }
        let Seen { checks, subject, deltas } = self.trail.seen();
        let refused = failure.as_ref().and_then(|_| refused_elsewhere(&checks));
        // Of a project that is made up there is no log: who may nothing could make any number of them.
        let project = refused.or_else(|| home(&checks)).and_then(|check| check.project.clone());
        let asked_on = checks.first().map(|check| check.resource.as_str()).unwrap_or_default();
        let resource = match refused {
            // Who reads it there has nothing to do with what was to be made elsewhere.
            Some(check) => check.resource.clone(),
            None => subject.unwrap_or_else(|| nearer(asked_on, resource).to_owned()),
        };
        let record = AuditRecord {
            time: self.api.deps().clock.now(),
            project: project.unwrap_or_else(|| self.api.deps().info.default_project.clone()),
            log: audited.log,
            service: audited.service,
            method: audited.method.clone(),
            resource,
            principal: Some(self.caller.email()).filter(|_| self.caller != Principal::Anonymous),
            checks,
            caller: self.address,
            user_agent: self.user_agent.clone(),
            deltas,
            failure,
        };
        // Whoever is let in is bounded by the rates of calls of the project. Who is not could name any number of projects.
        if !record.was_let_in() && !self.api.buckets().admit_refusal(&self.caller) {
            self.api.inner.audit.withhold_audit();
            return None;
        }
        Some(record)
    }
}

/// Who goes away in the middle of a call must not be able to change something that is on no record.
impl Drop for Witness {
    fn drop(&mut self) {
        let begun = |row: &Row| row.audited.log == AuditLog::Activity || row.audited.calls == Calls::All;
        if self.is_over || !self.row.as_ref().is_some_and(begun) {
            return;
        }
        let (code, message) = if std::thread::panicking() { BROKEN } else { CUT_OFF };
        if let Some(record) = self.record(Some((code, message.to_owned()))) {
            self.api.inner.audit.audit_unattended(record);
        }
    }
}

/// The decision that says whose project a call is about: the first that a project has a say in.
fn home(checks: &[AccessCheck]) -> Option<&AccessCheck> {
    checks.iter().find(|check| check.project.is_some())
}

/// The decision that ended a call, if another project than its own refused it: that one's log is to have it. What ended a
/// call is what was refused last.
fn refused_elsewhere(checks: &[AccessCheck]) -> Option<&AccessCheck> {
    let refused = checks.iter().rev().find(|check| !check.is_granted)?;
    let home = home(checks)?;
    (refused.project.is_some() && refused.project != home.project).then_some(refused)
}

/// The name that says more. Names of the control plane have the project's id, paths have what the caller wrote.
fn nearer<'a>(asked_on: &'a str, path: &'a str) -> &'a str {
    let depth = |name: &str| name.split('/').count();
    if asked_on.is_empty() || depth(path) > depth(asked_on) { path } else { asked_on }
}

// === impl Row ===

impl Row {
    /// By the same tables, in the same order, as a call finds its handler.
    fn of<B>(api: &Api, request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        if grpc::is_grpc(request.headers()) {
            // What it is about is in the message, and known once a permission has been asked for.
            let method = method::find(path.trim_start_matches('/'))?;
            return Some(Self { audited: Audited::of(method), resource: String::new() });
        }
        if let Some(call) = OWN_CALLS.iter().find(|call| call.path == path && call.verb == request.method()) {
            // An image has no policy: the permission is asked for on the project.
            let image = query_pairs(request.uri().query().unwrap_or_default()).find(|(name, _)| name == "name");
            let project = &api.deps().info.default_project;
            let resource = image.map(|(_, image)| format!("projects/{project}/images/{image}"));
            return Some(Self { audited: call.audited(), resource: resource.unwrap_or_default() });
        }
        let meant = verb(request.method(), request.headers());
        if let around::Route::Found(call, fields) = around::route(&meant, path) {
            return Some(Self { audited: Audited::around(call), resource: fields.resource() });
        }
        let (product, plain) = method::prefixed(path);
        if let v1::method::Route::Found(found) = route_v1(product, &meant, plain) {
            return Some(Self { audited: Audited::v1(found.method, found.access), resource: found.parent() });
        }
        match method::route(product, &meant, plain) {
            method::Route::Found(found) => {
                Some(Self { audited: Audited::of(found.method), resource: found.resource().to_owned() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_a_rule_is_not_repeated() {
        let error = Error::invalid_field("service.template.containers[0].env[0]", "must not be, got 'hunter2'");
        assert_eq!(harmless(&error), "Request contains an invalid argument: service.template.containers[0].env[0]");
        let error = Error::new(ErrorKind::InvalidArgument, "Invalid JSON payload received. hunter2");
        assert_eq!(harmless(&error), "Request contains an invalid argument.");
        assert_eq!(
            harmless(&Error::new(ErrorKind::PermissionDenied, "Permission 'a' denied")),
            "Permission 'a' denied"
        );
    }

    #[test]
    fn the_name_that_says_more_is_told() {
        assert_eq!(nearer("projects/p", "projects/1/roles/r"), "projects/1/roles/r");
        assert_eq!(nearer("projects/p/locations/l", "projects/1/locations/l"), "projects/p/locations/l");
        assert_eq!(nearer("", "projects/p"), "projects/p");
        assert_eq!(nearer("updraft", ""), "updraft");
    }
}
