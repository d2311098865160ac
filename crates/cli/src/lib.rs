//! The client: verbs and flags of gcloud's, spoken to an Updraft server over REST. Nothing more: what
//! it knows of the server is the public API.
//!
//! [`Command`] and [`Globals`] are clap types that the binary composes with its own verbs; [`run()`]
//! carries one out; [`completion()`] prints the completion of the whole. What is edited is pure:
//! `settings` (flags → service, job, worker pool) and `traffic` (shares and tags); so is what a running
//! execution looks like, `jobs/view`.

mod accounts;
mod args;
mod audit;
mod auth;
mod backup;
mod client;
mod completion;
mod console;
mod deploy;
mod describe;
mod doctor;
mod error;
mod files;
mod follow;
mod gcloud;
mod images;
mod jobs;
mod logs;
mod objects;
mod output;
mod policy;
mod pools;
mod progress;
mod replace;
mod revisions;
mod run;
mod scheduler;
mod secrets;
mod services;
mod settings;
#[cfg(test)]
mod tests;
mod traffic;
mod update_traffic;
mod values;

pub use args::{
    AccountArgs, AfterArgs, AuditArgs, AuthCommand, BackupArgs, BindingArgs, Command, ConditionArg, ContainerArgs,
    ContainerSecretArgs, CreateAccountArgs, CreateHttpJobArgs, CreateJobArgs, CreateScheduledJob, CreateSecretArgs,
    DeployArgs, DeployPoolArgs, Egress, EnvArgs, ExecuteArgs, ExecutionLogsArgs, ExecutionLogsCommand,
    ExecutionsCommand, ExportShell, ExportsArgs, Format, GcloudCommand, Globals, HttpJobArgs, HttpMethodArg,
    IamCommand, IdentityTokenArgs, ImagesCommand, Ingress, JobLogsArgs, JobLogsCommand, JobSettingsArgs, JobsCommand,
    KeyArgs, KeysCommand, LabelArgs, ListSecretsArgs, ListTasksArgs, LoadArgs, LoginArgs, LogsArgs, ManagedBy,
    PolicyCommand, PoolLogsArgs, PoolLogsCommand, PoolRevisionsCommand, PoolSettingsArgs, PoolsCommand,
    ProjectsCommand, RemoveBindingArgs, ReplaceArgs, ReplicationPolicy, RerunArgs, RevisionsCommand, ScalingArgs,
    ScheduledJobArg, ScheduledJobsArgs, ScheduledJobsCommand, SchedulerCommand, SecretsArgs, SecretsCommand,
    ServiceAccountsCommand, ServicesCommand, SettingsArgs, SetupArgs, SetupAuth, SplitArgs, SwitchArgs, TaskLinesArgs,
    TasksCommand, TrafficArgs, UntilArgs, UpdateArgs, UpdateHttpJobArgs, UpdateJobArgs, UpdatePoolArgs,
    UpdateScheduledJob, VersionArgs, VersionsCommand,
};
pub use auth::{auth, print_kept_token};
pub use completion::{Shell, completion};
pub use console::{Console, Terminal};
pub use error::{EXIT_CODES, Exit};
pub use run::run;
pub use values::{Count, Duration, List, Pairs, Parallelism, Port, Shares, Span, TaskTimeout};
