//! The calls around a deploy: JSON in, JSON out, one handler per row of their table.

mod credentials;
mod handlers;
mod keys;
mod logging;
mod roles;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use updraft_api::{
    Named,
    around::{self, Fields, Route},
    json::{EnumEncoding, from_json, parse, to_json},
    path::query_pairs,
};
use updraft_identity::Purpose;
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{
    Api,
    body::Allowance,
    call::AnyBody,
    respond::BoxBody,
    rest::{Format, check_form, verb},
};

/// A call on its way to its handler.
#[derive(Debug)]
pub(crate) struct Asked {
    fields: Fields,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// What its caller's token has to be good for.
pub(crate) fn purpose<B>(request: &Request<B>) -> Purpose {
    match around::route(&verb(request.method(), request.headers()), request.uri().path()) {
        Route::Found(call, _) if call.api == around::Api::IamCredentials => Purpose::Impersonation,
        _ => Purpose::Platform,
    }
}

/// Answers a call of one of these APIs; gives back what is none.
pub(crate) async fn serve<B: AnyBody>(
    api: &Api,
    caller: &Principal,
    request: Request<B>,
) -> Result<Response<BoxBody>, Request<B>> {
    let path = request.uri().path();
    let (call, fields) = match around::route(&verb(request.method(), request.headers()), path) {
        Route::Elsewhere => return Err(request),
        Route::Found(call, fields) => (call, fields),
        Route::WrongVerb(verbs) => return Ok(Format::default().wrong_verb(request.method(), path, &verbs)),
        Route::Unknown(_) => return Ok(Format::default().unknown(path)),
        Route::NotBuilt(name) => {
            let message = format!("{name}.googleapis.com is not part of this server.");
            return Ok(Format::default().error(&Error::new(ErrorKind::Unimplemented, message)));
        }
    };
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let format = match Format::of(query) {
        Ok(format) => format.of_domain(call.api.domain()),
        Err(error) => return Ok(Format::default().error(&error)),
    };
    if let Err(error) = api.buckets().admit(caller, call.access, &fields.resource()) {
        return Ok(format.error(&error));
    }
    if !body.is_end_stream()
        && let Err(error) = check_form(&parts.headers)
    {
        return Ok(format.error_with(&error, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    // Kept to the end: what it holds of the memory for bodies is not free before.
    let mut bounded = api.bound(body, Allowance::REQUEST);
    let body = match bounded.read().await {
        Ok(body) => body,
        Err(refusal) => return Ok(format.error_with(&refusal.to_error(), refusal.http_code())),
    };
    let asked = Asked { fields, query: query_pairs(query).collect(), body };
    Ok(format.json_or_error(handlers::serve(api.deps(), caller, call, &asked).await))
}

// === impl Asked ===

impl Asked {
    /// A field of the path.
    fn field(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    /// A parameter of the query.
    fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// A number in the query; 0 when it is not there.
    fn number(&self, name: &str) -> Result<usize, Error> {
        match self.parameter(name) {
            "" => Ok(0),
            text => text
                .parse()
                .map_err(|_| Error::invalid_field(name, format!("must be a number of at least 0, got '{text}'"))),
        }
    }

    /// The body; an empty one is an empty object.
    ///
    /// # Errors
    /// `InvalidArgument`, in Google's words, for what does not fit.
    fn body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let refused = |cause: String| {
            let message = format!("Invalid JSON payload received. {cause}");
            Error::new(ErrorKind::InvalidArgument, message)
        };
        let text = if self.body.trim_ascii().is_empty() { b"{}" } else { &self.body[..] };
        serde_json::from_slice(text).map_err(|error| refused(error.to_string()))
    }

    /// The body as a message, with `field` set to the resource.
    fn message<M: Named>(&self, set: impl FnOnce(&mut M)) -> Result<M, Error> {
        let body = match self.body.trim_ascii() {
            b"" => Value::Object(serde_json::Map::new()),
            text => parse(text)?,
        };
        let mut message: M = from_json(&body, "")?;
        set(&mut message);
        Ok(message)
    }
}

/// An empty body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn json<M: Named>(message: &M) -> Result<Value, Error> {
    to_json(message, EnumEncoding::Names)
}
