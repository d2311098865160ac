//! Paths of our own: about the server, its logs, its images; probes and metrics.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use updraft_api::{
    audit::Audited,
    json::{EnumEncoding, to_json},
    location::ListLocationsRequest,
    method::Access,
    path::query_pairs,
};
use updraft_control::Rotated;
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_telemetry::{CONTENT_TYPE, Metrics};

use crate::{
    Api, backup,
    call::AnyBody,
    diagnosis, images, logs,
    respond::{BoxBody, text},
    rest::Format,
};

/// A call of ours.
#[derive(Debug)]
pub struct OwnCall {
    /// The verb.
    pub verb: Verb,
    /// The path.
    pub path: &'static str,
    /// What the caller needs, on what [`OwnCall::on`] says.
    pub access: Access,
    /// What it needs it on.
    pub on: On,
    work: Work,
}

/// What the permission of a call of ours is asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The server: its owner has it, nobody else.
    Server,
    /// The default project: images and metrics are of no project, and that one is always there.
    DefaultProject,
    /// The service, worker pool or job that the query names.
    Service,
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
enum Work {
    Metrics,
    Info,
    Authority,
    Logs,
    Backup,
    Diagnosis,
    ListImages,
    DeleteImage,
    LoadImages,
    RotateKey,
    Rerun,
}

use Access::{Free, Permission as Needs};

/// Every call of ours, but for the probes, which anybody may send.
pub static OWN_CALLS: [OwnCall; 11] = [
    own(Verb::GET, METRICS, Needs("monitoring.timeSeries.list"), (On::DefaultProject, Work::Metrics)),
    // What the server is called, and whom to trust: clients need both before anything else.
    own(Verb::GET, "/updraft/v1/info", Free, (On::Server, Work::Info)),
    own(Verb::GET, "/updraft/v1/ca", Free, (On::Server, Work::Authority)),
    own(Verb::GET, "/updraft/v1/logs", Needs("logging.logEntries.list"), (On::Service, Work::Logs)),
    own(Verb::GET, "/updraft/v1/backup", Needs("updraft.backups.create"), (On::Server, Work::Backup)),
    own(Verb::GET, "/updraft/v1/diagnosis", Needs("run.revisions.get"), (On::Service, Work::Diagnosis)),
    own(
        Verb::GET,
        "/updraft/v1/images",
        Needs("artifactregistry.repositories.list"),
        (On::DefaultProject, Work::ListImages),
    ),
    own(
        Verb::DELETE,
        "/updraft/v1/images",
        Needs("artifactregistry.repositories.deleteArtifacts"),
        (On::DefaultProject, Work::DeleteImage),
    ),
    own(
        Verb::POST,
        "/updraft/v1/images:load",
        Needs("artifactregistry.repositories.uploadArtifacts"),
        (On::DefaultProject, Work::LoadImages),
    ),
    own(Verb::POST, "/updraft/v1/executions:rerun", Needs("run.jobs.runWithOverrides"), (On::Service, Work::Rerun)),
    own(Verb::POST, "/updraft/v1/secrets:rotateKey", Needs("updraft.keys.rotate"), (On::Server, Work::RotateKey)),
];

const fn own(verb: Verb, path: &'static str, access: Access, (on, work): (On, Work)) -> OwnCall {
    OwnCall { verb, path, access, on, work }
}

/// What they begin with, but for the probes and metrics.
const PREFIX: &str = "/updraft/v1/";
const METRICS: &str = "/metrics";
/// Certificates (RFC 8555, section 9.1).
const PEM: HeaderValue = HeaderValue::from_static("application/pem-certificate-chain");
const NO_AUTHORITY: &str =
    "This server has no certificate authority of its own: TLS is off, or it shows the operator's certificate.";
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The parameters of a call of ours.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

/// Answers the probes, which ask nobody for credentials; `None` when it is no probe.
pub(crate) async fn probe<B>(api: &Api, request: &Request<B>) -> Option<Response<BoxBody>> {
    let path = request.uri().path();
    if !matches!(path, "/healthz" | "/readyz") {
        return None;
    }
    if request.method() != Verb::GET {
        return Some(Format::default().wrong_verb(request.method(), path, &[Verb::GET]));
    }
    let outcome = if path == "/readyz" { ready(api).await } else { Ok(()) };
    Some(match outcome {
        Ok(()) => text(StatusCode::OK, PLAIN, "ok\n"),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{error}\n")),
    })
}

/// Is this one of the paths here?
pub(crate) fn is_own(path: &str) -> bool {
    path.starts_with(PREFIX) || path == METRICS
}

/// Answers a call of a known caller.
pub(crate) async fn serve<B: AnyBody>(api: &Api, caller: Principal, request: Request<B>) -> Response<BoxBody> {
    let (parts, body) = request.into_parts();
    let (format, parameters) = match Parameters::of(parts.uri.query().unwrap_or_default()) {
        Ok(read) => read,
        Err(error) => return Format::default().error(&error),
    };
    if let Err(error) = api.buckets().admit_own(&caller, &parts.method) {
        return format.error(&error);
    }
    let path = parts.uri.path();
    let there: Vec<&OwnCall> = OWN_CALLS.iter().filter(|call| call.path == path).collect();
    if there.is_empty() {
        return format.unknown(path);
    }
    let Some(call) = there.iter().find(|call| call.verb == parts.method) else {
        let verbs: Vec<Verb> = there.iter().map(|call| call.verb.clone()).collect();
        return format.wrong_verb(&parts.method, path, &verbs);
    };
    match call.answer(api, (&caller, &parts.headers), &parameters, body).await {
        Ok(Answer::Json(value)) => format.body(StatusCode::OK, &value),
        Ok(Answer::Whole(answer)) => answer,
        Err(error) => format.error(&error),
    }
}

/// An answer, or what becomes one in the form that was asked for.
enum Answer {
    Json(Value),
    Whole(Response<BoxBody>),
}

// === impl OwnCall ===

impl OwnCall {
    /// The method and which of its calls are written down. They are spelt like Google's, which has none like them.
    pub fn audited(&self) -> Audited {
        let method = match self.work {
            Work::Metrics => "updraft.v1.Metrics.GetMetrics",
            Work::Info => "updraft.v1.Server.GetInfo",
            Work::Authority => "updraft.v1.Server.GetAuthority",
            Work::Logs => "updraft.v1.Logs.ListEntries",
            Work::Backup => "updraft.v1.Backups.CreateBackup",
            Work::Diagnosis => "updraft.v1.Services.DiagnoseService",
            Work::ListImages => "updraft.v1.Images.ListImages",
            Work::DeleteImage => "updraft.v1.Images.DeleteImage",
            Work::LoadImages => "updraft.v1.Images.LoadImages",
            Work::RotateKey => "updraft.v1.Keys.RotateKey",
            Work::Rerun => "updraft.v1.Executions.RerunExecution",
        };
        Audited::new("updraft", method, self.access)
    }

    async fn answer<B: AnyBody>(
        &self,
        api: &Api,
        (caller, headers): (&Principal, &HeaderMap),
        parameters: &Parameters,
        body: B,
    ) -> Result<Answer, Error> {
        let deps = api.deps();
        let Needs(permission) = self.access else {
            return match (self.work, &deps.authority) {
                (Work::Authority, Some(pem)) => Ok(Answer::Whole(text(StatusCode::OK, PEM, pem.to_string()))),
                (Work::Authority, None) => Err(Error::new(ErrorKind::NotFound, NO_AUTHORITY)),
                _ => Ok(Answer::Json(json!(deps.info))),
            };
        };
        let permit = match self.on {
            On::Server => deps.control.authorise_server(caller, permission).await?,
            On::DefaultProject => {
                deps.control.authorise_project(caller, permission, &deps.info.default_project).await?.1
            }
            On::Service => {
                let service = logs::service(deps, parameters)?;
                deps.control.authorise_service(caller, permission, &service).await?
            }
        };
        Ok(match self.work {
            Work::Metrics => Answer::Whole(metrics(deps.metrics.open(&permit).clone()).await),
            Work::Logs => {
                let who = || deps.auth.authenticated(caller, headers);
                Answer::Whole(logs::read(deps, (who, permission, &permit), parameters).await?)
            }
            Work::Backup => Answer::Whole(backup::take(deps, caller.clone(), parameters).await?),
            Work::Diagnosis => Answer::Json(diagnosis::read(deps, caller, parameters).await?),
            Work::ListImages => Answer::Json(images::list(deps, &permit).await?),
            Work::DeleteImage => Answer::Json(images::delete(deps, &permit, parameters).await?),
            Work::LoadImages => Answer::Json(images::load(api, &permit, parameters, body).await?),
            Work::RotateKey => {
                let Rotated { key, resealed, values } = deps.control.secrets_rotate_key(caller).await?;
                Answer::Json(json!({"key": key, "resealed": resealed, "values": values}))
            }
            Work::Rerun => {
                let (job, execution) = (logs::service(deps, parameters)?, parameters.need("execution")?);
                let name = format!("{job}/executions/{execution}");
                let operation = deps.control.executions_rerun(caller, &name).await?;
                Answer::Json(to_json(&operation, EnumEncoding::Names)?)
            }
            // These two are free.
            Work::Info | Work::Authority => Answer::Json(json!(deps.info)),
        })
    }
}

/// Where many revisions are asked for these are tens of megabytes, for whose making no request is to wait.
async fn metrics(metrics: Arc<Metrics>) -> Response<BoxBody> {
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(encoded) => text(StatusCode::OK, HeaderValue::from_static(CONTENT_TYPE), encoded),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("the metrics cannot be told: {error}\n")),
    }
}

/// Does the control plane answer, its store included?
async fn ready(api: &Api) -> Result<(), Error> {
    let deps = api.deps();
    let name = format!("projects/{}", deps.info.default_project);
    let request = ListLocationsRequest { name, ..ListLocationsRequest::default() };
    deps.control.locations_list(&Principal::System("apiserver"), request).await.map(drop)
}

// === impl Parameters ===

impl Parameters {
    fn of(query: &str) -> Result<(Format, Self), Error> {
        let format = Format::of(query)?;
        Ok((format, Self(query_pairs(query).collect())))
    }

    /// The value of a parameter; an empty one counts as not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// The value of a parameter that must be given.
    ///
    /// # Errors
    /// `InvalidArgument` that names it.
    pub(crate) fn need(&self, name: &'static str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| Error::invalid_field(name, "must be given in the query"))
    }

    /// The value of a parameter as whatever it stands for.
    ///
    /// # Errors
    /// `InvalidArgument` that names it.
    pub(crate) fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Error> {
        let refused = |value: &str| Error::invalid_field(name, format!("has no such value, got '{value}'"));
        self.get(name).map(|value| value.parse().map_err(|_| refused(value))).transpose()
    }
}

/// Forbids caches to keep an answer.
pub(crate) fn uncached(mut answer: Response<BoxBody>) -> Response<BoxBody> {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_when_they_are_missing_or_wrong() {
        let (_, parameters) = Parameters::of("limit=many&service=&name=a%2Fb").expect("readable");
        assert_eq!(parameters.get("name"), Some("a/b"));
        assert_eq!(parameters.need("service").expect_err("empty").violations()[0].field, "service");
        assert_eq!(parameters.parse::<usize>("limit").expect_err("no number").violations()[0].field, "limit");
        assert_eq!(parameters.parse::<usize>("absent").expect("not given"), None);
    }

    #[test]
    fn every_call_of_ours_needs_a_permission_of_the_catalogue_or_tells_nothing_of_anybody() {
        for call in &OWN_CALLS {
            match call.access {
                Needs(permission) => assert!(updraft_model::iam::known_permission(permission).is_some()),
                Free => assert!(matches!(call.work, Work::Info | Work::Authority)),
            }
            assert!(is_own(call.path), "{}", call.path);
        }
    }

    #[test]
    fn paths_of_ours_do_not_collide_with_the_api() {
        assert!(is_own("/updraft/v1/info") && is_own("/metrics"));
        assert!(!is_own("/v2/projects/p/locations/l/services") && !is_own("/updraft/v2/info"));
    }
}
