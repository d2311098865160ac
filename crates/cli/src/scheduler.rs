//! `scheduler jobs`: requests that are made again and again.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use updraft_api::scheduler::{
    HttpMethod, HttpTarget, Job, ListJobsResponse, OAuthToken, OidcToken, RetryConfig,
    http_target::AuthorizationHeader, job,
};

use crate::{
    args::{
        CreateHttpJobArgs, CreateScheduledJob, HttpJobArgs, HttpMethodArg, ScheduledJobsArgs, ScheduledJobsCommand,
        SchedulerCommand, UpdateHttpJobArgs, UpdateScheduledJob,
    },
    client::{Ask, encode},
    error::CliError,
    objects, output,
    run::Session,
    values::{Pairs, Span},
};

/// How many jobs are asked for at a time.
const PAGE: &str = "500";

/// Where jobs are.
struct Place(Vec<String>);

/// A job that is to be changed, and the paths of what is.
struct Draft {
    job: Job,
    mask: Vec<&'static str>,
}

/// `scheduler …`.
pub(crate) async fn scheduler(session: &mut Session<'_>, command: SchedulerCommand) -> Result<(), CliError> {
    let SchedulerCommand::Jobs(args) = command;
    jobs(session, args).await
}

async fn jobs(session: &mut Session<'_>, args: ScheduledJobsArgs) -> Result<(), CliError> {
    let place = Place::of(session, args.location.as_deref());
    match args.command {
        ScheduledJobsCommand::Create(CreateScheduledJob::Http(args)) => create(session, &place, &args).await,
        ScheduledJobsCommand::Update(UpdateScheduledJob::Http(args)) => update(session, &place, &args).await,
        ScheduledJobsCommand::List => list(session, &place).await,
        ScheduledJobsCommand::Describe(args) => {
            let shown = session.client.call(Method::GET, &place.path(&[&args.job]), Ask::default()).await?;
            objects::show(session, &shown)
        }
        ScheduledJobsCommand::Run(args) => {
            ask(session, &place, &format!("{}:run", args.job)).await?;
            session.console.say(format_args!("Job [{}] is run now.", args.job));
            Ok(())
        }
        ScheduledJobsCommand::Pause(args) => {
            ask(session, &place, &format!("{}:pause", args.job)).await?;
            session.console.say("Job has been paused.");
            Ok(())
        }
        ScheduledJobsCommand::Resume(args) => {
            ask(session, &place, &format!("{}:resume", args.job)).await?;
            session.console.say("Job has been resumed.");
            Ok(())
        }
        ScheduledJobsCommand::Delete(args) => {
            session.confirm(&format!("Job [{}] will be deleted", args.job))?;
            session.client.call(Method::DELETE, &place.path(&[&args.job]), Ask::default()).await?;
            session.console.say(format_args!("Deleted job [{}].", args.job));
            Ok(())
        }
    }
}

async fn ask(session: &Session<'_>, place: &Place, last: &str) -> Result<Value, CliError> {
    let ask = Ask { query: Vec::new(), body: Some(json!({})) };
    session.client.call(Method::POST, &place.path(&[last]), ask).await
}

async fn create(session: &mut Session<'_>, place: &Place, args: &CreateHttpJobArgs) -> Result<(), CliError> {
    let headers = Pairs::all(&args.headers).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let target = HttpTarget { uri: args.uri.clone(), headers, ..HttpTarget::default() };
    let job = Job {
        name: place.name(&args.job),
        schedule: args.schedule.clone(),
        target: Some(job::Target::HttpTarget(target)),
        ..Job::default()
    };
    let mut draft = Draft { job, mask: Vec::new() };
    draft.apply(&args.common)?;
    let ask = Ask { query: Vec::new(), body: Some(encode(&draft.job)?) };
    let made = session.client.call(Method::POST, &place.path(&[]), ask).await?;
    objects::show(session, &made)
}

async fn update(session: &mut Session<'_>, place: &Place, args: &UpdateHttpJobArgs) -> Result<(), CliError> {
    let path = place.path(&[&args.job]);
    let job: Job = session.client.message(Method::GET, &path, Ask::default()).await?;
    let mut draft = Draft { job, mask: Vec::new() };
    draft.change(args);
    draft.apply(&args.common)?;
    if draft.mask.is_empty() {
        return Err(CliError::usage("name at least one flag: nothing is to be changed"));
    }
    let mask = draft.mask.join(",");
    let ask = Ask { query: vec![("updateMask", mask.as_str())], body: Some(encode(&draft.job)?) };
    let changed = session.client.call(Method::PATCH, &path, ask).await?;
    objects::show(session, &changed)
}

async fn list(session: &mut Session<'_>, place: &Place) -> Result<(), CliError> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut token = String::new();
    loop {
        let mut query = vec![("pageSize", PAGE)];
        if !token.is_empty() {
            query.push(("pageToken", token.as_str()));
        }
        let page = session.client.message(Method::GET, &place.path(&[]), Ask { query, body: None }).await;
        let ListJobsResponse { jobs: found, next_page_token } = page?;
        jobs.extend(found);
        token = next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let row = |job: &Job| {
        let next = job.schedule_time.as_ref().map_or_else(|| "-".to_owned(), |time| output::seconds(Some(time)));
        vec![
            output::id(&job.name).to_owned(),
            output::region(&job.name).to_owned(),
            format!("{} ({})", job.schedule, job.time_zone),
            "HTTP".to_owned(),
            job.state().as_str_name().to_owned(),
            next,
        ]
    };
    let values = jobs.iter().map(encode).collect::<Result<Vec<Value>, _>>()?;
    let rows = jobs.iter().map(row).collect();
    objects::rows(session, &values, (&["ID", "LOCATION", "SCHEDULE (TZ)", "TARGET_TYPE", "STATE", "NEXT"], rows))
}

/// A body out of a file. The server says how large one may be.
fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(file).map_err(|error| CliError::failed(format!("cannot read {}: {error}", file.display())))
}

fn duration(span: Span) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: span.0, nanos: 0 })
}

// === impl Draft ===

impl Draft {
    fn target(&mut self, path: &'static str) -> &mut HttpTarget {
        self.mask.push(path);
        if !matches!(self.job.target, Some(job::Target::HttpTarget(_))) {
            self.job.target = Some(job::Target::HttpTarget(HttpTarget::default()));
        }
        match &mut self.job.target {
            Some(job::Target::HttpTarget(target)) => target,
            _ => unreachable!("it was just put there"),
        }
    }

    fn retry(&mut self, path: &'static str) -> &mut RetryConfig {
        self.mask.push(path);
        self.job.retry_config.get_or_insert_default()
    }

    /// The flags that only a change has.
    fn change(&mut self, args: &UpdateHttpJobArgs) {
        if let Some(schedule) = &args.schedule {
            self.mask.push("schedule");
            self.job.schedule.clone_from(schedule);
        }
        if args.clear_time_zone {
            self.mask.push("time_zone");
            self.job.time_zone.clear();
        }
        if let Some(uri) = &args.uri {
            self.target("http_target.uri").uri.clone_from(uri);
        }
        if args.clear_headers {
            self.target("http_target.headers").headers.clear();
        }
        let removed = args.remove_headers.iter().flat_map(|list| &list.0);
        let removed: Vec<&String> = removed.collect();
        if !removed.is_empty() || !args.update_headers.is_empty() {
            let headers = &mut self.target("http_target.headers").headers;
            let gone = |name: &str| removed.iter().any(|removed| removed.eq_ignore_ascii_case(name));
            headers.retain(|name, _| !gone(name));
            for (name, value) in Pairs::all(&args.update_headers) {
                headers.retain(|known, _| !known.eq_ignore_ascii_case(name));
                headers.insert(name.to_owned(), value.to_owned());
            }
        }
        if args.clear_message_body {
            self.target("http_target.body").body.clear();
        }
        if args.clear_auth_token {
            // One of the two: what is not there is cleared as well.
            self.target("http_target.oidc_token").authorization_header = None;
            self.mask.push("http_target.oauth_token");
        }
    }

    /// The flags that both have.
    fn apply(&mut self, args: &HttpJobArgs) -> Result<(), CliError> {
        if let Some(zone) = &args.time_zone {
            self.mask.push("time_zone");
            self.job.time_zone.clone_from(zone);
        }
        if let Some(description) = &args.description {
            self.mask.push("description");
            self.job.description.clone_from(description);
        }
        if let Some(deadline) = args.attempt_deadline {
            self.mask.push("attempt_deadline");
            self.job.attempt_deadline = duration(deadline);
        }
        if let Some(method) = args.http_method {
            self.target("http_target.http_method").set_http_method(method.into());
        }
        let from_file = args.message_body_from_file.as_deref().map(read).transpose()?;
        if let Some(body) = args.message_body.as_ref().map(|text| text.clone().into_bytes()).or(from_file) {
            self.target("http_target.body").body = body;
        }
        if let Some(email) = &args.oidc_service_account_email {
            let (service_account_email, audience) = (email.clone(), args.oidc_token_audience.clone());
            let token = OidcToken { service_account_email, audience: audience.unwrap_or_default() };
            let header = Some(AuthorizationHeader::OidcToken(token));
            self.target("http_target.oidc_token").authorization_header = header;
        }
        if let Some(email) = &args.oauth_service_account_email {
            let (service_account_email, scope) = (email.clone(), args.oauth_token_scope.clone());
            let token = OAuthToken { service_account_email, scope: scope.unwrap_or_default() };
            let header = Some(AuthorizationHeader::OauthToken(token));
            self.target("http_target.oauth_token").authorization_header = header;
        }
        self.apply_retry(args);
        Ok(())
    }

    fn apply_retry(&mut self, args: &HttpJobArgs) {
        if let Some(count) = args.max_retry_attempts {
            self.retry("retry_config.retry_count").retry_count = count;
        }
        if let Some(span) = args.max_retry_duration {
            self.retry("retry_config.max_retry_duration").max_retry_duration = duration(span);
        }
        if let Some(span) = args.min_backoff {
            self.retry("retry_config.min_backoff_duration").min_backoff_duration = duration(span);
        }
        if let Some(span) = args.max_backoff {
            self.retry("retry_config.max_backoff_duration").max_backoff_duration = duration(span);
        }
        if let Some(count) = args.max_doublings {
            self.retry("retry_config.max_doublings").max_doublings = count;
        }
    }
}

impl From<HttpMethodArg> for HttpMethod {
    fn from(method: HttpMethodArg) -> Self {
        match method {
            HttpMethodArg::Post => Self::Post,
            HttpMethodArg::Get => Self::Get,
            HttpMethodArg::Head => Self::Head,
            HttpMethodArg::Put => Self::Put,
            HttpMethodArg::Delete => Self::Delete,
            HttpMethodArg::Patch => Self::Patch,
            HttpMethodArg::Options => Self::Options,
        }
    }
}

// === impl Place ===

impl Place {
    fn of(session: &Session<'_>, location: Option<&str>) -> Self {
        let location = location.unwrap_or(&session.client.region);
        // With the prefix: others have jobs at such paths, too.
        let segments = ["cloudscheduler", "v1", "projects", &session.client.project, "locations", location, "jobs"];
        Self(segments.map(str::to_owned).to_vec())
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        self.0.iter().map(String::as_str).chain(rest.iter().copied()).collect()
    }

    /// The full name of a job.
    fn name(&self, job: &str) -> String {
        format!("{}/{job}", self.0[2..].join("/"))
    }
}
