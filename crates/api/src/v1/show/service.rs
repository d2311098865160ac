//! Services, and the configurations and routes that are parts of them.

use serde_json::{Map, Value, json};
use updraft_model::ServiceName;

use super::{
    CONFIGURATION, ROUTE, SERVICE, SERVING, annotations, condition, namespace, self_link, take_map, take_map_of,
    target_json, target_status_json, template_json, time, version,
};
use crate::{
    run,
    v1::{
        Rest, Stored, keys,
        tree::{is_empty, object, put, short, sorted},
    },
};

/// A service in the v1 shape.
pub fn service_json(stored: &Stored<run::Service>) -> Value {
    let service = &stored.message;
    let mut shown = intent_of_service(service, &stored.rest);
    stored.rest.put_back(&mut shown);
    let metadata = metadata_of(stored, "services", take_map(&mut shown, "metadata"));
    sorted(object(vec![
        ("apiVersion", json!(SERVING)),
        ("kind", json!(SERVICE)),
        ("metadata", metadata),
        ("spec", shown["spec"].take()),
        (
            "status",
            object(vec![
                ("address", object(vec![("url", json!(service.uri))])),
                ("conditions", condition::of_service(stored)),
                ("latestCreatedRevisionName", json!(short(&service.latest_created_revision))),
                ("latestReadyRevisionName", json!(short(&service.latest_ready_revision))),
                ("observedGeneration", json!(service.generation)),
                ("traffic", service.traffic_statuses.iter().map(target_status_json).collect()),
                ("url", json!(service.uri)),
            ]),
        ),
    ]))
}

/// The configuration of a service: its template, and what became of it.
pub fn configuration_json(stored: &Stored<run::Service>) -> Value {
    let service = &stored.message;
    let mut shown = intent_of_service(service, &stored.rest);
    stored.rest.put_back(&mut shown);
    let metadata = metadata_of(stored, "configurations", Map::new());
    sorted(object(vec![
        ("apiVersion", json!(SERVING)),
        ("kind", json!(CONFIGURATION)),
        ("metadata", metadata),
        ("spec", object(vec![("template", shown["spec"]["template"].take())])),
        (
            "status",
            object(vec![
                ("conditions", condition::of_part(service, "ConfigurationsReady")),
                ("latestCreatedRevisionName", json!(short(&service.latest_created_revision))),
                ("latestReadyRevisionName", json!(short(&service.latest_ready_revision))),
                ("observedGeneration", json!(service.generation)),
            ]),
        ),
    ]))
}

/// The route of a service: its traffic, and where that goes.
pub fn route_json(stored: &Stored<run::Service>) -> Value {
    let service = &stored.message;
    sorted(object(vec![
        ("apiVersion", json!(SERVING)),
        ("kind", json!(ROUTE)),
        ("metadata", metadata_of(stored, "routes", Map::new())),
        ("spec", object(vec![("traffic", service.traffic.iter().map(target_json).collect())])),
        (
            "status",
            object(vec![
                ("address", object(vec![("url", json!(service.uri))])),
                ("conditions", condition::of_part(service, "RoutesReady")),
                ("observedGeneration", json!(service.generation)),
                ("traffic", service.traffic_statuses.iter().map(target_status_json).collect()),
                ("url", json!(service.uri)),
            ]),
        ),
    ]))
}

/// The labels of a service as v1 has them, which selectors look at.
pub fn service_labels(service: &run::Service) -> Vec<(String, String)> {
    let own = service.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    let location = service.name.parse::<ServiceName>().ok().map(|name| name.parent.location);
    own.chain(location.map(|location| (keys::LOCATION_LABEL.to_owned(), location))).collect()
}

/// What of a service's v1 object a client can set: the view that the rest is measured against.
pub(in crate::v1) fn intent_of_service(service: &run::Service, rest: &Rest) -> Value {
    let name = short(&service.name);
    let template =
        service.template.as_ref().map(|template| template_json(template, &rest.below(&["spec", "template"])));
    object(vec![
        (
            "metadata",
            object(vec![
                ("annotations", Value::Object(annotations::of_service(service))),
                ("labels", service.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect()),
                ("name", json!(name)),
            ]),
        ),
        (
            "spec",
            object(vec![
                ("template", template.unwrap_or_default()),
                ("traffic", service.traffic.iter().map(target_json).collect()),
            ]),
        ),
    ])
}

/// The metadata of a service, or of a part of it: what its client set, and what only the server knows.
fn metadata_of(stored: &Stored<run::Service>, collection: &str, mut metadata: Map<String, Value>) -> Value {
    let service = &stored.message;
    let name = service.name.parse::<ServiceName>().ok();
    let mut annotations = take_map_of(&mut metadata, "annotations");
    let mut labels = take_map_of(&mut metadata, "labels");
    annotations.extend(annotations::output_of_service(service));
    if collection == "services" {
        put(&mut annotations, keys::OPERATION, json!(stored.operation));
    } else {
        labels.insert("serving.knative.dev/service".to_owned(), json!(name.as_ref().map(|name| &name.service)));
    }
    labels.extend(service_labels(service).into_iter().map(|(key, value)| (key, json!(value))));
    let project = name.as_ref().map(|name| name.parent.project.as_str());
    let link = name.as_ref().map(|name| self_link(&name.parent.project, collection, &name.service));
    for (key, value) in [
        ("annotations", Value::Object(annotations)),
        ("labels", Value::Object(labels)),
        ("name", json!(name.as_ref().map(|name| &name.service))),
        ("namespace", json!(project.map(namespace))),
        ("selfLink", json!(link)),
        ("uid", json!(service.uid)),
        ("resourceVersion", json!(version(&service.etag))),
        ("generation", json!(service.generation)),
        ("creationTimestamp", time(service.create_time.as_ref())),
        ("deletionTimestamp", time(service.delete_time.as_ref())),
    ] {
        put(&mut metadata, key, value);
    }
    metadata.retain(|_, value| !is_empty(value));
    Value::Object(metadata)
}
