//! Errors on the wire: the only place that knows the codes of HTTP and gRPC.

use http::StatusCode;
use prost::Message;
use serde_json::{Value, json};
use updraft_model::{Error, ErrorKind};

use crate::{
    json::{EnumEncoding, to_json},
    pack,
    rpc::{BadRequest, Code, ErrorInfo, RetryInfo, Status, bad_request::FieldViolation},
    view::proto_duration,
};

/// The most bytes of `grpc-status-details-bin`, before base64: many clients take no more than 8 KiB of headers.
const GRPC_DETAILS_MAX: usize = 4 << 10;

/// Whose errors these are, for clients that ask: gcloud takes a 404 without it for a wrong region.
const DOMAIN: &str = "run.googleapis.com";

/// The status of an error: code, message, and as details what is wrong field by field and whose error it is.
pub fn to_status(error: &Error) -> Status {
    status_of(DOMAIN, error)
}

fn status_of(domain: &str, error: &Error) -> Status {
    let (code, _) = codes(error.kind());
    let info = ErrorInfo { reason: code.as_str_name().to_owned(), domain: domain.to_owned(), ..ErrorInfo::default() };
    let mut details = vec![pack(&info)];
    if !error.violations().is_empty() {
        let field_violations = error.violations().iter().map(|violation| FieldViolation {
            field: violation.field.clone(),
            description: violation.rule.clone(),
            ..FieldViolation::default()
        });
        details.insert(0, pack(&BadRequest { field_violations: field_violations.collect() }));
    }
    if let Some(delay) = error.retry_delay() {
        details.push(pack(&RetryInfo { retry_delay: Some(proto_duration(delay)) }));
    }
    Status { code: code.into(), message: error.message().to_owned(), details }
}

/// The code of the HTTP answer.
pub fn http_code(kind: ErrorKind) -> StatusCode {
    codes(kind).1
}

/// The number of the gRPC code.
pub fn grpc_code(kind: ErrorKind) -> i32 {
    codes(kind).0.into()
}

/// The content of the header `Retry-After`: whole seconds.
pub fn retry_after(error: &Error) -> Option<u64> {
    let delay = error.retry_delay()?;
    Some(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}

/// The content of `grpc-status-details-bin`. Of very many long violations only the first are told.
pub fn grpc_details(error: &Error) -> Vec<u8> {
    grpc_details_of(DOMAIN, error)
}

/// The same for an API of another domain.
pub fn grpc_details_of(domain: &str, error: &Error) -> Vec<u8> {
    let mut error = error.clone();
    loop {
        let details = status_of(domain, &error).encode_to_vec();
        let fewer = error.violations().len() / 2;
        if details.len() <= GRPC_DETAILS_MAX || fewer == 0 {
            return details;
        }
        error = error.with_violations(fewer);
    }
}

/// The body of the HTTP answer: `{"error": {"code": 404, "message": …, "status": "NOT_FOUND", "details": […]}}`.
pub fn error_body(error: &Error, enums: EnumEncoding) -> Value {
    error_body_of(DOMAIN, error, enums)
}

/// The same for an API of another domain, such as `logging.googleapis.com`.
pub fn error_body_of(domain: &str, error: &Error, enums: EnumEncoding) -> Value {
    let (code, http) = codes(error.kind());
    let status = status_of(domain, error);
    let details: Vec<Value> = to_json(&status, enums)
        .ok()
        .and_then(|mut status| status.get_mut("details").map(Value::take))
        .and_then(|details| details.as_array().cloned())
        .unwrap_or_default();
    json!({
        "error": {
            "code": http.as_u16(),
            "message": status.message,
            "status": code.as_str_name(),
            "details": details,
        }
    })
}

/// Source: the table in `google.rpc.Code`.
fn codes(kind: ErrorKind) -> (Code, StatusCode) {
    match kind {
        ErrorKind::InvalidArgument => (Code::InvalidArgument, StatusCode::BAD_REQUEST),
        ErrorKind::FailedPrecondition => (Code::FailedPrecondition, StatusCode::BAD_REQUEST),
        ErrorKind::NotFound => (Code::NotFound, StatusCode::NOT_FOUND),
        ErrorKind::AlreadyExists => (Code::AlreadyExists, StatusCode::CONFLICT),
        ErrorKind::Aborted => (Code::Aborted, StatusCode::CONFLICT),
        ErrorKind::PermissionDenied => (Code::PermissionDenied, StatusCode::FORBIDDEN),
        ErrorKind::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
        ErrorKind::ResourceExhausted => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
        ErrorKind::Unimplemented => (Code::Unimplemented, StatusCode::NOT_IMPLEMENTED),
        ErrorKind::Unavailable => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        ErrorKind::DeadlineExceeded => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT),
        ErrorKind::Internal => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use updraft_model::Violation;

    use super::*;

    #[test]
    fn a_body_names_code_status_and_every_broken_field() {
        let error = Error::invalid_field("service.template.containers[0].image", "must be set");
        let body = serde_json::to_string_pretty(&error_body(&error, EnumEncoding::Names)).expect("prints");
        expect_test::expect![[r#"
            {
              "error": {
                "code": 400,
                "message": "service.template.containers[0].image: must be set",
                "status": "INVALID_ARGUMENT",
                "details": [
                  {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                      {
                        "field": "service.template.containers[0].image",
                        "description": "must be set"
                      }
                    ]
                  },
                  {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "INVALID_ARGUMENT",
                    "domain": "run.googleapis.com"
                  }
                ]
              }
            }"#]]
        .assert_eq(&body);
    }

    #[test]
    fn when_to_try_again_is_told_by_either_wire() {
        let error = Error::new(ErrorKind::ResourceExhausted, "slowly").retry_after(Duration::from_millis(1500));
        assert_eq!(retry_after(&error), Some(2));
        let body = error_body(&error, EnumEncoding::Names);
        assert_eq!(body["error"]["details"][1]["retryDelay"], "1.500s");
        assert_eq!(body["error"]["details"][1]["@type"], "type.googleapis.com/google.rpc.RetryInfo");
        assert_eq!(retry_after(&Error::internal("x")), None);
    }

    #[test]
    fn details_fit_a_header() {
        let violations = (0..20).map(|n| Violation::new(format!("f[{n}]"), "x".repeat(400)));
        let details = grpc_details(&Error::invalid(violations.collect()));
        assert!(details.len() <= GRPC_DETAILS_MAX, "{}", details.len());
        let status = Status::decode(&details[..]).expect("a status");
        let request: BadRequest = crate::unpack(&status.details[0]).expect("violations");
        assert_eq!(request.field_violations[0].field, "f[0]");
    }

    #[test]
    fn what_only_the_log_may_see_stays_out() {
        let error = Error::internal("disk on fire");
        let body = error_body(&error, EnumEncoding::Names).to_string();
        assert!(!body.contains("fire"), "{body}");
        let details = grpc_details(&error);
        assert!(!String::from_utf8_lossy(&details).contains("fire"));
        assert_eq!(Status::decode(&details[..]).expect("a status").code, grpc_code(ErrorKind::Internal));
    }
}
