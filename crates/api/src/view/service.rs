//! A service: message ↔ model.

use googleapis_tonic_google_api::google::api::LaunchStage;
use prost::Message;
use updraft_model::{
    Error, ServiceName, Violation,
    label::ANNOTATIONS_BYTES_MAX,
    service::{Ingress, Scaling, ScalingMode, Service},
};

use super::{Issues, enums::unknown_values, revision, traffic};
use crate::run;

/// Where a service stands in the requests that carry one.
const ROOT: &str = "service";

/// Reads a service.
///
/// # Errors
/// `InvalidArgument` with one violation per field that the model cannot hold.
pub fn to_model(name: &ServiceName, message: &run::Service) -> Result<Service, Error> {
    let mut issues = Issues::default();
    let empty = run::RevisionTemplate::default();
    let template = message.template.as_ref().unwrap_or(&empty);
    let service = Service {
        name: name.clone(),
        description: message.description.clone(),
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        ingress: ingress(&mut issues, message.ingress),
        invoker_iam_disabled: message.invoker_iam_disabled,
        default_uri_disabled: message.default_uri_disabled,
        scaling: scaling(&mut issues, message.scaling.as_ref()),
        template: revision::read_template(&mut issues, &format!("{ROOT}.template"), template),
        traffic: traffic::read(&mut issues, &format!("{ROOT}.traffic"), &message.traffic),
        custom_audiences: message.custom_audiences.clone(),
        client: [message.client.clone(), message.client_version.clone()],
        unsupported: unsupported(message),
    };
    issues.finish(service)
}

/// What is wrong with the parts of a client's message that the model does not name: enums without a meaning, and a
/// launch stage that Google does not take as input.
///
/// # Errors
/// As [`unknown_values`].
pub fn check_unnamed(message: &run::Service) -> Result<Vec<Violation>, Error> {
    let mut found = unknown_values(message, ROOT)?;
    found.extend(super::stage_violation(ROOT, message.launch_stage));
    let bytes = message.build_config.as_ref().map_or(0, Message::encoded_len);
    if bytes > ANNOTATIONS_BYTES_MAX {
        let rule = format!("must have at most {ANNOTATIONS_BYTES_MAX} bytes, got {bytes}");
        found.push(Violation::new(format!("{ROOT}.build_config"), rule));
    }
    Ok(found)
}

/// Writes the defaults of a defaulted model into the message, field for field: what the client sent and
/// what the model does not name stays as it is.
pub fn write_defaults(message: &mut run::Service, service: &Service) {
    if let Some(ingress) = service.ingress {
        message.ingress = ingress_number(ingress);
    }
    if message.launch_stage == i32::from(LaunchStage::Unspecified) {
        message.launch_stage = LaunchStage::Ga.into();
    }
    message.traffic = traffic::from_model(&service.traffic);
    revision::write_defaults(message.template.get_or_insert_default(), &service.template);
}

/// The number of an ingress setting in v2.
pub fn ingress_number(ingress: Ingress) -> i32 {
    use run::IngressTraffic as V2;
    let value = match ingress {
        Ingress::All => V2::All,
        Ingress::Internal => V2::InternalOnly,
        Ingress::InternalAndLoadBalancing => V2::InternalLoadBalancer,
        Ingress::None => V2::None,
    };
    value.into()
}

fn ingress(issues: &mut Issues, number: i32) -> Option<Ingress> {
    use run::IngressTraffic as V2;
    match issues.enumeration(&format!("{ROOT}.ingress"), number) {
        V2::Unspecified => None,
        V2::All => Some(Ingress::All),
        V2::InternalOnly => Some(Ingress::Internal),
        V2::InternalLoadBalancer => Some(Ingress::InternalAndLoadBalancing),
        V2::None => Some(Ingress::None),
    }
}

fn scaling(issues: &mut Issues, message: Option<&run::ServiceScaling>) -> Scaling {
    use run::service_scaling::ScalingMode as V2;
    let Some(message) = message else { return Scaling::default() };
    let mode = match issues.enumeration(&format!("{ROOT}.scaling.scaling_mode"), message.scaling_mode) {
        V2::Manual => ScalingMode::Manual,
        V2::Unspecified | V2::Automatic => ScalingMode::Automatic,
    };
    Scaling {
        min: issues.count(&format!("{ROOT}.scaling.min_instance_count"), message.min_instance_count),
        max: issues.count(&format!("{ROOT}.scaling.max_instance_count"), message.max_instance_count),
        mode,
        manual_count: message
            .manual_instance_count
            .map(|count| issues.count(&format!("{ROOT}.scaling.manual_instance_count"), count)),
    }
}

/// Fields that are set and that nothing here acts on, though ignoring them would serve something else
/// than was asked for. Without `iap_enabled` the service would be open, without `binary_authorization` it
/// would run images that its owner forbids.
fn unsupported(message: &run::Service) -> Vec<String> {
    let set = [
        ("iap_enabled", message.iap_enabled),
        ("binary_authorization", message.binary_authorization.is_some()),
        ("multi_region_settings", message.multi_region_settings.is_some()),
    ];
    set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field.to_owned()).collect()
}
