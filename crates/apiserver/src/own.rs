//! Paths of our own: about the server, its logs, its images; probes and metrics.

use std::sync::Arc;

use http::{HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use serde_json::json;
use updraft_api::{location::ListLocationsRequest, path::query_pairs};
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_telemetry::{CONTENT_TYPE, Metrics};

use crate::{
    Api, backup,
    call::AnyBody,
    diagnosis, images, logs,
    respond::{BoxBody, text},
    rest::Format,
};

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
    let deps = api.deps();
    match (&parts.method, path.strip_prefix(PREFIX).unwrap_or(path)) {
        (&Verb::GET, METRICS) => metrics(deps.metrics.clone()).await,
        (&Verb::GET, "info") => format.body(StatusCode::OK, &json!(deps.info)),
        (&Verb::GET, "ca") => match &deps.authority {
            Some(pem) => text(StatusCode::OK, PEM, pem.to_string()),
            None => format.error(&Error::new(ErrorKind::NotFound, NO_AUTHORITY)),
        },
        (&Verb::GET, "logs") => format.or_error(logs::read(deps, &parameters).await),
        (&Verb::GET, "backup") => format.or_error(backup::take(deps, caller, &parameters).await),
        (&Verb::GET, "diagnosis") => format.json_or_error(diagnosis::read(deps, &caller, &parameters).await),
        (&Verb::GET, "images") => format.json_or_error(images::list(deps).await),
        (&Verb::DELETE, "images") => format.json_or_error(images::delete(deps, &parameters).await),
        (&Verb::POST, "images:load") => format.json_or_error(images::load(api, &parameters, body).await),
        (verb, METRICS | "info" | "ca" | "logs" | "backup" | "diagnosis") => {
            format.wrong_verb(verb, path, &[Verb::GET])
        }
        (verb, "images") => format.wrong_verb(verb, path, &[Verb::GET, Verb::DELETE]),
        (verb, "images:load") => format.wrong_verb(verb, path, &[Verb::POST]),
        _ => format.unknown(path),
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
    fn paths_of_ours_do_not_collide_with_the_api() {
        assert!(is_own("/updraft/v1/info") && is_own("/metrics"));
        assert!(!is_own("/v2/projects/p/locations/l/services") && !is_own("/updraft/v2/info"));
    }
}
