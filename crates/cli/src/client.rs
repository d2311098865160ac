//! The API over HTTP.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use reqwest::{Body, RequestBuilder, Response, Url};
use serde_json::Value;
use updraft_api::{Named, json, longrunning::Operation, run, unpack};
use updraft_base::Clock;

use crate::{
    args::Globals,
    error::{CliError, Exit},
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server is asked to hold an answer until an operation ends. Short, because the stages
/// of the operation are seen only in between.
const WAIT: &str = "0.3s";
/// The pause between two looks at an operation, for servers that do not hold their answer.
const PAUSE: Duration = Duration::from_millis(50);
/// Resources in one page of a list.
const PAGE: &str = "100";

/// A server, and the project and region that is spoken of.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<String>,
    /// Where the token came from, if it came from a file.
    token_file: Option<PathBuf>,
    pub(crate) project: String,
    pub(crate) region: String,
    clock: Clock,
}

/// What a request asks for beside its path.
#[derive(Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) body: Option<Value>,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(globals: &Globals, clock: Clock) -> Result<Self, CliError> {
        let endpoint = endpoint(&globals.endpoint)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&endpoint) {
            // A proxy in the environment would look for the server on its own machine.
            builder = builder.no_proxy();
        }
        if let Some(path) = &globals.ca_file {
            let unfit = |cause: String| CliError::usage(format!("cannot use {}: {cause}", path.display()));
            let pem = std::fs::read(path).map_err(|error| unfit(error.to_string()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unfit(causes(&error)))?;
            builder = builder.tls_certs_merge(authorities);
        } else if endpoint.scheme() != "https" {
            // A machine without any certificate, as a plain container is, can do without.
            builder = builder.tls_certs_only([]);
        }
        let http =
            builder.build().map_err(|error| CliError::failed(format!("cannot set up HTTP: {}", causes(&error))))?;
        let token = match (&globals.token, &globals.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))?
                    .trim()
                    .to_owned(),
            ),
            (None, None) => None,
        };
        let (project, region) = (globals.project.clone(), globals.region.clone());
        let token_file = globals.token_file.clone().filter(|_| globals.token.is_none());
        Ok(Self { http, endpoint, token, token_file, project, region, clock })
    }

    /// The URL that other clients are to take, with a slash at the end, and whether it is over TLS: the server's TLS
    /// port at the host that it is reached by here, if it has one. `tls` is the address it listens on.
    pub(crate) fn base(&self, tls: Option<&str>) -> (String, bool) {
        let mut url = self.endpoint.clone();
        let port = tls.and_then(|address| address.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        if let (Some(port), "http") = (port, url.scheme()) {
            // Of `http` and `https`, and a URL with a host, neither refuses.
            let _ = url.set_scheme("https");
            let _ = url.set_port(Some(port));
        }
        let mut base = url.to_string();
        if !base.ends_with('/') {
            base.push('/');
        }
        (base, url.scheme() == "https")
    }

    /// The endpoint, in the one form by which it is told from others.
    pub(crate) fn name(&self) -> String {
        self.endpoint.to_string()
    }

    /// The token that is shown to the server, and the file it came from.
    pub(crate) fn secret(&self) -> Option<(&str, Option<&Path>)> {
        self.token.as_deref().map(|token| (token, self.token_file.as_deref()))
    }

    /// `/v2/projects/P/locations/L/…`.
    pub(crate) fn path<'s>(&'s self, rest: &[&'s str]) -> Vec<&'s str> {
        [&["v2", "projects", &self.project, "locations", &self.region], rest].concat()
    }

    /// `/v1/projects/P/locations/L/…`, where resources are v1 objects.
    pub(crate) fn object_path<'s>(&'s self, rest: &[&'s str]) -> Vec<&'s str> {
        [&["v1", "projects", &self.project, "locations", &self.region], rest].concat()
    }

    /// The clock by which it waits.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends a request and reads its answer as JSON.
    pub(crate) async fn call(&self, method: Method, path: &[&str], ask: Ask<'_>) -> Result<Value, CliError> {
        let mut request = self.request(method, path, &ask.query)?;
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let text = self.send(request).await?.text().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(CliError::unexpected)
    }

    /// The same, for an answer that is a message.
    pub(crate) async fn message<M: Named>(&self, method: Method, path: &[&str], ask: Ask<'_>) -> Result<M, CliError> {
        decode(&self.call(method, path, ask).await?)
    }

    /// A request with a body that is streamed.
    pub(crate) async fn upload(&self, path: &[&str], query: &[(&str, &str)], body: Body) -> Result<Value, CliError> {
        let request = self.request(Method::POST, path, query)?.header("content-type", "application/x-tar").body(body);
        let text = self.send(request).await?.text().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(CliError::unexpected)
    }

    /// Sends a form to an endpoint of OAuth and reads its answer as JSON.
    pub(crate) async fn form(&self, path: &[&str], fields: &[(&str, &str)]) -> Result<Value, CliError> {
        let mut body = Url::parse("form:").map_err(CliError::unexpected)?;
        body.query_pairs_mut().extend_pairs(fields);
        let request = self.request(Method::POST, path, &[])?;
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned());
        let text = self.send(request).await?.text().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(CliError::unexpected)
    }

    /// An answer that is read bit by bit.
    pub(crate) async fn stream(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Response, CliError> {
        self.send(self.request(Method::GET, path, query)?).await
    }

    /// All pages of a list: `next` takes what a page holds and gives the token of the next one, or none when it has seen
    /// enough.
    pub(crate) async fn pages<M: Named>(
        &self,
        path: &[&str],
        mut next: impl FnMut(M) -> String,
    ) -> Result<(), CliError> {
        let mut token = String::new();
        loop {
            let query = vec![("pageSize", PAGE), ("pageToken", token.as_str())];
            let query = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            token = next(self.message(Method::GET, path, Ask { query, body: None }).await?);
            if token.is_empty() {
                return Ok(());
            }
        }
    }

    /// What is at a path below project and region, or nothing when there is nothing.
    pub(crate) async fn find<M: Named>(&self, path: &[&str]) -> Result<Option<M>, CliError> {
        match self.message(Method::GET, &self.path(path), Ask::default()).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is("NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A service, or nothing when there is none.
    pub(crate) async fn service(&self, id: &str) -> Result<Option<run::Service>, CliError> {
        self.find(&["services", id]).await
    }

    /// Looks at an operation again: when it ends, or a moment later.
    pub(crate) async fn wait(&self, operation: &Operation) -> Result<Operation, CliError> {
        let id = operation.name.rsplit('/').next().unwrap_or_default();
        let body = Some(serde_json::json!({ "timeout": WAIT }));
        let path = format!("{id}:wait");
        let after: Operation =
            self.message(Method::POST, &self.path(&["operations", &path]), Ask { query: Vec::new(), body }).await?;
        if !after.done {
            self.clock.sleep(PAUSE).await;
        }
        Ok(after)
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<RequestBuilder, CliError> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| CliError::usage(format!("the endpoint {} cannot have a path", self.endpoint)))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        Err(refusal(status, &text))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        let refused =
            CliError::new(Exit::Unreachable, format!("cannot reach the server at {endpoint}: {}", root(error)));
        if error.is_connect() {
            refused.with_hint("start one with 'updraft serve', or name another with --endpoint or UPDRAFT_ENDPOINT")
        } else {
            refused
        }
    }
}

/// The endpoint as a URL; `host:port` means plain HTTP.
fn endpoint(text: &str) -> Result<Url, CliError> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(CliError::usage(format!("the endpoint '{text}' is not a URL"))
            .with_hint("write it like http://127.0.0.1:8080")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let by_name = host == "localhost" || host.ends_with(".localhost");
    by_name || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What the server says when it refuses: `google.rpc.Status`, or whatever else answers there.
pub(crate) fn refusal(code: reqwest::StatusCode, text: &str) -> CliError {
    let exit = match code.as_u16() {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        _ => Exit::Failed,
    };
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let error = &body["error"];
    // The form of OAuth (RFC 6749, section 5.2).
    if let (Some(word), Some(description)) = (error.as_str(), body["error_description"].as_str()) {
        let exit = if word.starts_with("invalid_request") { Exit::Failed } else { Exit::Denied };
        return CliError::new(exit, format!("{word}: {description}"));
    }
    let Some(message) = error["message"].as_str() else {
        return CliError::new(Exit::Failed, format!("the server answered {code}, and not as the API does"))
            .with_hint("is the endpoint an Updraft server?");
    };
    let violations =
        error["details"].as_array().into_iter().flatten().filter_map(|detail| detail["fieldViolations"].as_array());
    let notes = violations.flatten().filter_map(|violation| {
        let description = violation["description"].as_str()?;
        // What the message says already need not be said again.
        let field = violation["field"].as_str().unwrap_or_default();
        let is_said = message.contains(field) && message.contains(description);
        (!is_said).then(|| format!("{field}: {description}"))
    });
    let refused = CliError::new(exit, message)
        .with_notes(notes.collect())
        .with_status(error["status"].as_str().unwrap_or_default());
    match code.as_u16() {
        401 => {
            refused.with_hint("pass the server's token with UPDRAFT_TOKEN or --token-file, or run 'updraft auth login'")
        }
        // The place itself, not something in it.
        404 if message.rsplit_once("/locations/").is_some_and(|(_, rest)| !rest.contains('/')) => {
            refused.with_hint("--region must be one that the server serves: see 'serve --region'")
        }
        _ => refused,
    }
}

pub(crate) fn encode<M: Named>(message: &M) -> Result<Value, CliError> {
    json::to_json(message, json::EnumEncoding::Names).map_err(|error| CliError::failed(error.to_string()))
}

pub(crate) fn decode<M: Named>(value: &Value) -> Result<M, CliError> {
    json::from_json(value, "").map_err(CliError::unexpected)
}

/// The resource that an operation is about, as it is now.
pub(crate) fn subject<M: Named>(operation: &Operation) -> Option<M> {
    use updraft_api::longrunning::operation::Result as Outcome;
    match &operation.result {
        Some(Outcome::Response(response)) => unpack(response),
        Some(Outcome::Error(_)) | None => operation.metadata.as_ref().and_then(unpack),
    }
}

/// The innermost cause: what the system said.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn causes(error: &reqwest::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_or_a_host_and_port() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("https://run.example.com/run/", Some("https://run.example.com/run/")),
            ("localhost:8080", Some("http://localhost:8080/")),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("unix:///run/x", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(endpoint(text).ok().as_ref().map(Url::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn other_clients_are_sent_to_the_tls_port_of_the_same_host() {
        let base = |endpoint_text: &str, tls: Option<&str>| {
            let globals = Globals {
                project: String::new(),
                region: String::new(),
                endpoint: endpoint_text.to_owned(),
                token: None,
                token_file: None,
                ca_file: None,
                format: None,
                quiet: false,
            };
            Client::new(&globals, Clock::system()).unwrap().base(tls)
        };
        for (endpoint, tls, expected) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8443"), ("https://127.0.0.1:8443/", true)),
            ("http://run.example.com/updraft", Some("0.0.0.0:443"), ("https://run.example.com/updraft/", true)),
            ("http://[::1]:8080", Some("[::1]:9"), ("https://[::1]:9/", true)),
            ("https://127.0.0.1:8443", Some("127.0.0.1:8443"), ("https://127.0.0.1:8443/", true)),
            ("http://127.0.0.1:8080", None, ("http://127.0.0.1:8080/", false)),
        ] {
            assert_eq!(base(endpoint, tls), (expected.0.to_owned(), expected.1), "{endpoint} {tls:?}");
        }
    }

    #[test]
    fn only_loopback_goes_round_the_proxy() {
        for (text, expected) in [
            ("http://127.1.2.3", true),
            ("http://[::1]:80", true),
            ("http://a.localhost", true),
            ("http://a.com", false),
        ] {
            assert_eq!(is_loopback(&endpoint(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn broken_rules_that_the_message_leaves_out_are_listed() {
        let body = serde_json::json!({ "error": {
            "code": 400, "status": "INVALID_ARGUMENT", "message": "a: wrong (and 1 more)",
            "details": [{ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
                { "field": "a", "description": "wrong" }, { "field": "b[x]", "description": "wrong" }
            ] }]
        } });
        let error = refusal(reqwest::StatusCode::BAD_REQUEST, &body.to_string());
        assert_eq!(error.to_string(), "error: a: wrong (and 1 more)\n  b[x]: wrong\n");
        assert!(error.is("INVALID_ARGUMENT"));
    }
}
