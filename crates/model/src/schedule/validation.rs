//! The rules of scheduled jobs, each with its field and the value that broke it. Bodies and values of headers are not told.

use std::{collections::BTreeSet, time::Duration};

use super::{Endpoint, HttpTarget, Retry, ScheduledJob};
use crate::error::Violation;

/// The longest description, in characters.
pub const DESCRIPTION_MAX: usize = 500;
/// The longest URI, in characters.
pub const URI_MAX: usize = 2083;
/// All headers together have fewer bytes than this.
pub const HEADERS_BYTES_MAX: usize = 80 << 10;
/// The largest job, in bytes on the wire, body and all.
pub const JOB_BYTES_MAX: usize = 1 << 20;
/// The shortest deadline of an attempt.
pub const DEADLINE_MIN: Duration = Duration::from_secs(15);
/// The longest.
pub const DEADLINE_MAX: Duration = Duration::from_secs(30 * 60);
/// The most attempts after the first.
pub const RETRIES_MAX: u32 = 5;

/// Checks a job at `job`, but for its schedule and zone, which are the plan's to read.
pub fn check(job: &ScheduledJob) -> Vec<Violation> {
    let mut found = Vec::new();
    let length = job.description.chars().count();
    if length > DESCRIPTION_MAX {
        let rule = format!("must have at most {DESCRIPTION_MAX} characters, got {length}");
        found.push(Violation::new("job.description", rule));
    }
    check_target(&job.target, &mut found);
    check_retry(&job.retry, &mut found);
    if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&job.deadline) {
        let (min, max) = (DEADLINE_MIN.as_secs(), DEADLINE_MAX.as_secs());
        let rule = format!("must be between {min}s and {max}s, got {}s", job.deadline.as_secs_f64());
        found.push(Violation::new("job.attempt_deadline", rule));
    }
    found
}

/// Is this a header that deliveries write themselves, whatever the job says? Source: `HttpTarget.headers`; those of a
/// connection are no request's (RFC 9110, 7.6.1).
pub fn is_replaced_header(name: &str) -> bool {
    const OURS: &[&str] = &[
        "host",
        "content-length",
        "user-agent",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    ];
    let name = name.to_ascii_lowercase();
    OURS.contains(&name.as_str())
        || ["x-google-", "x-appengine-", "x-cloudscheduler"].iter().any(|prefix| name.starts_with(prefix))
}

fn check_target(target: &HttpTarget, found: &mut Vec<Violation>) {
    const URI: &str = "job.http_target.uri";
    let length = target.uri.chars().count();
    if length > URI_MAX {
        found.push(Violation::new(URI, format!("must have at most {URI_MAX} characters, got {length}")));
    } else if let Err(rule) = Endpoint::of(&target.uri) {
        found.push(Violation::new(URI, format!("{rule}, got '{}'", target.uri)));
    }
    if !target.body.is_empty() && !target.method.has_body() {
        let rule = format!("must be empty unless http_method is POST, PUT or PATCH; it is {}", target.method.as_str());
        found.push(Violation::new("job.http_target.body", rule));
    }
    let bytes: usize = target.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes >= HEADERS_BYTES_MAX {
        let rule = format!("must have less than {HEADERS_BYTES_MAX} bytes together, got {bytes}");
        found.push(Violation::new("job.http_target.headers", rule));
    }
    let mut names = BTreeSet::new();
    for (name, value) in &target.headers {
        let at = || format!("job.http_target.headers[{name}]");
        if name.is_empty() || !name.bytes().all(is_token) {
            found.push(Violation::new(at(), format!("the name must be a token of HTTP, got '{name}'")));
        }
        if !names.insert(name.to_ascii_lowercase()) {
            found.push(Violation::new(at(), format!("a header must be there once, got '{name}' again")));
        }
        if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            found.push(Violation::new(at(), "the value must have no control characters"));
        }
    }
    if let Some(authorization) = &target.authorization
        && !is_address(authorization.account())
    {
        let rule = format!("must be the address of a service account, got '{}'", authorization.account());
        let field = match authorization {
            super::Authorization::Oidc { .. } => "job.http_target.oidc_token.service_account_email",
            super::Authorization::OAuth { .. } => "job.http_target.oauth_token.service_account_email",
        };
        found.push(Violation::new(field, rule));
    }
}

fn check_retry(retry: &Retry, found: &mut Vec<Violation>) {
    if retry.count > RETRIES_MAX {
        let rule = format!("must be between 0 and {RETRIES_MAX}, got {}", retry.count);
        found.push(Violation::new("job.retry_config.retry_count", rule));
    }
    if retry.min_backoff > retry.max_backoff {
        let (min, max) = (retry.min_backoff, retry.max_backoff);
        let rule = format!("must not be longer than max_backoff_duration ({max:?}), got {min:?}");
        found.push(Violation::new("job.retry_config.min_backoff_duration", rule));
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && domain.contains('.') && text.bytes().all(|byte| is_token(byte) || byte == b'@')
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Authorization, HttpMethod},
        *,
    };

    fn job() -> ScheduledJob {
        ScheduledJob {
            description: String::new(),
            schedule: "* * * * *".to_owned(),
            zone: "UTC".to_owned(),
            target: HttpTarget {
                uri: "https://example.com/".to_owned(),
                method: HttpMethod::Post,
                headers: BTreeMap::new(),
                body: b"hi".to_vec(),
                authorization: None,
            },
            retry: Retry::default(),
            deadline: Duration::from_secs(180),
        }
    }

    fn broken(change: impl FnOnce(&mut ScheduledJob)) -> Vec<String> {
        let mut job = job();
        change(&mut job);
        check(&job).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn each_rule_names_its_field_and_the_value() {
        assert_eq!(broken(|_| ()), Vec::<String>::new());
        let one = |change: &dyn Fn(&mut ScheduledJob), expected: &str| assert_eq!(broken(change), [expected]);
        one(&|job| job.description = "é".repeat(501), "job.description: must have at most 500 characters, got 501");
        one(
            &|job| job.target.uri = "ftp://a".to_owned(),
            "job.http_target.uri: must begin with http:// or https://, got 'ftp://a'",
        );
        one(
            &|job| job.target.uri = format!("http://a/{}", "a".repeat(2075)),
            "job.http_target.uri: must have at most 2083 characters, got 2084",
        );
        one(
            &|job| job.target.method = HttpMethod::Get,
            "job.http_target.body: must be empty unless http_method is POST, PUT or PATCH; it is GET",
        );
        one(
            &|job| job.deadline = Duration::from_secs(14),
            "job.attempt_deadline: must be between 15s and 1800s, got 14s",
        );
        one(&|job| job.retry.count = 6, "job.retry_config.retry_count: must be between 0 and 5, got 6");
        one(
            &|job| job.retry.max_backoff = Duration::from_secs(4),
            "job.retry_config.min_backoff_duration: must not be longer than max_backoff_duration (4s), got 5s",
        );
        one(
            &|job| {
                let account = "me".to_owned();
                job.target.authorization = Some(Authorization::Oidc { account, audience: String::new() });
            },
            "job.http_target.oidc_token.service_account_email: must be the address of a service account, got 'me'",
        );
    }

    #[test]
    fn headers_have_rules_and_their_values_are_not_told() {
        let with =
            |name: &str, value: &str| broken(|job| drop(job.target.headers.insert(name.to_owned(), value.to_owned())));
        assert_eq!(with("X-Token", "secret, with commas"), Vec::<String>::new());
        for (name, value) in
            [("", "x"), ("a b", "x"), ("a:", "x"), ("é", "x"), ("X-A", "secret\r\nX-B: c"), ("X-A", "\0")]
        {
            let found = with(name, value);
            assert_eq!(found.len(), 1, "{name:?}");
            assert!(!found[0].contains("secret"), "{found:?}");
        }
        assert_eq!(with("X-A", &"a".repeat(HEADERS_BYTES_MAX)).len(), 1);
        let twice = broken(|job| {
            job.target.headers = ["x-a", "X-A"].map(|name| (name.to_owned(), "x".to_owned())).into();
        });
        assert_eq!(twice, ["job.http_target.headers[x-a]: a header must be there once, got 'x-a' again"]);
    }

    #[test]
    fn what_deliveries_write_themselves_is_known() {
        for name in [
            "Host",
            "content-LENGTH",
            "User-Agent",
            "X-Google-Foo",
            "x-appengine-x",
            "X-CloudScheduler",
            "X-CloudScheduler-JobName",
            "TE",
        ] {
            assert!(is_replaced_header(name), "{name}");
        }
        for name in ["Content-Type", "Authorization", "X-Cloud", "Accept"] {
            assert!(!is_replaced_header(name), "{name}");
        }
    }
}
