//! A job's request: which headers it has. Pure.
//!
//! Source: `HttpTarget.headers` of Cloud Scheduler's API.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use updraft_model::schedule::{HttpMethod, HttpTarget, ScheduledJobName};

/// The headers of a request for the time `due`.
///
/// # Errors
/// The header that cannot be sent, which nobody could write.
pub(super) fn headers(
    name: &ScheduledJobName,
    target: &HttpTarget,
    due: SystemTime,
    token: Option<&str>,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let unfit = || format!("the header '{name}' cannot be sent");
        let read = HeaderName::try_from(name).map_err(|_| unfit())?;
        headers.insert(read, HeaderValue::try_from(value).map_err(|_| unfit())?);
    }
    let due = Timestamp::try_from(due).unwrap_or(Timestamp::MAX);
    let ours = [
        (HeaderName::from_static("x-cloudscheduler"), "true".to_owned()),
        (HeaderName::from_static("x-cloudscheduler-jobname"), name.job.clone()),
        (HeaderName::from_static("x-cloudscheduler-scheduletime"), due.to_string()),
    ];
    for (name, value) in ours {
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| "a header cannot be sent".to_owned())?);
    }
    if let Some(token) = token {
        let shown = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "the token cannot be sent".to_owned());
        let mut shown = shown?;
        shown.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, shown);
    }
    Ok(headers)
}

pub(super) fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Options => Method::OPTIONS,
    }
}
