//! The keys of annotations and labels that mean something in v1.
//!
//! Source: the v1 API's reference of annotations and labels, and what gcloud 578 writes.

use updraft_model::revision::{CONCURRENCY_TARGET, CPU_TARGET};

pub(super) const AUTOSCALING_MAX: &str = "autoscaling.knative.dev/maxScale";
pub(super) const AUTOSCALING_MIN: &str = "autoscaling.knative.dev/minScale";
pub(super) const BASE_IMAGES: &str = "run.googleapis.com/base-images";
pub(super) const BINARY_AUTHORIZATION: &str = "run.googleapis.com/binary-authorization";
pub(super) const BREAKGLASS: &str = "run.googleapis.com/binary-authorization-breakglass";
pub(super) const BUILD_BASE_IMAGE: &str = "run.googleapis.com/build-base-image";
pub(super) const BUILD_ENV: &str = "run.googleapis.com/build-environment-variables";
pub(super) const BUILD_IMAGE: &str = "run.googleapis.com/build-image-uri";
pub(super) const BUILD_NAME: &str = "run.googleapis.com/build-name";
pub(super) const BUILD_POOL: &str = "run.googleapis.com/build-worker-pool";
pub(super) const BUILD_SERVICE_ACCOUNT: &str = "run.googleapis.com/build-service-account";
pub(super) const BUILD_SOURCE: &str = "run.googleapis.com/build-source-location";
pub(super) const BUILD_TARGET: &str = "run.googleapis.com/build-function-target";
pub(super) const BUILD_UPDATES: &str = "run.googleapis.com/build-enable-automatic-updates";
pub(super) const CLIENT_NAME: &str = "run.googleapis.com/client-name";
pub(super) const CLIENT_VERSION: &str = "run.googleapis.com/client-version";
pub(super) const CLOUD_SQL: &str = "run.googleapis.com/cloudsql-instances";
pub(super) const CPU_THROTTLING: &str = "run.googleapis.com/cpu-throttling";
pub(super) const CREATOR: &str = "serving.knative.dev/creator";
pub(super) const CUSTOM_AUDIENCES: &str = "run.googleapis.com/custom-audiences";
pub(super) const DEFAULT_URL_DISABLED: &str = "run.googleapis.com/default-url-disabled";
pub(super) const DEPENDENCIES: &str = "run.googleapis.com/container-dependencies";
pub(super) const DESCRIPTION: &str = "run.googleapis.com/description";
pub(super) const ENCRYPTION_KEY: &str = "run.googleapis.com/encryption-key";
pub(super) const EXECUTION_ENVIRONMENT: &str = "run.googleapis.com/execution-environment";
pub(super) const HEALTH_CHECK_DISABLED: &str = "run.googleapis.com/health-check-disabled";
pub(super) const IAP: &str = "run.googleapis.com/iap-enabled";
pub(super) const INGRESS: &str = "run.googleapis.com/ingress";
pub(super) const INGRESS_STATUS: &str = "run.googleapis.com/ingress-status";
pub(super) const INVOKER_IAM_DISABLED: &str = "run.googleapis.com/invoker-iam-disabled";
pub(super) const LAST_MODIFIER: &str = "serving.knative.dev/lastModifier";
pub(super) const LAST_UPDATED: &str = "run.googleapis.com/lastUpdatedTime";
pub(super) const LAUNCH_STAGE: &str = "run.googleapis.com/launch-stage";
pub(super) const MANUAL_COUNT: &str = "run.googleapis.com/manualInstanceCount";
pub(super) const MAX: &str = "run.googleapis.com/maxScale";
pub(super) const MESH: &str = "run.googleapis.com/mesh";
pub(super) const MIN: &str = "run.googleapis.com/minScale";
pub(super) const NETWORK_INTERFACES: &str = "run.googleapis.com/network-interfaces";
pub(super) const OPERATION: &str = "run.googleapis.com/operation-id";
pub(super) const REGIONS: &str = "run.googleapis.com/regions";
pub(super) const REVOCATION: &str = "run.googleapis.com/post-key-revocation-action-type";
/// Who created a job, an execution or a task.
pub(super) const RUN_CREATOR: &str = "run.googleapis.com/creator";
/// Who changed a job last.
pub(super) const RUN_LAST_MODIFIER: &str = "run.googleapis.com/lastModifier";
pub(super) const SCALING_CONCURRENCY: &str = "run.googleapis.com/scaling-concurrency-target";
pub(super) const SCALING_CPU: &str = "run.googleapis.com/scaling-cpu-target";
pub(super) const SCALING_MODE: &str = "run.googleapis.com/scalingMode";
pub(super) const SECRETS: &str = "run.googleapis.com/secrets";
pub(super) const SESSION_AFFINITY: &str = "run.googleapis.com/sessionAffinity";
pub(super) const SHUTDOWN_HOURS: &str = "run.googleapis.com/encryption-key-shutdown-hours";
pub(super) const SOURCES: &str = "run.googleapis.com/sources";
pub(super) const STARTUP_BOOST: &str = "run.googleapis.com/startup-cpu-boost";
pub(super) const URLS: &str = "run.googleapis.com/urls";
pub(super) const VPC_CONNECTOR: &str = "run.googleapis.com/vpc-access-connector";
pub(super) const VPC_EGRESS: &str = "run.googleapis.com/vpc-access-egress";
pub(super) const ZONAL_REDUNDANCY_DISABLED: &str = "run.googleapis.com/gpu-zonal-redundancy-disabled";

/// The key of the node selector that chooses a kind of GPU.
pub(super) const ACCELERATOR: &str = "run.googleapis.com/accelerator";
/// The driver that stands for a bucket.
pub(super) const GCS_DRIVER: &str = "gcsfuse.run.googleapis.com";

pub(super) const EXECUTION_LABEL: &str = "run.googleapis.com/execution";
pub(super) const JOB_GENERATION_LABEL: &str = "run.googleapis.com/jobGeneration";
pub(super) const JOB_LABEL: &str = "run.googleapis.com/job";
pub(super) const JOB_UID_LABEL: &str = "run.googleapis.com/jobUid";
pub(super) const LOCATION_LABEL: &str = "cloud.googleapis.com/location";
pub(super) const PROBE_LABEL: &str = "run.googleapis.com/startupProbeType";
pub(super) const STATE_LABEL: &str = "run.googleapis.com/runningState";
pub(super) const VISIBILITY_LABEL: &str = "networking.knative.dev/visibility";
pub(super) const WORKER_POOL_LABEL: &str = "run.googleapis.com/workerPool";

/// Keys that only the server writes; what a client sends back of them is ignored.
const OUTPUT: [&str; 17] = [
    CREATOR,
    EXECUTION_LABEL,
    INGRESS_STATUS,
    JOB_GENERATION_LABEL,
    JOB_LABEL,
    JOB_UID_LABEL,
    LAST_MODIFIER,
    LAST_UPDATED,
    LOCATION_LABEL,
    OPERATION,
    PROBE_LABEL,
    RUN_CREATOR,
    RUN_LAST_MODIFIER,
    STATE_LABEL,
    URLS,
    WORKER_POOL_LABEL,
    "run.googleapis.com/multi-region-id",
];

/// Keys of templates, and the annotation of our own that each is kept as: v2 has no fields for them.
pub(super) const TARGETS: [(&str, &str); 2] = [(SCALING_CONCURRENCY, CONCURRENCY_TARGET), (SCALING_CPU, CPU_TARGET)];

/// Where an object stands that has annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// On a service.
    Service,
    /// On the template of a revision.
    Template,
    /// On a domain mapping.
    Mapping,
    /// On a job.
    Job,
    /// On the template of an execution.
    Execution,
    /// On a worker pool.
    WorkerPool,
    /// On the template of a worker pool.
    Worker,
}

/// The namespace whose keys are all known.
const RUN: &str = "run.googleapis.com/";

/// Keys of [`RUN`] on services.
const SERVICE: &[&str] = &[
    BASE_IMAGES,
    BINARY_AUTHORIZATION,
    BREAKGLASS,
    BUILD_BASE_IMAGE,
    BUILD_ENV,
    BUILD_IMAGE,
    BUILD_NAME,
    BUILD_POOL,
    BUILD_SERVICE_ACCOUNT,
    BUILD_SOURCE,
    BUILD_TARGET,
    BUILD_UPDATES,
    CLIENT_NAME,
    CLIENT_VERSION,
    CUSTOM_AUDIENCES,
    DEFAULT_URL_DISABLED,
    DESCRIPTION,
    IAP,
    INGRESS,
    INVOKER_IAM_DISABLED,
    LAUNCH_STAGE,
    MANUAL_COUNT,
    MAX,
    MIN,
    REGIONS,
    SCALING_MODE,
    "run.googleapis.com/build-id",
    "run.googleapis.com/gc-traffic-tags",
    "run.googleapis.com/presets",
    "run.googleapis.com/ssh-enabled",
    "run.googleapis.com/threat-detection",
];

/// Keys of [`RUN`] on templates.
const TEMPLATE: &[&str] = &[
    BASE_IMAGES,
    BUILD_SOURCE,
    BUILD_TARGET,
    CLIENT_NAME,
    CLIENT_VERSION,
    CLOUD_SQL,
    CPU_THROTTLING,
    DEPENDENCIES,
    ENCRYPTION_KEY,
    EXECUTION_ENVIRONMENT,
    HEALTH_CHECK_DISABLED,
    MESH,
    NETWORK_INTERFACES,
    REVOCATION,
    SCALING_CONCURRENCY,
    SCALING_CPU,
    SECRETS,
    SESSION_AFFINITY,
    SHUTDOWN_HOURS,
    SOURCES,
    STARTUP_BOOST,
    VPC_CONNECTOR,
    VPC_EGRESS,
    ZONAL_REDUNDANCY_DISABLED,
    "run.googleapis.com/ambient-networking",
    "run.googleapis.com/build-id",
    "run.googleapis.com/identity",
    "run.googleapis.com/identity-certificate-enabled",
    "run.googleapis.com/identity-type",
    "run.googleapis.com/mesh-dataplane",
    "run.googleapis.com/overflow-scaling",
    "run.googleapis.com/secure-session-agent",
];

/// Keys of [`RUN`] on domain mappings.
const MAPPING: &[&str] = &[CLIENT_NAME, CLIENT_VERSION, LAUNCH_STAGE];

/// Keys of [`RUN`] on jobs.
const JOB: &[&str] = &[BINARY_AUTHORIZATION, BREAKGLASS, CLIENT_NAME, CLIENT_VERSION, LAUNCH_STAGE];

/// Keys of [`RUN`] on templates of executions.
const EXECUTION: &[&str] = &[
    BASE_IMAGES,
    CLIENT_NAME,
    CLIENT_VERSION,
    CLOUD_SQL,
    DEPENDENCIES,
    ENCRYPTION_KEY,
    EXECUTION_ENVIRONMENT,
    NETWORK_INTERFACES,
    REVOCATION,
    SECRETS,
    SHUTDOWN_HOURS,
    SOURCES,
    VPC_CONNECTOR,
    VPC_EGRESS,
    ZONAL_REDUNDANCY_DISABLED,
];

/// Keys of [`RUN`] on worker pools.
const WORKER_POOL: &[&str] = &[
    BINARY_AUTHORIZATION,
    BREAKGLASS,
    CLIENT_NAME,
    CLIENT_VERSION,
    DESCRIPTION,
    LAUNCH_STAGE,
    MANUAL_COUNT,
    MAX,
    MIN,
    SCALING_MODE,
];

/// Keys of [`RUN`] on templates of worker pools.
const WORKER: &[&str] = &[
    BASE_IMAGES,
    CLIENT_NAME,
    CLIENT_VERSION,
    CLOUD_SQL,
    DEPENDENCIES,
    ENCRYPTION_KEY,
    EXECUTION_ENVIRONMENT,
    MESH,
    NETWORK_INTERFACES,
    REVOCATION,
    SECRETS,
    SHUTDOWN_HOURS,
    SOURCES,
    VPC_CONNECTOR,
    VPC_EGRESS,
    ZONAL_REDUNDANCY_DISABLED,
];

/// Keys that are about the client or say nothing that would have to be acted on.
const INERT: &[&str] = &[
    CLIENT_NAME,
    CLIENT_VERSION,
    EXECUTION_ENVIRONMENT,
    STARTUP_BOOST,
    "run.googleapis.com/build-id",
    "run.googleapis.com/presets",
    "serving.knative.dev/configuration",
    "serving.knative.dev/configurationGeneration",
    "serving.knative.dev/route",
    "serving.knative.dev/service",
    "serving.knative.dev/serviceUid",
];

/// Does only the server write this key?
pub(super) fn is_output(key: &str) -> bool {
    OUTPUT.contains(&key)
}

/// Is this a key that may stand there? Those of Knative and of users are not listed anywhere.
pub(super) fn is_known(scope: Scope, key: &str) -> bool {
    let known = match scope {
        Scope::Service => SERVICE,
        Scope::Template => TEMPLATE,
        Scope::Mapping => MAPPING,
        Scope::Job => JOB,
        Scope::Execution => EXECUTION,
        Scope::WorkerPool => WORKER_POOL,
        Scope::Worker => WORKER,
    };
    !key.starts_with(RUN) || known.contains(&key) || is_output(key)
}

/// Does nothing have to be done about this key for the service to be what was asked for?
pub(super) fn is_inert(key: &str) -> bool {
    INERT.contains(&key)
}

/// Is this a key of the platform, which v2 spells as a field or not at all?
pub(super) fn is_reserved(key: &str) -> bool {
    let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let within = |namespace: &&str| prefix == *namespace || prefix.ends_with(&format!(".{namespace}"));
    updraft_model::label::RESERVED_NAMESPACES.iter().any(within)
}
