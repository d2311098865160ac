//! Settings of a service: the flags that `deploy` and `services update` share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::either;
use crate::values::{Count, Duration, List, Pairs, Port};

/// Settings of a service. What is not given stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct SettingsArgs {
    /// The port the container listens on, told to it as PORT; `default` is 8080.
    #[arg(long, value_name = "PORT")]
    pub port: Option<Port>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub container: ContainerArgs,
    /// Requests an instance takes at a time, 1 to 1000, or `default`.
    #[arg(long, value_name = "REQUESTS", value_parser = Count::parser(1, 1000))]
    pub concurrency: Option<Count>,
    /// How long a request may take, at most an hour: seconds, or such as 10m5s.
    #[arg(long, value_name = "TIMEOUT")]
    pub timeout: Option<Duration>,
    /// As whom instances run.
    #[arg(long, value_name = "EMAIL")]
    pub service_account: Option<String>,
    /// The end of the new revision's name, after the service's name and a hyphen.
    #[arg(long, value_name = "SUFFIX")]
    pub revision_suffix: Option<String>,
    /// A tag for the new revision, which gives it a URL of its own.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The new revision gets no traffic.
    #[arg(long)]
    pub no_traffic: bool,
    /// A text about the service.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// From where the service may be called.
    #[arg(long, value_enum, value_name = "INGRESS")]
    pub ingress: Option<Ingress>,
    /// Where instances may open connections to: `none` (nowhere, names included), `private` (private addresses), or
    /// `all`.
    #[arg(long, value_enum, value_name = "EGRESS")]
    pub egress: Option<Egress>,
    /// The check that ends the start of an instance, as fields of a v1 Probe, such as
    /// `httpGet.path=/ready,periodSeconds=1`; empty takes the default again.
    #[arg(long, value_name = "FIELD=VALUE,…")]
    pub startup_probe: Option<Pairs>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub scaling: ScalingArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub labels: LabelArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub switches: SwitchArgs,
    /// Return without waiting for the end.
    #[arg(long = "async")]
    pub asynchronous: bool,
}

/// What runs in the container and what it gets: the flags that services, jobs and worker pools share.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ContainerArgs {
    /// CPUs of an instance, such as 1, 0.5 or 500m.
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<String>,
    /// Memory of an instance, such as 512Mi or 1Gi.
    #[arg(long, value_name = "MEMORY")]
    pub memory: Option<String>,
    /// Replaces the ENTRYPOINT of the image; empty takes the image's again.
    #[arg(long, value_name = "WORD,…", allow_hyphen_values = true)]
    pub command: Option<List>,
    /// Replaces the CMD of the image; empty takes the image's again.
    #[arg(long, value_name = "WORD,…", allow_hyphen_values = true)]
    pub args: Option<List>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub env: EnvArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub secrets: ContainerSecretArgs,
}

/// How many instances there may be.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ScalingArgs {
    /// Instances of a revision kept without traffic, or `default`.
    #[arg(long, value_name = "INSTANCES", value_parser = Count::parser(0, i32::MAX))]
    pub min_instances: Option<Count>,
    /// Instances a revision may have, or `default`.
    #[arg(long, value_name = "INSTANCES", value_parser = Count::parser(1, i32::MAX))]
    pub max_instances: Option<Count>,
    /// Instances of the whole service kept without traffic, or `default`. Makes no new revision.
    #[arg(long, value_name = "INSTANCES", value_parser = Count::parser(0, i32::MAX))]
    pub min: Option<Count>,
    /// Instances the whole service may have, or `default`. Makes no new revision.
    #[arg(long, value_name = "INSTANCES", value_parser = Count::parser(1, i32::MAX))]
    pub max: Option<Count>,
}

/// The environment of the container. Values with commas: `^;^A=1,2;B=3` makes `;` the separator.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct EnvArgs {
    /// These environment variables, and no others.
    #[arg(
        long,
        value_name = "NAME=VALUE,…",
        conflicts_with_all = ["update_env_vars", "remove_env_vars", "clear_env_vars", "env_vars_file"]
    )]
    pub set_env_vars: Vec<Pairs>,
    /// These environment variables as well.
    #[arg(long, value_name = "NAME=VALUE,…", conflicts_with_all = ["clear_env_vars", "env_vars_file"])]
    pub update_env_vars: Vec<Pairs>,
    /// Without these environment variables; before others are added.
    #[arg(long, value_name = "NAME,…", conflicts_with_all = ["clear_env_vars", "env_vars_file"])]
    pub remove_env_vars: Vec<List>,
    /// Without environment variables.
    #[arg(long, conflicts_with = "env_vars_file")]
    pub clear_env_vars: bool,
    /// The environment variables of this YAML file, and no others.
    #[arg(long, value_name = "FILE")]
    pub env_vars_file: Option<PathBuf>,
}

/// Secrets of the container, as variables or as files.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ContainerSecretArgs {
    /// These secrets, and no others: `NAME=SECRET:VERSION` is an environment variable, `/DIR/FILE=SECRET:VERSION` a file.
    /// VERSION is a number, an alias or `latest`; a secret of another project is `projects/PROJECT/secrets/SECRET`.
    #[arg(
        long,
        value_name = "NAME|PATH=SECRET:VERSION,…",
        conflicts_with_all = ["update_secrets", "remove_secrets", "clear_secrets"]
    )]
    pub set_secrets: Vec<Pairs>,
    /// These secrets as well.
    #[arg(long, value_name = "NAME|PATH=SECRET:VERSION,…", conflicts_with = "clear_secrets")]
    pub update_secrets: Vec<Pairs>,
    /// Without the secrets of these variables and files; before others are added.
    #[arg(long, value_name = "NAME|PATH,…", conflicts_with = "clear_secrets")]
    pub remove_secrets: Vec<List>,
    /// Without secrets.
    #[arg(long)]
    pub clear_secrets: bool,
}

/// Labels, of a service, job or worker pool and of its template.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct LabelArgs {
    /// These labels as well.
    #[arg(long = "labels", visible_alias = "update-labels", value_name = "KEY=VALUE,…")]
    pub update_labels: Vec<Pairs>,
    /// Without these labels; before others are added.
    #[arg(long, value_name = "KEY,…", conflicts_with = "clear_labels")]
    pub remove_labels: Vec<List>,
    /// Without the labels it has; before others are added.
    #[arg(long)]
    pub clear_labels: bool,
}

/// What is either on or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub struct SwitchArgs {
    /// Speak HTTP/2 (in clear, end to end) with the container.
    #[arg(long, overrides_with = "no_use_http2")]
    pub use_http2: bool,
    /// Speak HTTP/1.1 with the container.
    #[arg(long, overrides_with = "use_http2")]
    pub no_use_http2: bool,
    /// Give CPU only while requests are in flight.
    #[arg(long, overrides_with = "no_cpu_throttling")]
    pub cpu_throttling: bool,
    /// Give CPU all the time.
    #[arg(long, overrides_with = "cpu_throttling")]
    pub no_cpu_throttling: bool,
    /// Give more CPU while an instance starts. On for new services.
    #[arg(long, overrides_with = "no_cpu_boost")]
    pub cpu_boost: bool,
    /// Give no more CPU while an instance starts.
    #[arg(long, overrides_with = "cpu_boost")]
    pub no_cpu_boost: bool,
    /// Ask the policy who may call.
    #[arg(long, overrides_with = "no_invoker_iam_check")]
    pub invoker_iam_check: bool,
    /// Let everybody call, whatever the policy says.
    #[arg(long, overrides_with = "invoker_iam_check")]
    pub no_invoker_iam_check: bool,
}

/// From where a service may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ingress {
    /// From anywhere.
    All,
    /// From the project's own networks.
    Internal,
    /// From the project's own networks and through a load balancer.
    InternalAndCloudLoadBalancing,
}

/// Where instances may open connections to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Egress {
    /// Nowhere, names included.
    None,
    /// To private addresses.
    Private,
    /// To wherever the server can.
    All,
}

// === impl SwitchArgs ===

impl SwitchArgs {
    pub(crate) fn http2(self) -> Option<bool> {
        either(self.use_http2, self.no_use_http2)
    }

    pub(crate) fn throttling(self) -> Option<bool> {
        either(self.cpu_throttling, self.no_cpu_throttling)
    }

    pub(crate) fn boost(self) -> Option<bool> {
        either(self.cpu_boost, self.no_cpu_boost)
    }

    pub(crate) fn invoker_check(self) -> Option<bool> {
        either(self.invoker_iam_check, self.no_invoker_iam_check)
    }
}
