//! Kubernetes' `Status`: what a deletion answers, and what an error also says to clients that read that.

use http::StatusCode;
use serde_json::{Value, json};
use updraft_model::{Error, ErrorKind};

/// What a thing is that a `Status` is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its group, such as `serving.knative.dev`.
    pub group: &'a str,
    /// Its kind, such as `services`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// It is done.
pub fn success(subject: Subject<'_>) -> Value {
    let Subject { group, kind, name, uid } = subject;
    json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Success",
        "details": {"group": group, "kind": kind, "name": name, "uid": uid},
    })
}

/// Adds to the body of an error what makes it a `Status` as well.
pub fn add_failure(body: &mut Value, (error, code): (&Error, StatusCode)) {
    let causes: Vec<Value> = error
        .violations()
        .iter()
        .map(|violation| json!({"field": violation.field, "message": violation.rule, "reason": "FieldValueInvalid"}))
        .collect();
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": error.message(),
        "reason": reason(error.kind()),
        "code": code.as_u16(),
        "details": {"causes": causes},
    });
    if let (Value::Object(body), Value::Object(status)) = (body, status) {
        body.extend(status);
    }
}

/// Kubernetes' word. Source: `StatusReason` of its API.
fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "Invalid",
        ErrorKind::FailedPrecondition => "BadRequest",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::AlreadyExists => "AlreadyExists",
        ErrorKind::Aborted => "Conflict",
        ErrorKind::PermissionDenied => "Forbidden",
        ErrorKind::Unauthenticated => "Unauthorized",
        ErrorKind::ResourceExhausted => "TooManyRequests",
        ErrorKind::Unimplemented => "MethodNotAllowed",
        ErrorKind::Unavailable => "ServiceUnavailable",
        ErrorKind::DeadlineExceeded => "Timeout",
        ErrorKind::Internal => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_both_googles_and_kubernetes() {
        let error = Error::invalid_field("spec.traffic", "must add up");
        let mut body = crate::status::error_body(&error, crate::json::EnumEncoding::Names);
        add_failure(&mut body, (&error, StatusCode::UNPROCESSABLE_ENTITY));
        assert_eq!(body["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!((body["status"].as_str(), body["reason"].as_str()), (Some("Failure"), Some("Invalid")));
        assert_eq!(body["code"], 422);
        assert_eq!(body["details"]["causes"][0]["field"], "spec.traffic");
    }
}
