//! The client: verbs and flags of gcloud's, spoken to an Updraft server over REST. Nothing more: what
//! it knows of the server is the public API.
//!
//! [`Command`] and [`Globals`] are clap types that the binary composes with its own verbs; [`run()`]
//! carries one out; [`completion()`] prints the completion of the whole. What is edited is pure:
//! `settings` (flags → service) and `traffic` (shares and tags).

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
mod logs;
mod objects;
mod output;
mod policy;
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
    AccountArgs, AuditArgs, AuthCommand, BackupArgs, BindingArgs, Command, ConditionArg, ContainerSecretArgs,
    CreateAccountArgs, CreateHttpJobArgs, CreateScheduledJob, CreateSecretArgs, DeployArgs, Egress, EnvArgs,
    ExportShell, ExportsArgs, Format, GcloudCommand, Globals, HttpJobArgs, HttpMethodArg, IamCommand,
    IdentityTokenArgs, ImagesCommand, Ingress, KeyArgs, KeysCommand, LabelArgs, ListSecretsArgs, LoadArgs, LoginArgs,
    LogsArgs, ManagedBy, PolicyCommand, ProjectsCommand, RemoveBindingArgs, ReplaceArgs, ReplicationPolicy,
    RevisionsCommand, ScalingArgs, ScheduledJobArg, ScheduledJobsArgs, ScheduledJobsCommand, SchedulerCommand,
    SecretsArgs, SecretsCommand, ServiceAccountsCommand, ServicesCommand, SettingsArgs, SetupArgs, SetupAuth,
    SwitchArgs, TrafficArgs, UpdateArgs, UpdateHttpJobArgs, UpdateScheduledJob, VersionArgs, VersionsCommand,
};
pub use auth::{auth, print_kept_token};
pub use completion::{Shell, completion};
pub use console::{Console, Terminal};
pub use error::{EXIT_CODES, Exit};
pub use run::run;
pub use values::{Count, Duration, List, Pairs, Port, Shares, Span};
