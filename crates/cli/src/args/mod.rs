//! What can be typed. Names and meanings of flags are gcloud's.

mod auth;
mod gcloud;
mod iam;
mod jobs;
mod policy;
mod pools;
mod scheduler;
mod secrets;
mod settings;
mod traffic;

pub use auth::{AuthCommand, IdentityTokenArgs, LoginArgs};
pub use gcloud::{ExportShell, ExportsArgs, GcloudCommand, SetupArgs, SetupAuth};
pub use iam::{
    AccountArgs, CreateAccountArgs, IamCommand, KeyArgs, KeysCommand, ManagedBy, ProjectsCommand,
    ServiceAccountsCommand,
};
pub use jobs::{
    AfterArgs, CreateJobArgs, ExecuteArgs, ExecutionLogsArgs, ExecutionLogsCommand, ExecutionsCommand, JobLogsArgs,
    JobLogsCommand, JobSettingsArgs, JobsCommand, ListTasksArgs, RerunArgs, TaskLinesArgs, TasksCommand, UntilArgs,
    UpdateJobArgs,
};
pub use policy::{BindingArgs, ConditionArg, PolicyCommand, RemoveBindingArgs};
pub use pools::{
    DeployPoolArgs, PoolLogsArgs, PoolLogsCommand, PoolRevisionsCommand, PoolSettingsArgs, PoolsCommand, SplitArgs,
    UpdatePoolArgs,
};
pub use scheduler::{
    CreateHttpJobArgs, CreateScheduledJob, HttpJobArgs, HttpMethodArg, ScheduledJobArg, ScheduledJobsArgs,
    ScheduledJobsCommand, SchedulerCommand, UpdateHttpJobArgs, UpdateScheduledJob,
};
pub use secrets::{
    CreateSecretArgs, ListSecretsArgs, ReplicationPolicy, SecretsArgs, SecretsCommand, VersionArgs, VersionsCommand,
};
pub use settings::{
    ContainerArgs, ContainerSecretArgs, Egress, EnvArgs, Ingress, LabelArgs, ScalingArgs, SettingsArgs, SwitchArgs,
};
pub use traffic::TrafficArgs;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Flags that every verb understands.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The project.
    #[arg(long, global = true, env = "UPDRAFT_PROJECT", default_value = "demo-project", value_name = "PROJECT")]
    pub project: String,
    /// The region.
    #[arg(long, global = true, env = "UPDRAFT_REGION", default_value = "us-central1", value_name = "REGION")]
    pub region: String,
    /// Where the server is.
    #[arg(long, global = true, env = "UPDRAFT_ENDPOINT", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub endpoint: String,
    /// The server's token, when it asks for one. Other users of this machine can see the flag; the
    /// variable and the file they cannot.
    #[arg(long, global = true, env = "UPDRAFT_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file that holds the token, such as `token` in the server's data directory.
    #[arg(long, global = true, env = "UPDRAFT_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// A file with the certificate authority to trust, for servers with one of their own: see 'updraft ca'.
    #[arg(long, global = true, env = "UPDRAFT_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How to print results: JSON and YAML have the shape that gcloud prints.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Ask nothing: take the default answer of every question.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML; several resources as several documents.
    Yaml,
    /// YAML that `replace` of services, jobs and worker pools takes: without what the server says of the resource.
    Export,
    /// For people.
    Table,
}

/// A verb.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Create or update a service from an image.
    Deploy(Box<DeployArgs>),
    /// List, describe, change and delete services.
    #[command(subcommand, visible_alias = "service")]
    Services(ServicesCommand),
    /// List, describe and delete revisions.
    #[command(subcommand, visible_alias = "revision")]
    Revisions(RevisionsCommand),
    /// Run containers to completion: create, run, list and delete jobs.
    #[command(subcommand, visible_alias = "job")]
    Jobs(JobsCommand),
    /// List, describe, cancel and delete executions of jobs: as 'jobs executions'.
    #[command(subcommand, visible_alias = "execution")]
    Executions(ExecutionsCommand),
    /// List and describe tasks of executions: as 'jobs executions tasks'.
    #[command(subcommand, visible_alias = "task")]
    Tasks(TasksCommand),
    /// Keep a number of instances running that nobody calls: deploy, list and delete worker pools.
    #[command(subcommand, visible_alias = "worker-pool")]
    WorkerPools(PoolsCommand),
    /// Load, list and delete images in the server's own registry.
    #[command(subcommand, visible_alias = "image")]
    Images(ImagesCommand),
    /// Keep secrets: create, list, describe and delete them, and their versions.
    #[command(visible_alias = "secret")]
    Secrets(SecretsArgs),
    /// Request URLs again and again: create, list, describe, change, run, pause, resume and delete jobs.
    #[command(subcommand)]
    Scheduler(SchedulerCommand),
    /// Say who has which role in a project.
    #[command(subcommand, visible_alias = "project")]
    Projects(ProjectsCommand),
    /// Keep service accounts and their keys.
    #[command(subcommand)]
    Iam(IamCommand),
    /// Point the real gcloud at the server.
    #[command(subcommand)]
    Gcloud(GcloudCommand),
    /// Print variables that point gcloud and the client libraries at the server: `eval "$(updraft env)"`.
    Env(ExportsArgs),
    /// Print the certificate of the server's own authority, for clients that are to trust its TLS port.
    Ca,
    /// Print who changed what in the project, and who tried to: the newest last.
    Audit(AuditArgs),
    /// Write everything the server keeps to one file, while it runs: state, images, token. `updraft restore` reads it.
    Backup(BackupArgs),
}

/// Flags of `audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// At most so many calls, the latest.
    #[arg(long, value_name = "CALLS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only calls that were refused.
    #[arg(long)]
    pub denied: bool,
}

/// Flags of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Where to; `-` is standard output. A file that is there is replaced once the backup is whole.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What containers have written, too.
    #[arg(long)]
    pub with_logs: bool,
}

/// Flags of `deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The service.
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The image to run, such as `localhost:5000/hello` or `docker.io/library/nginx:1`. Its tag is
    /// resolved now, and the revision keeps what it was.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// Let everybody call the service.
    #[arg(long, overrides_with = "no_allow_unauthenticated")]
    pub allow_unauthenticated: bool,
    /// Let only members of roles/run.invoker call the service.
    #[arg(long, overrides_with = "allow_unauthenticated")]
    pub no_allow_unauthenticated: bool,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Verbs on services.
#[derive(Debug, Clone, Subcommand)]
pub enum ServicesCommand {
    /// List services.
    List,
    /// Show a service: its URL, its traffic, its latest revision.
    Describe {
        /// The service.
        service: String,
    },
    /// Change settings of a service. Makes a new revision when its template changes.
    Update(Box<UpdateArgs>),
    /// Change which revisions take which share of traffic, and their tags.
    UpdateTraffic(TrafficArgs),
    /// Create or replace services from manifests, Knative's or Cloud Run's.
    Replace(ReplaceArgs),
    /// Delete a service and all its revisions.
    Delete {
        /// The service.
        service: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Say why the latest revision of a service, or the one named, did not start; or that it did.
    Doctor {
        /// The service.
        service: String,
        /// This revision instead of the latest.
        #[arg(long, value_name = "REVISION")]
        revision: Option<String>,
    },
    /// Say what the scaler decided for a service, and why: how many instances were started or let go, and by what
    /// figures. The oldest decision first.
    Explain(ExplainArgs),
    /// Print what a service has written: `logs SERVICE`, or as gcloud has it `logs read SERVICE`.
    Logs(LogsArgs),
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Flags of `services update`.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// The service.
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Another image.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Flags of `services replace`, `jobs replace` and `worker-pools replace`.
#[derive(Debug, Clone, Args)]
pub struct ReplaceArgs {
    /// A YAML file with one or more manifests; they are applied in order. `-` reads stdin.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only check the manifests; nothing is stored.
    #[arg(long)]
    pub dry_run: bool,
    /// Return without waiting until they are ready.
    #[arg(long = "async", conflicts_with = "dry_run")]
    pub asynchronous: bool,
}

/// Flags of `services logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The service, with or without `read` before it.
    #[arg(value_name = "SERVICE", required = true, num_args = 1..=2)]
    pub words: Vec<String>,
    /// At most so many lines, the latest.
    #[arg(long, value_name = "LINES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only of this revision.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Go on with what the service writes from now on, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
}

/// Flags of `services explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The service.
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// At most so many decisions, the latest.
    #[arg(long, value_name = "DECISIONS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only for this revision.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Go on with what is decided from now on, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
}

/// Verbs on revisions.
#[derive(Debug, Clone, Subcommand)]
pub enum RevisionsCommand {
    /// List revisions.
    List {
        /// Only of this service.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
    },
    /// Show a revision.
    Describe {
        /// The revision.
        revision: String,
    },
    /// Delete a revision that takes no traffic.
    Delete {
        /// The revision.
        revision: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
}

/// Verbs on images.
#[derive(Debug, Clone, Subcommand)]
pub enum ImagesCommand {
    /// Load an image into the server's own registry.
    Load(LoadArgs),
    /// List the images of the server's own registry.
    List,
    /// Delete an image from the server's own registry.
    Delete {
        /// The image, as `images list` shows it.
        image: String,
    },
}

/// Flags of `images load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// A docker-archive, an oci-archive, or the directory of an OCI layout.
    #[arg(value_name = "FILE|DIR")]
    pub path: PathBuf,
    /// What to call it, instead of what the archive says.
    #[arg(long, value_name = "REF")]
    pub name: Option<String>,
}

/// Which of a flag and its `--no-` twin was given, if either was; clap lets only the later through.
pub(crate) fn either(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        globals: Globals,
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Result<Whole, clap::Error> {
        Whole::try_parse_from(std::iter::once("updraft").chain(line.split_whitespace()))
    }

    #[test]
    fn the_flags_are_sound() {
        Whole::command().debug_assert();
    }

    #[test]
    fn globals_may_stand_before_and_after_the_verb() {
        for line in ["--region r1 services list", "services list --region r1", "services --region=r1 list"] {
            assert_eq!(parse(line).expect(line).globals.region, "r1");
        }
    }

    #[test]
    fn of_a_flag_and_its_no_the_later_counts() {
        let given = |line: &str| match parse(line).expect(line).command {
            Command::Deploy(args) => either(args.allow_unauthenticated, args.no_allow_unauthenticated),
            other => panic!("{other:?}"),
        };
        assert_eq!(given("deploy x --image i"), None);
        assert_eq!(given("deploy x --image i --allow-unauthenticated"), Some(true));
        assert_eq!(given("deploy x --image i --allow-unauthenticated --no-allow-unauthenticated"), Some(false));
        assert_eq!(given("deploy x --image i --no-allow-unauthenticated --allow-unauthenticated"), Some(true));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "deploy x",
            "deploy x --image i --set-env-vars A=1 --clear-env-vars",
            "deploy x --image i --set-env-vars A=1 --update-env-vars B=1",
            "deploy x --image i --set-env-vars A",
            "deploy x --image i --port 0",
            "deploy x --image i --concurrency 1001",
            "deploy x --image i --timeout 3601",
            "deploy x --image i --timeout 5x",
            "services update-traffic x --to-latest --to-revisions a=1",
            "services update-traffic x --set-tags a=b --clear-tags",
            "services update-traffic x --to-revisions a=101",
            "services update-traffic x",
            "services logs",
            "jobs create x",
            "jobs create x --image i --tasks 0",
            "jobs create x --image i --tasks 10001",
            "jobs create x --image i --max-retries 11",
            "jobs create x --image i --parallelism many",
            "jobs create x --image i --async --wait",
            "jobs update x --async --execute-now",
            "jobs execute x --async --wait",
            "jobs execute x --task-timeout 8d",
            "jobs rerun x",
            "tasks list",
            "worker-pools deploy x --image i --instances -1",
            "worker-pools update-instance-split x",
            "worker-pools update-instance-split x --to-latest --to-revisions a=1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
