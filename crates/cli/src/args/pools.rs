//! Verbs on worker pools.

use clap::{ArgGroup, Args, Subcommand};

use super::{ContainerArgs, LabelArgs, PolicyCommand, ReplaceArgs};
use crate::values::Shares;

/// Verbs on worker pools.
#[derive(Debug, Clone, Subcommand)]
pub enum PoolsCommand {
    /// List worker pools.
    List,
    /// Show a worker pool: its instances and its latest revision.
    Describe {
        /// The worker pool.
        worker_pool: String,
    },
    /// Create or update a worker pool from an image.
    Deploy(Box<DeployPoolArgs>),
    /// Change settings of a worker pool. Makes a new revision when its template changes.
    Update(Box<UpdatePoolArgs>),
    /// Create or replace worker pools from manifests.
    Replace(ReplaceArgs),
    /// Change which revisions have which share of the instances.
    UpdateInstanceSplit(SplitArgs),
    /// Delete a worker pool and all its revisions.
    Delete {
        /// The worker pool.
        worker_pool: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Read what worker pools have written.
    #[command(subcommand)]
    Logs(PoolLogsCommand),
    /// List, show and delete revisions of worker pools.
    #[command(subcommand, visible_alias = "revision")]
    Revisions(PoolRevisionsCommand),
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Verbs on the logs of worker pools.
#[derive(Debug, Clone, Subcommand)]
pub enum PoolLogsCommand {
    /// Print what a worker pool has written, the oldest line first.
    Read(PoolLogsArgs),
    /// The same, and go on with what it writes from now on, until interrupted.
    Tail(PoolLogsArgs),
}

/// Flags of `worker-pools logs read` and `worker-pools logs tail`.
#[derive(Debug, Clone, Args)]
pub struct PoolLogsArgs {
    /// The worker pool.
    #[arg(value_name = "WORKER_POOL")]
    pub worker_pool: String,
    /// At most so many lines, the latest.
    #[arg(long, value_name = "LINES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only of this revision.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
}

/// Verbs on revisions of worker pools.
#[derive(Debug, Clone, Subcommand)]
pub enum PoolRevisionsCommand {
    /// List revisions.
    List {
        /// Only of this worker pool.
        #[arg(long, value_name = "WORKER_POOL")]
        worker_pool: Option<String>,
    },
    /// Show a revision.
    Describe {
        /// The revision.
        revision: String,
    },
    /// Delete a revision that has no instances.
    Delete {
        /// The revision.
        revision: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
}

/// Flags of `worker-pools deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployPoolArgs {
    /// The worker pool.
    #[arg(value_name = "WORKER_POOL")]
    pub worker_pool: String,
    /// The image to run, such as `localhost:5000/worker`. Its tag is resolved now, and the revision keeps what it was.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: PoolSettingsArgs,
    /// Return without waiting for the end.
    #[arg(long = "async")]
    pub asynchronous: bool,
}

/// Flags of `worker-pools update`.
#[derive(Debug, Clone, Args)]
pub struct UpdatePoolArgs {
    /// The worker pool.
    #[arg(value_name = "WORKER_POOL")]
    pub worker_pool: String,
    /// Another image.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: PoolSettingsArgs,
    /// Return without waiting for the end.
    #[arg(long = "async")]
    pub asynchronous: bool,
}

/// Settings of a worker pool. What is not given stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct PoolSettingsArgs {
    /// How many instances there are. Makes no new revision.
    #[arg(long, value_name = "INSTANCES", value_parser = clap::value_parser!(i32).range(0..=10_000))]
    pub instances: Option<i32>,
    /// As whom instances run.
    #[arg(long, value_name = "EMAIL")]
    pub service_account: Option<String>,
    /// The end of the new revision's name, after the worker pool's name and a hyphen.
    #[arg(long, value_name = "SUFFIX")]
    pub revision_suffix: Option<String>,
    /// The new revision gets no instances.
    #[arg(long)]
    pub no_promote: bool,
    /// A text about the worker pool.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub container: ContainerArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub labels: LabelArgs,
}

/// Flags of `worker-pools update-instance-split`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("split").required(true).args(["to_latest", "to_revisions"]))]
pub struct SplitArgs {
    /// The worker pool.
    #[arg(value_name = "WORKER_POOL")]
    pub worker_pool: String,
    /// All instances to the latest revision, now and after later deploys.
    #[arg(long)]
    pub to_latest: bool,
    /// Shares of revisions in percent; LATEST means the latest, whichever that is. When they make less than 100, the other
    /// revisions with instances share the rest as they did before.
    #[arg(long, value_name = "REVISION=PERCENT,…")]
    pub to_revisions: Vec<Shares>,
    /// Return without waiting for the end.
    #[arg(long = "async")]
    pub asynchronous: bool,
}
