//! Scheduled jobs, with gcloud's flags.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::values::{List, Pairs, Span};

/// Flags of `scheduler`.
#[derive(Debug, Clone, Subcommand)]
pub enum SchedulerCommand {
    /// Jobs: requests that are made again and again.
    #[command(visible_alias = "job")]
    Jobs(ScheduledJobsArgs),
}

/// Flags of `scheduler jobs`.
#[derive(Debug, Clone, Args)]
pub struct ScheduledJobsArgs {
    /// At this location, instead of the region.
    #[arg(long, global = true, value_name = "LOCATION")]
    pub location: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a subcommand would become its help")]
    #[command(subcommand)]
    pub command: ScheduledJobsCommand,
}

/// Verbs on scheduled jobs.
#[derive(Debug, Clone, Subcommand)]
pub enum ScheduledJobsCommand {
    /// Create a job.
    #[command(subcommand)]
    Create(CreateScheduledJob),
    /// Change a job; what is not named stays.
    #[command(subcommand)]
    Update(UpdateScheduledJob),
    /// List jobs.
    List,
    /// Show a job, with when it runs next and what came of its last run.
    Describe(ScheduledJobArg),
    /// Run a job now, also one that is paused.
    Run(ScheduledJobArg),
    /// Keep a job from running when it is due.
    Pause(ScheduledJobArg),
    /// Let a job run again, from now on.
    Resume(ScheduledJobArg),
    /// Delete a job.
    Delete(ScheduledJobArg),
}

/// What is to be created.
#[derive(Debug, Clone, Subcommand)]
pub enum CreateScheduledJob {
    /// A job that requests a URL.
    Http(Box<CreateHttpJobArgs>),
}

/// What is to be changed.
#[derive(Debug, Clone, Subcommand)]
pub enum UpdateScheduledJob {
    /// A job that requests a URL.
    Http(Box<UpdateHttpJobArgs>),
}

/// A job.
#[derive(Debug, Clone, Args)]
pub struct ScheduledJobArg {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum HttpMethodArg {
    Post,
    Get,
    Head,
    Put,
    Delete,
    Patch,
    Options,
}

/// Flags of `scheduler jobs create http`.
#[derive(Debug, Clone, Args)]
pub struct CreateHttpJobArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// When: '*/5 * * * *', 'every day 09:30', 'every 5 minutes'.
    #[arg(long, value_name = "SCHEDULE")]
    pub schedule: String,
    /// Where to.
    #[arg(long, value_name = "URI")]
    pub uri: String,
    /// With these headers.
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub headers: Vec<Pairs>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub common: HttpJobArgs,
}

/// Flags of `scheduler jobs update http`.
#[derive(Debug, Clone, Args)]
pub struct UpdateHttpJobArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// When: '*/5 * * * *', 'every day 09:30', 'every 5 minutes'.
    #[arg(long, value_name = "SCHEDULE")]
    pub schedule: Option<String>,
    /// Where to.
    #[arg(long, value_name = "URI")]
    pub uri: Option<String>,
    /// With these headers, beside those that are there.
    #[arg(long, value_name = "KEY=VALUE,…", conflicts_with = "clear_headers")]
    pub update_headers: Vec<Pairs>,
    /// Without these headers.
    #[arg(long, value_name = "KEY,…", conflicts_with = "clear_headers")]
    pub remove_headers: Option<List>,
    /// Without headers.
    #[arg(long)]
    pub clear_headers: bool,
    /// Without a body.
    #[arg(long, conflicts_with_all = ["message_body", "message_body_from_file"])]
    pub clear_message_body: bool,
    /// Without a token.
    #[arg(long, conflicts_with_all = ["oidc_service_account_email", "oauth_service_account_email"])]
    pub clear_auth_token: bool,
    /// In UTC.
    #[arg(long, conflicts_with = "time_zone")]
    pub clear_time_zone: bool,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub common: HttpJobArgs,
}

/// Flags of both.
#[derive(Debug, Clone, Args)]
pub struct HttpJobArgs {
    /// In this zone of the tz database, such as Europe/Berlin; UTC unless one is named.
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// With this method; POST unless one is named.
    #[arg(long, value_enum, value_name = "METHOD", ignore_case = true)]
    pub http_method: Option<HttpMethodArg>,
    /// With this body.
    #[arg(long, value_name = "TEXT", conflicts_with = "message_body_from_file")]
    pub message_body: Option<String>,
    /// With the content of this file as its body.
    #[arg(long, value_name = "FILE")]
    pub message_body_from_file: Option<PathBuf>,
    /// As this service account, with an ID token.
    #[arg(long, value_name = "EMAIL", conflicts_with = "oauth_service_account_email")]
    pub oidc_service_account_email: Option<String>,
    /// For whom the ID token is; the URI unless it is said.
    #[arg(long, value_name = "AUDIENCE", requires = "oidc_service_account_email")]
    pub oidc_token_audience: Option<String>,
    /// As this service account, with an access token; for APIs.
    #[arg(long, value_name = "EMAIL")]
    pub oauth_service_account_email: Option<String>,
    /// What the access token is good for.
    #[arg(long, value_name = "SCOPE", requires = "oauth_service_account_email")]
    pub oauth_token_scope: Option<String>,
    /// How long an attempt may take, 15s to 30m.
    #[arg(long, value_name = "DURATION")]
    pub attempt_deadline: Option<Span>,
    /// How many more attempts there are after one that failed, 0 to 5.
    #[arg(long, value_name = "COUNT")]
    pub max_retry_attempts: Option<i32>,
    /// Until when after the first attempt there are more than that.
    #[arg(long, value_name = "DURATION")]
    pub max_retry_duration: Option<Span>,
    /// The pause before the first of them.
    #[arg(long, value_name = "DURATION")]
    pub min_backoff: Option<Span>,
    /// The longest pause.
    #[arg(long, value_name = "DURATION")]
    pub max_backoff: Option<Span>,
    /// How often the pause doubles.
    #[arg(long, value_name = "COUNT")]
    pub max_doublings: Option<i32>,
}
