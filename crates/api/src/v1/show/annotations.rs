//! What v1 writes into annotations and v2 has fields for.

use serde_json::{Map, Value, json};

use crate::{
    run::{
        self, EncryptionKeyRevocationAction as Revocation, ExecutionEnvironment, IngressTraffic,
        binary_authorization::BinauthzMethod, service_scaling::ScalingMode, source_code::SourceType,
        vpc_access::VpcEgress,
    },
    v1::{
        keys, show,
        tree::{count, flag, is_empty, json_list},
    },
};
use googleapis_tonic_google_api::google::api::LaunchStage;

/// What a client can set of a service's annotations.
pub(super) fn of_service(service: &run::Service) -> Map<String, Value> {
    let scaling = service.scaling.unwrap_or_default();
    let manual = scaling.scaling_mode() == ScalingMode::Manual;
    let [authorization, breakglass] = authorization(service.binary_authorization.as_ref());
    let regions = service.multi_region_settings.clone().unwrap_or_default().regions;
    let build = service.build_config.clone().unwrap_or_default();
    let build_env: std::collections::BTreeMap<_, _> = build.environment_variables.iter().collect();
    let named = [
        authorization,
        breakglass,
        (keys::BUILD_BASE_IMAGE, json!(build.base_image)),
        (keys::BUILD_ENV, if build_env.is_empty() { Value::Null } else { json!(json!(build_env).to_string()) }),
        (keys::BUILD_IMAGE, json!(build.image_uri)),
        (keys::BUILD_NAME, json!(build.name)),
        (keys::BUILD_POOL, json!(build.worker_pool)),
        (keys::BUILD_SERVICE_ACCOUNT, json!(build.service_account)),
        (keys::BUILD_SOURCE, json!(build.source_location)),
        (keys::BUILD_TARGET, json!(build.function_target)),
        (keys::BUILD_UPDATES, flag(build.enable_automatic_updates)),
        (keys::CLIENT_NAME, json!(service.client)),
        (keys::CLIENT_VERSION, json!(service.client_version)),
        (keys::CUSTOM_AUDIENCES, json_list(&service.custom_audiences)),
        (keys::DEFAULT_URL_DISABLED, flag(service.default_uri_disabled)),
        (keys::DESCRIPTION, json!(service.description)),
        (keys::IAP, flag(service.iap_enabled)),
        (keys::INGRESS, json!(ingress(service))),
        (keys::INVOKER_IAM_DISABLED, flag(service.invoker_iam_disabled)),
        (keys::LAUNCH_STAGE, json!(stage(service.launch_stage()))),
        (keys::MANUAL_COUNT, json!(scaling.manual_instance_count.map(|n| n.to_string()))),
        (keys::MAX, count(scaling.max_instance_count)),
        (keys::MIN, count(scaling.min_instance_count)),
        (keys::REGIONS, json!(regions.join(","))),
        (keys::SCALING_MODE, json!(if manual { "manual" } else { "" })),
    ];
    filled(&service.annotations, named)
}

/// What only the server writes of a service's annotations.
pub(super) fn output_of_service(service: &run::Service) -> impl Iterator<Item = (String, Value)> {
    let named = [
        (keys::CREATOR, json!(service.creator)),
        (keys::INGRESS_STATUS, json!(ingress(service))),
        (keys::LAST_MODIFIER, json!(service.last_modifier)),
        (keys::URLS, json_list(&service.urls)),
    ];
    named.into_iter().filter(|(_, value)| !is_empty(value)).map(|(key, value)| (key.to_owned(), value))
}

/// What a client can set of a job's annotations.
pub(super) fn of_job(job: &run::Job) -> Map<String, Value> {
    let [authorization, breakglass] = authorization(job.binary_authorization.as_ref());
    let named = [
        authorization,
        breakglass,
        (keys::CLIENT_NAME, json!(job.client)),
        (keys::CLIENT_VERSION, json!(job.client_version)),
        (keys::LAUNCH_STAGE, json!(stage(job.launch_stage()))),
    ];
    filled(&job.annotations, named)
}

/// What a client can set of a worker pool's annotations.
pub(super) fn of_worker_pool(pool: &run::WorkerPool) -> Map<String, Value> {
    let [authorization, breakglass] = authorization(pool.binary_authorization.as_ref());
    let count = pool.scaling.and_then(|scaling| scaling.manual_instance_count);
    let named = [
        authorization,
        breakglass,
        (keys::CLIENT_NAME, json!(pool.client)),
        (keys::CLIENT_VERSION, json!(pool.client_version)),
        (keys::DESCRIPTION, json!(pool.description)),
        (keys::LAUNCH_STAGE, json!(stage(pool.launch_stage()))),
        (keys::MANUAL_COUNT, json!(count.map(|count| count.to_string()))),
        (keys::SCALING_MODE, json!(count.map(|_| "manual"))),
    ];
    filled(&pool.annotations, named)
}

/// What a client can set of a template's annotations.
pub(super) fn of_template(template: &run::RevisionTemplate) -> Map<String, Value> {
    let scaling = template.scaling.unwrap_or_default();
    let resources = template.containers.iter().filter_map(|container| container.resources.as_ref());
    let (mut boost, mut always) = (false, false);
    for resources in resources {
        boost |= resources.startup_cpu_boost;
        always |= !resources.cpu_idle;
    }
    let environment = match template.execution_environment() {
        ExecutionEnvironment::Unspecified => "",
        ExecutionEnvironment::Gen1 => "gen1",
        ExecutionEnvironment::Gen2 => "gen2",
    };
    let revocation = match template.encryption_key_revocation_action() {
        Revocation::Unspecified => "",
        Revocation::PreventNew => "prevent-new",
        Revocation::Shutdown => "shut-down",
    };
    let hours = template.encryption_key_shutdown_duration.map(|duration| (duration.seconds / 3600).to_string());
    let vpc = template.vpc_access.clone().unwrap_or_default();
    let egress = match vpc.egress() {
        VpcEgress::Unspecified => "",
        VpcEgress::AllTraffic => "all-traffic",
        VpcEgress::PrivateRangesOnly => "private-ranges-only",
    };
    let target = |key| {
        let kept = keys::TARGETS.iter().find(|(known, _)| *known == key).map_or("", |(_, kept)| *kept);
        json!(template.annotations.get(kept))
    };
    let mesh = template.service_mesh.as_ref().map(|mesh| &mesh.mesh);
    let named = [
        (keys::AUTOSCALING_MAX, count(scaling.max_instance_count)),
        (keys::AUTOSCALING_MIN, count(scaling.min_instance_count)),
        (keys::BASE_IMAGES, by_container(template, |container| container.base_image_uri.clone())),
        (keys::CLOUD_SQL, show::container::cloud_sql(&template.volumes)),
        (keys::CPU_THROTTLING, json!(if always { "false" } else { "" })),
        (keys::DEPENDENCIES, show::container::dependencies(&template.containers)),
        (keys::ENCRYPTION_KEY, json!(template.encryption_key)),
        (keys::EXECUTION_ENVIRONMENT, json!(environment)),
        (keys::HEALTH_CHECK_DISABLED, flag(template.health_check_disabled)),
        (keys::MESH, json!(mesh)),
        (keys::NETWORK_INTERFACES, interfaces(&vpc)),
        (keys::REVOCATION, json!(revocation)),
        (keys::SCALING_CONCURRENCY, target(keys::SCALING_CONCURRENCY)),
        (keys::SCALING_CPU, target(keys::SCALING_CPU)),
        (keys::SESSION_AFFINITY, flag(template.session_affinity)),
        (keys::SHUTDOWN_HOURS, json!(hours)),
        (keys::SOURCES, by_container(template, source)),
        (keys::STARTUP_BOOST, flag(boost)),
        (keys::VPC_CONNECTOR, json!(vpc.connector)),
        (keys::VPC_EGRESS, json!(egress)),
        (
            keys::ZONAL_REDUNDANCY_DISABLED,
            json!(template.gpu_zonal_redundancy_disabled.map(|disabled| disabled.to_string())),
        ),
    ];
    let mut filled = filled(&template.annotations, named);
    // Shown once: of two with different values, which would hold?
    filled.retain(|key, _| keys::TARGETS.iter().all(|(_, kept)| kept != key));
    filled
}

/// The word for a launch stage; none for what is generally available.
fn stage(stage: LaunchStage) -> &'static str {
    match stage {
        LaunchStage::Alpha => "ALPHA",
        LaunchStage::Beta => "BETA",
        _ => "",
    }
}

/// Which images may run, and why others may.
fn authorization(authorization: Option<&run::BinaryAuthorization>) -> [(&'static str, Value); 2] {
    let authorization = authorization.cloned().unwrap_or_default();
    let method = match authorization.binauthz_method {
        Some(BinauthzMethod::UseDefault(true)) => "default".to_owned(),
        Some(BinauthzMethod::Policy(policy)) => policy,
        Some(BinauthzMethod::UseDefault(false)) | None => String::new(),
    };
    [(keys::BINARY_AUTHORIZATION, json!(method)), (keys::BREAKGLASS, json!(authorization.breakglass_justification))]
}

fn filled<const N: usize>(
    own: &std::collections::HashMap<String, String>,
    named: [(&'static str, Value); N],
) -> Map<String, Value> {
    let own = own.iter().map(|(key, value)| (key.clone(), json!(value)));
    let named = named.into_iter().filter(|(_, value)| !is_empty(value)).map(|(key, value)| (key.to_owned(), value));
    own.chain(named).collect()
}

fn ingress(service: &run::Service) -> &'static str {
    match service.ingress() {
        IngressTraffic::Unspecified => "",
        IngressTraffic::All => "all",
        IngressTraffic::InternalOnly => "internal",
        IngressTraffic::InternalLoadBalancer => "internal-and-cloud-load-balancing",
        IngressTraffic::None => "none",
    }
}

/// A text of each container that has one, as JSON in a string.
fn by_container(template: &run::RevisionTemplate, text: impl Fn(&run::Container) -> String) -> Value {
    let named = template.containers.iter().map(|container| (&container.name, text(container)));
    let map: std::collections::BTreeMap<_, _> = named.filter(|(_, text)| !text.is_empty()).collect();
    if map.is_empty() { Value::Null } else { json!(json!(map).to_string()) }
}

fn source(container: &run::Container) -> String {
    match container.source_code.as_ref().and_then(|source| source.source_type.as_ref()) {
        Some(SourceType::CloudStorageSource(source)) if source.generation != 0 => {
            format!("gs://{}/{}#{}", source.bucket, source.object, source.generation)
        }
        Some(SourceType::CloudStorageSource(source)) => format!("gs://{}/{}", source.bucket, source.object),
        None => String::new(),
    }
}

fn interfaces(vpc: &run::VpcAccess) -> Value {
    if vpc.network_interfaces.is_empty() {
        return Value::Null;
    }
    let interface = |interface: &run::vpc_access::NetworkInterface| {
        show::object(vec![
            ("network", json!(interface.network)),
            ("subnetwork", json!(interface.subnetwork)),
            ("tags", json!(interface.tags)),
        ])
    };
    let list: Vec<Value> = vpc.network_interfaces.iter().map(interface).collect();
    json!(json!(list).to_string())
}
