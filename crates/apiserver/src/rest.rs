//! The REST wire: paths, queries and JSON, as Google's clients send and read them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use updraft_api::{
    Named,
    json::{EnumEncoding, to_json},
    method::{self, Access, Product, Route, prefixed},
    path::query_pairs,
    status, v1,
};
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{
    Api,
    body::{Allowance, Bounded},
    call::{AnyBody, Call},
    methods,
    respond::{self, BoxBody, note},
};

/// Clients behind strict proxies put the verb here.
const OVERRIDE: &str = "x-http-method-override";

/// The form of an answer, as the query asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Format {
    enums: EnumEncoding,
    layout: Layout,
    /// Whose errors these are, if not Cloud Run's.
    domain: Option<&'static str>,
}

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Layout {
    /// For people; Google's default.
    #[default]
    Pretty,
    /// `prettyPrint=false`.
    Compact,
}

/// Answers a call by REST.
pub(crate) async fn serve<B: AnyBody>(api: &Api, caller: Principal, request: Request<B>) -> Response<BoxBody> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let format = match Format::of(query) {
        Ok(format) => format,
        Err(error) => return Format::default().error(&error),
    };
    let path = parts.uri.path();
    let meant = verb(&parts.method, &parts.headers);
    let (product, plain) = prefixed(path);
    let v1 = route_v1(product, &meant, plain);
    if let v1::method::Route::Found(found) = v1 {
        let (access, resource) = (found.access, found.parent());
        let call = crate::v1::Call { control: &api.deps().control, caller, found };
        let mut body = match admit(api, (&call.caller, access, &resource), (&parts.headers, body)) {
            Ok(body) => body,
            Err((error, code)) => return call.refuse((error, code), format),
        };
        return match body.read().await {
            Ok(bytes) => call.answer((query, &bytes), format).await,
            Err(refusal) => call.refuse((refusal.to_error(), refusal.http_code()), format),
        };
    }
    let format = product.map_or(format, |product| format.of_domain(product.domain()));
    let found = match method::route(product, &meant, plain) {
        Route::Found(found) => found,
        Route::WrongVerb(verbs) => return format.wrong_verb(&parts.method, path, &verbs),
        Route::Unknown => {
            return match v1 {
                v1::method::Route::WrongVerb(verbs) => format.wrong_verb(&parts.method, path, &verbs),
                _ => format.unknown(path),
            };
        }
    };
    let format = format.of_domain(found.method.product().domain());
    let mut body = match admit(api, (&caller, found.method.access, found.resource()), (&parts.headers, body)) {
        Ok(body) => body,
        Err((error, code)) => return format.error_with(&error, code),
    };
    let request = match body.read().await {
        Ok(bytes) => found.request(query, &bytes),
        Err(refusal) => return format.error_with(&refusal.to_error(), refusal.http_code()),
    };
    match request {
        Ok(request) => {
            let call: Call<B> = Call::Rest(request, format);
            methods::serve(api.deps().control.clone(), caller, found.method, call).await
        }
        Err(error) => format.error(&error),
    }
}

/// Where a path leads in version 1, which only Cloud Run has here.
pub(crate) fn route_v1(product: Option<Product>, verb: &Verb, path: &str) -> v1::method::Route {
    match product {
        Some(Product::SecretManager | Product::CloudScheduler) => v1::method::Route::Unknown,
        _ => v1::method::route(verb, path),
    }
}

/// What every call passes, of whichever version, before its body is read: its caller's rate, and the form and the
/// bounds of the body. The body is to be kept until the answer is there: what it holds of the memory for bodies is
/// not free before.
fn admit<B: AnyBody>(
    api: &Api,
    (caller, access, resource): (&Principal, Access, &str),
    (headers, body): (&HeaderMap, B),
) -> Result<Bounded<B>, (Error, StatusCode)> {
    api.buckets().admit(caller, access, resource).map_err(|error| {
        let code = status::http_code(error.kind());
        (error, code)
    })?;
    if !body.is_end_stream() {
        check_form(headers).map_err(|error| (error, StatusCode::UNSUPPORTED_MEDIA_TYPE))?;
    }
    Ok(api.bound(body, Allowance::REQUEST))
}

/// A body is JSON in UTF-8, as it is: no other type, no other characters, not compressed. No type at all is taken for
/// JSON.
///
/// # Errors
/// `InvalidArgument` that names the header.
pub(crate) fn check_form(headers: &HeaderMap) -> Result<(), Error> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let shown = String::from_utf8_lossy(encoding.as_bytes());
            return Err(Error::invalid_field("Content-Encoding", format!("must be absent or identity, got '{shown}'")));
        }
    }
    for kind in headers.get_all(header::CONTENT_TYPE) {
        let shown = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
        let mut parts = shown.split(';').map(str::trim);
        let is_json = parts.next().is_some_and(|essence| essence == "application/json" || essence.ends_with("+json"));
        let is_utf8 = |part: &str| part.strip_prefix("charset=").is_none_or(|set| set.trim_matches('"') == "utf-8");
        if !is_json || !parts.all(is_utf8) {
            let rule = format!("must be application/json in UTF-8, got '{shown}'");
            return Err(Error::invalid_field("Content-Type", rule));
        }
    }
    Ok(())
}

// === impl Format ===

impl Format {
    /// What a query asks for: `$alt=json;enum-encoding=int`, `alt=json`, `prettyPrint=false`.
    ///
    /// # Errors
    /// `InvalidArgument` for a form that is not built.
    pub(crate) fn of(query: &str) -> Result<Self, Error> {
        let mut format = Self::default();
        for (name, value) in query_pairs(query) {
            match name.strip_prefix('$').unwrap_or(&name) {
                "alt" => format.enums = enums(&value)?,
                "prettyPrint" | "pp" if matches!(value.as_str(), "false" | "0") => format.layout = Layout::Compact,
                _ => {}
            }
        }
        Ok(format)
    }

    /// The same for an API of another domain than Cloud Run's.
    pub(crate) fn of_domain(self, domain: &'static str) -> Self {
        Self { domain: Some(domain), ..self }
    }

    /// The answer to work that is done.
    pub(crate) fn answer<A: Named>(self, outcome: Result<A, Error>) -> Response<BoxBody> {
        match outcome.and_then(|answer| to_json(&answer, self.enums)) {
            Ok(body) => self.body(StatusCode::OK, &body),
            Err(error) => self.error(&error),
        }
    }

    /// Any JSON as an answer.
    pub(crate) fn body(self, status: StatusCode, body: &Value) -> Response<BoxBody> {
        let text = match self.layout {
            Layout::Pretty => format!("{body:#}\n"),
            Layout::Compact => body.to_string(),
        };
        respond::json(status, text.into_bytes())
    }

    /// Any JSON, or why there is none.
    pub(crate) fn json_or_error(self, outcome: Result<Value, Error>) -> Response<BoxBody> {
        self.or_error(outcome.map(|body| self.body(StatusCode::OK, &body)))
    }

    /// An answer, or why there is none.
    pub(crate) fn or_error(self, outcome: Result<Response<BoxBody>, Error>) -> Response<BoxBody> {
        outcome.unwrap_or_else(|error| self.error(&error))
    }

    /// An error as an answer.
    pub(crate) fn error(self, error: &Error) -> Response<BoxBody> {
        self.error_with(error, status::http_code(error.kind()))
    }

    /// An error whose HTTP code says more than its kind.
    pub(crate) fn error_with(self, error: &Error, code: StatusCode) -> Response<BoxBody> {
        self.refusal((error, code), |_| ())
    }

    /// An error as an answer whose body says more than Google's.
    pub(crate) fn refusal(
        self,
        (error, code): (&Error, StatusCode),
        add: impl FnOnce(&mut Value),
    ) -> Response<BoxBody> {
        note(error);
        let mut body = match self.domain {
            Some(domain) => status::error_body_of(domain, error, self.enums),
            None => status::error_body(error, self.enums),
        };
        body["error"]["code"] = json!(code.as_u16());
        add(&mut body);
        let mut answer = self.body(code, &body);
        if let Some(seconds) = status::retry_after(error) {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if code == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }

    /// No such path.
    pub(crate) fn unknown(self, path: &str) -> Response<BoxBody> {
        self.error(&Error::new(ErrorKind::NotFound, format!("The requested URL {path} was not found on this server.")))
    }

    /// The path is there, with other verbs.
    pub(crate) fn wrong_verb(self, verb: &Verb, path: &str, allowed: &[Verb]) -> Response<BoxBody> {
        let allowed = allowed.iter().map(Verb::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("{verb} is not allowed at {path}, only {allowed}");
        let error = Error::new(ErrorKind::Unimplemented, message);
        let mut answer = self.error_with(&error, StatusCode::METHOD_NOT_ALLOWED);
        if let Ok(allowed) = HeaderValue::from_str(&allowed) {
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
        answer
    }
}

fn enums(alt: &str) -> Result<EnumEncoding, Error> {
    let mut parts = alt.split(';').map(str::trim);
    let refused = || Error::invalid_field("alt", format!("only JSON is served, got '{alt}'"));
    if parts.next() != Some("json") {
        return Err(refused());
    }
    match parts.next() {
        None | Some("enum-encoding=name") => Ok(EnumEncoding::Names),
        Some("enum-encoding=int") => Ok(EnumEncoding::Numbers),
        Some(_) => Err(refused()),
    }
}

/// The verb that is meant. Only POST may mean another one.
pub(crate) fn verb<'a>(verb: &'a Verb, headers: &HeaderMap) -> Cow<'a, Verb> {
    let meant =
        headers.get(OVERRIDE).filter(|_| verb == Verb::POST).and_then(|value| Verb::try_from(value.as_bytes()).ok());
    meant.map_or(Cow::Borrowed(verb), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use updraft_api::run;

    use super::*;

    async fn text(answer: Response<BoxBody>) -> String {
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[test]
    fn the_query_chooses_the_form() {
        let format = Format::of("$alt=json%3Benum-encoding%3Dint&prettyPrint=false&x=1").expect("known");
        assert_eq!(format, Format { enums: EnumEncoding::Numbers, layout: Layout::Compact, domain: None });
        assert_eq!(Format::of("alt=json").expect("known"), Format::default());
        for alt in ["alt=proto", "alt=media", "$alt=json;enum-encoding=roman"] {
            assert!(Format::of(alt).is_err(), "{alt}");
        }
    }

    #[tokio::test]
    async fn enums_are_written_as_the_query_asks() {
        let service = run::Service { ingress: 2, ..run::Service::default() };
        let format = Format { enums: EnumEncoding::Numbers, layout: Layout::Compact, domain: None };
        assert_eq!(text(format.answer(Ok(service.clone()))).await, r#"{"ingress":2}"#);
        let pretty = text(Format::default().answer(Ok(service))).await;
        assert_eq!(pretty, "{\n  \"ingress\": \"INGRESS_TRAFFIC_INTERNAL_ONLY\"\n}\n");
    }

    #[test]
    fn only_post_may_stand_for_another_verb() {
        let headers = HeaderMap::from_iter([(OVERRIDE.parse().expect("a name"), HeaderValue::from_static("PATCH"))]);
        assert_eq!(*verb(&Verb::POST, &headers), Verb::PATCH);
        assert_eq!(*verb(&Verb::GET, &headers), Verb::GET);
        assert_eq!(*verb(&Verb::POST, &HeaderMap::new()), Verb::POST);
    }

    #[test]
    fn a_body_is_json_as_it_is() {
        let check = |name: header::HeaderName, value: &'static str| {
            check_form(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
        };
        for fine in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/x+json",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(check(header::CONTENT_TYPE, fine).is_ok(), "{fine}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "", "json"] {
            let error = check(header::CONTENT_TYPE, bad).expect_err(bad);
            assert_eq!(error.violations()[0].field, "Content-Type");
        }
        assert!(check(header::CONTENT_ENCODING, "identity").is_ok());
        assert!(check(header::CONTENT_ENCODING, "gzip").is_err());
        assert!(check_form(&HeaderMap::new()).is_ok());
    }

    #[tokio::test]
    async fn errors_are_googles() {
        let answer = Format::default().unknown("/nope");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert!(text(answer).await.contains("\"status\": \"NOT_FOUND\""));
        let answer = Format::default().wrong_verb(&Verb::PUT, "/v2/x", &[Verb::GET, Verb::DELETE]);
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()[header::ALLOW], "GET, DELETE");
        let late = Error::new(ErrorKind::ResourceExhausted, "slowly").retry_after(std::time::Duration::from_millis(1));
        assert_eq!(Format::default().error(&late).headers()[header::RETRY_AFTER], "1");
        let answer = Format::default().error(&Error::new(ErrorKind::Unauthenticated, "who?"));
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
