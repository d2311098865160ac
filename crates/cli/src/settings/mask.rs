//! Which fields changed.

use updraft_api::run::Service;

/// Fields of a service that this client changes: path in the mask, field.
macro_rules! fields {
    ($($path:literal => $field:ident,)*) => {
        fn paths(before: &Service, after: &Service) -> Vec<&'static str> {
            let mut paths = Vec::new();
            $(if before.$field != after.$field {
                paths.push($path);
            })*
            paths
        }

        /// Only the fields of `paths`, so that nothing else can be meant.
        fn narrowed(after: Service, paths: &[&str]) -> Service {
            Service {
                $($field: if paths.contains(&$path) { after.$field } else { Default::default() },)*
                name: after.name,
                etag: after.etag,
                ..Service::default()
            }
        }
    };
}

fields! {
    "description" => description,
    "labels" => labels,
    "ingress" => ingress,
    "template" => template,
    "traffic" => traffic,
    "scaling" => scaling,
    "invokerIamDisabled" => invoker_iam_disabled,
    "client" => client,
    "clientVersion" => client_version,
}

/// What changed from `before` to `after`, and its paths. The etag makes sure that it still is
/// `before` that is changed.
pub(super) fn changed(before: &Service, mut after: Service) -> (Service, Vec<&'static str>) {
    if !paths(before, &after).is_empty() {
        sign(&mut after);
    }
    let paths = paths(before, &after);
    (narrowed(after, &paths), paths)
}

/// Says which client wrote it.
pub(super) fn sign(service: &mut Service) {
    "updraft".clone_into(&mut service.client);
    env!("CARGO_PKG_VERSION").clone_into(&mut service.client_version);
}
