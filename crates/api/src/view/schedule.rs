//! Scheduled jobs: message ↔ model. Cloud Scheduler calls them jobs.

use std::time::Duration;

use scheduler::{
    HttpMethod as Method, HttpTarget as TargetMessage, Job, OAuthToken, OidcToken, RetryConfig,
    http_target::AuthorizationHeader, job,
};
use updraft_model::{
    Error,
    schedule::{Authorization, HttpMethod, HttpTarget, Retry, ScheduledJob, State, is_replaced_header},
};

use super::{Issues, proto_duration};
use crate::scheduler;

/// What every request is said to come from.
pub const USER_AGENT: &str = "Google-Cloud-Scheduler";
/// What an access token is good for when nothing else is said.
pub const SCOPE_DEFAULT: &str = "https://www.googleapis.com/auth/cloud-platform";
/// What a body is when nothing else is said.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";
/// The zone when none is named.
const ZONE_DEFAULT: &str = "Etc/UTC";
/// How long an attempt may take when nothing else is said.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(180);

/// Writes the defaults into a message and takes out what is not the client's to say: what is output only, and headers that
/// deliveries write themselves. This is what is stored.
pub fn write_defaults(mut job: Job) -> Job {
    job.name = String::new();
    (job.user_update_time, job.status, job.schedule_time, job.last_attempt_time) = (None, None, None, None);
    job.state = 0;
    if job.time_zone.is_empty() {
        ZONE_DEFAULT.clone_into(&mut job.time_zone);
    }
    job.attempt_deadline.get_or_insert_with(|| proto_duration(DEADLINE_DEFAULT));
    let (known, retry) = (Retry::default(), job.retry_config.get_or_insert_default());
    retry.max_retry_duration.get_or_insert_with(|| proto_duration(known.window));
    retry.min_backoff_duration.get_or_insert_with(|| proto_duration(known.min_backoff));
    retry.max_backoff_duration.get_or_insert_with(|| proto_duration(known.max_backoff));
    if retry.max_doublings == 0 {
        retry.max_doublings = i32::try_from(known.doublings).unwrap_or_default();
    }
    if let Some(job::Target::HttpTarget(target)) = &mut job.target {
        if target.http_method == i32::from(Method::Unspecified) {
            target.set_http_method(Method::Post);
        }
        let has_token = target.authorization_header.is_some();
        let is_replaced =
            |name: &str| is_replaced_header(name) || (has_token && name.eq_ignore_ascii_case("authorization"));
        target.headers.retain(|name, _| !is_replaced(name));
        target.headers.insert("User-Agent".to_owned(), USER_AGENT.to_owned());
        let is_typed = target.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        if !target.body.is_empty() && !is_typed {
            target.headers.insert("Content-Type".to_owned(), CONTENT_TYPE_DEFAULT.to_owned());
        }
    }
    job
}

/// Reads a message that has its defaults.
///
/// # Errors
/// `InvalidArgument` with a violation for everything that cannot be had here and every number that is none.
pub fn to_model(message: &Job) -> Result<ScheduledJob, Error> {
    const MISSING: &str = "is not supported: there is no";
    let mut issues = Issues::default();
    let nothing = TargetMessage::default();
    let target = match &message.target {
        Some(job::Target::HttpTarget(target)) => target,
        other => {
            match other {
                Some(job::Target::PubsubTarget(_)) => {
                    issues.add("job.pubsub_target", format!("{MISSING} Pub/Sub here; set job.http_target"));
                }
                Some(job::Target::AppEngineHttpTarget(_)) => {
                    issues.add("job.app_engine_http_target", format!("{MISSING} App Engine here; set job.http_target"));
                }
                _ => issues.add("job.http_target", "must be set, got nothing"),
            }
            &nothing
        }
    };
    let retry = message.retry_config.unwrap_or_default();
    let deadline = message.attempt_deadline.as_ref();
    let job = ScheduledJob {
        description: message.description.clone(),
        schedule: message.schedule.clone(),
        zone: message.time_zone.clone(),
        target: read_target(target, &mut issues),
        retry: read_retry(&retry, &mut issues),
        deadline: deadline.and_then(|it| issues.duration("job.attempt_deadline", it)).unwrap_or(DEADLINE_DEFAULT),
    };
    issues.finish(job)
}

/// A message as clients see it: with what tokens are for, where nothing was said. `state` and the times are the server's.
pub fn shown(mut job: Job, state: State) -> Job {
    job.set_state(match state {
        State::Enabled => job::State::Enabled,
        State::Paused => job::State::Paused,
    });
    if let Some(job::Target::HttpTarget(target)) = &mut job.target {
        match &mut target.authorization_header {
            Some(AuthorizationHeader::OidcToken(token)) if token.audience.is_empty() => {
                token.audience.clone_from(&target.uri);
            }
            Some(AuthorizationHeader::OauthToken(token)) if token.scope.is_empty() => {
                SCOPE_DEFAULT.clone_into(&mut token.scope);
            }
            _ => {}
        }
    }
    job
}

fn read_target(target: &TargetMessage, issues: &mut Issues) -> HttpTarget {
    let method = issues.enumeration::<Method>("job.http_target.http_method", target.http_method);
    HttpTarget {
        uri: target.uri.clone(),
        method: match method {
            Method::Unspecified | Method::Post => HttpMethod::Post,
            Method::Get => HttpMethod::Get,
            Method::Head => HttpMethod::Head,
            Method::Put => HttpMethod::Put,
            Method::Delete => HttpMethod::Delete,
            Method::Patch => HttpMethod::Patch,
            Method::Options => HttpMethod::Options,
        },
        headers: target.headers.clone().into_iter().collect(),
        body: target.body.clone(),
        authorization: target.authorization_header.as_ref().map(|header| match header {
            AuthorizationHeader::OidcToken(OidcToken { service_account_email, audience }) => Authorization::Oidc {
                account: service_account_email.clone(),
                audience: if audience.is_empty() { target.uri.clone() } else { audience.clone() },
            },
            AuthorizationHeader::OauthToken(OAuthToken { service_account_email, scope }) => Authorization::OAuth {
                account: service_account_email.clone(),
                scope: if scope.is_empty() { SCOPE_DEFAULT.to_owned() } else { scope.clone() },
            },
        }),
    }
}

fn read_retry(retry: &RetryConfig, issues: &mut Issues) -> Retry {
    let known = Retry::default();
    let mut duration = |field: &str, value: &Option<prost_types::Duration>, otherwise: Duration| {
        let field = format!("job.retry_config.{field}");
        value.as_ref().and_then(|value| issues.duration(&field, value)).unwrap_or(otherwise)
    };
    let window = duration("max_retry_duration", &retry.max_retry_duration, known.window);
    let min_backoff = duration("min_backoff_duration", &retry.min_backoff_duration, known.min_backoff);
    let max_backoff = duration("max_backoff_duration", &retry.max_backoff_duration, known.max_backoff);
    let count = issues.count("job.retry_config.retry_count", retry.retry_count);
    let doublings = issues.count("job.retry_config.max_doublings", retry.max_doublings);
    Retry { count, window, min_backoff, max_backoff, doublings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(target: TargetMessage) -> Job {
        Job { target: Some(job::Target::HttpTarget(target)), ..Job::default() }
    }

    fn target(job: &Job) -> &TargetMessage {
        match &job.target {
            Some(job::Target::HttpTarget(target)) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_that_are_documented() {
        let written = write_defaults(job(TargetMessage { uri: "http://a/".to_owned(), ..Default::default() }));
        let model = to_model(&written).expect("sound");
        assert_eq!((model.zone.as_str(), model.deadline, model.retry), ("Etc/UTC", DEADLINE_DEFAULT, Retry::default()));
        assert_eq!(model.target.method, HttpMethod::Post);
        assert_eq!(target(&written).headers, [("User-Agent".to_owned(), USER_AGENT.to_owned())].into());
        assert_eq!(write_defaults(written.clone()), written, "writing them again changes nothing");
    }

    #[test]
    fn headers_that_deliveries_write_are_not_kept_and_a_body_has_a_type() {
        let headers = ["Host", "X-CloudScheduler", "user-agent", "Authorization", "X-Own"];
        let headers = headers.map(|name| (name.to_owned(), "x".to_owned())).into();
        let sent = TargetMessage { headers, body: b"hi".to_vec(), ..TargetMessage::default() };
        let names = |job: &Job| {
            let mut names: Vec<String> = target(job).headers.keys().cloned().collect();
            names.sort();
            names
        };
        let written = write_defaults(job(sent.clone()));
        assert_eq!(names(&written), ["Authorization", "Content-Type", "User-Agent", "X-Own"]);
        let token = Some(AuthorizationHeader::OidcToken(OidcToken::default()));
        let written = write_defaults(job(TargetMessage { authorization_header: token, ..sent }));
        assert_eq!(names(&written), ["Content-Type", "User-Agent", "X-Own"]);
    }

    #[test]
    fn a_token_is_for_what_is_said_and_otherwise_for_the_target() {
        let token = |audience: &str| {
            Some(AuthorizationHeader::OidcToken(OidcToken {
                service_account_email: "a@p.iam.gserviceaccount.com".to_owned(),
                audience: audience.to_owned(),
            }))
        };
        for (said, meant) in [("", "http://a/"), ("mine", "mine")] {
            let uri = "http://a/".to_owned();
            let job = job(TargetMessage { uri, authorization_header: token(said), ..Default::default() });
            let Some(Authorization::Oidc { audience, .. }) = to_model(&job).expect("sound").target.authorization else {
                panic!("it has a token")
            };
            assert_eq!(audience, meant);
            assert_eq!(target(&shown(job, State::Enabled)).authorization_header, token(meant));
        }
    }

    #[test]
    fn other_targets_and_impossible_numbers_are_refused_by_their_field() {
        let fields = |job: &Job| -> Vec<String> {
            let error = to_model(job).expect_err("refused");
            error.violations().iter().map(|violation| violation.field.clone()).collect()
        };
        let with = |target| Job { target, ..Job::default() };
        assert_eq!(fields(&with(None)), ["job.http_target"]);
        assert_eq!(fields(&with(Some(job::Target::PubsubTarget(Default::default())))), ["job.pubsub_target"]);
        let engine = with(Some(job::Target::AppEngineHttpTarget(Default::default())));
        assert_eq!(fields(&engine), ["job.app_engine_http_target"]);
        let minus = prost_types::Duration { seconds: -1, nanos: 0 };
        let retry =
            RetryConfig { retry_count: -1, max_retry_duration: Some(minus), max_doublings: -1, ..Default::default() };
        let wrong = Job {
            retry_config: Some(retry),
            attempt_deadline: Some(minus),
            ..job(TargetMessage { http_method: 99, ..Default::default() })
        };
        let mut found = fields(&wrong);
        found.sort();
        let expected = [
            "job.attempt_deadline",
            "job.http_target.http_method",
            "job.retry_config.max_doublings",
            "job.retry_config.max_retry_duration",
            "job.retry_config.retry_count",
        ];
        assert_eq!(found, expected);
    }
}
