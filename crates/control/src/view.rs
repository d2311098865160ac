//! Envelopes as the messages that clients see.

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use updraft_api::{
    longrunning::{self, operation},
    rpc, run,
    v1::{Rest, Stored, notice_condition, worker_pool_notice_condition},
    view::{condition, revision::template_of, timestamp},
};
use updraft_model::{
    Condition, Error, Parent, RevisionName, State,
    condition::kind::{CONFIGURATIONS_READY, READY, ROUTES_READY},
};
use updraft_plan::hosts::UrlConfig;
use updraft_store::Envelope;

use crate::{
    deployed::Deployed,
    record::{self, RevisionRecord, ServiceRecord},
};

/// The name of the revision in an envelope.
pub(crate) fn revision_name(envelope: &Envelope) -> RevisionName {
    record::owned_by(envelope).revision(&envelope.key.name)
}

/// The name of an operation.
pub(crate) fn operation_name(parent: &Parent, id: &str) -> String {
    format!("{parent}/operations/{id}")
}

/// The etag of a resource: it changes with its intent, not with its status, so that a client that has
/// just read it can write while the reconciler reports.
pub(crate) fn etag(envelope: &Envelope) -> String {
    let digest = Sha256::digest(format!("{}/{}", envelope.uid, envelope.generation));
    format!("\"{}\"", STANDARD.encode(&digest[..12]))
}

/// What a client wrote of a service or a worker pool, by whichever version of the API.
pub(crate) fn intent<M: Deployed>(envelope: &Envelope) -> Result<Stored<M>, Error> {
    let message = record::message(envelope, &envelope.spec)?;
    Ok(Stored { message, rest: rest(envelope)?, operation: String::new() })
}

/// What v1's clients said of a resource and its message does not.
pub(crate) fn rest(envelope: &Envelope) -> Result<Rest, Error> {
    Rest::from_bytes(&envelope.v1_only)
        .map_err(|error| Error::internal(format!("{}: unreadable rest: {error}", envelope.key)))
}

/// A service or a worker pool as v1's clients see it.
pub(crate) fn stored<M: Deployed>(envelope: &Envelope, urls: &UrlConfig) -> Result<Stored<M>, Error> {
    let record: ServiceRecord = record::read(envelope)?;
    Ok(Stored { message: M::shown(envelope, urls)?, rest: rest(envelope)?, operation: record.operation })
}

/// A revision as v1's clients see it.
pub(crate) fn stored_revision(envelope: &Envelope) -> Result<Stored<run::Revision>, Error> {
    Ok(Stored { message: revision(envelope)?, rest: rest(envelope)?, operation: String::new() })
}

/// A service as clients see it.
pub(crate) fn service(envelope: &Envelope, urls: &UrlConfig) -> Result<run::Service, Error> {
    let record: ServiceRecord = record::read(envelope)?;
    let intent: run::Service = record::message(envelope, &envelope.spec)?;
    let status: run::Service = record::message(envelope, &envelope.status)?;
    let name = envelope.key.parent.service(&envelope.key.name);
    let urls = if intent.default_uri_disabled { Vec::new() } else { urls.service_urls(&name) };
    let reconciling = record.settled_generation != envelope.generation;
    let mut service = run::Service {
        name: name.to_string(),
        uid: envelope.uid.clone(),
        generation: envelope.generation,
        create_time: Some(timestamp(envelope.created)),
        update_time: Some(timestamp(envelope.updated)),
        creator: record.creator,
        last_modifier: record.last_modifier,
        uri: urls.first().cloned().unwrap_or_default(),
        urls,
        observed_generation: status.observed_generation,
        terminal_condition: status.terminal_condition,
        conditions: status.conditions,
        latest_ready_revision: status.latest_ready_revision,
        latest_created_revision: name.revision(record.latest_created).to_string(),
        traffic_statuses: status.traffic_statuses,
        reconciling,
        etag: etag(envelope),
        ..intent
    };
    if reconciling && service.terminal_condition.as_ref().is_none_or(is_settled) {
        // The status still speaks of the intent before.
        let waits = |kind| Condition::new(kind, State::Reconciling, envelope.updated);
        condition::write_to_service(&mut service, &[READY, CONFIGURATIONS_READY, ROUTES_READY].map(waits));
    }
    let template = service.template.clone().unwrap_or_default();
    let notice = notice_condition(Some(&service), &template, &rest(envelope)?);
    let since = Some(timestamp(envelope.updated));
    service.conditions.extend(notice.map(|notice| run::Condition { last_transition_time: since, ..notice }));
    Ok(service)
}

/// A worker pool as clients see it.
pub(crate) fn worker_pool(envelope: &Envelope) -> Result<run::WorkerPool, Error> {
    let record: ServiceRecord = record::read(envelope)?;
    let intent: run::WorkerPool = record::message(envelope, &envelope.spec)?;
    let status: run::WorkerPool = record::message(envelope, &envelope.status)?;
    let name = envelope.key.parent.worker_pool(&envelope.key.name);
    let reconciling = record.settled_generation != envelope.generation;
    let mut pool = run::WorkerPool {
        name: name.to_string(),
        uid: envelope.uid.clone(),
        generation: envelope.generation,
        create_time: Some(timestamp(envelope.created)),
        update_time: Some(timestamp(envelope.updated)),
        creator: record.creator,
        last_modifier: record.last_modifier,
        observed_generation: status.observed_generation,
        terminal_condition: status.terminal_condition,
        conditions: status.conditions,
        latest_ready_revision: status.latest_ready_revision,
        latest_created_revision: name.revision(record.latest_created).to_string(),
        instance_split_statuses: status.instance_split_statuses,
        reconciling,
        etag: etag(envelope),
        ..intent
    };
    if reconciling && pool.terminal_condition.as_ref().is_none_or(is_settled) {
        // The status still speaks of the intent before.
        let waits = Condition::new(READY, State::Reconciling, envelope.updated);
        condition::write_to_worker_pool(&mut pool, &[waits]);
    }
    let notice = worker_pool_notice_condition(&pool, &rest(envelope)?);
    let since = Some(timestamp(envelope.updated));
    pool.conditions.extend(notice.map(|notice| run::Condition { last_transition_time: since, ..notice }));
    Ok(pool)
}

fn is_settled(condition: &run::Condition) -> bool {
    condition::to_model(condition).is_none_or(|condition| condition.state.is_terminal())
}

/// A revision as clients see it.
pub(crate) fn revision(envelope: &Envelope) -> Result<run::Revision, Error> {
    let record: RevisionRecord = record::read(envelope)?;
    let mut revision: run::Revision = record::message(envelope, &envelope.spec)?;
    let status: run::Revision = record::message(envelope, &envelope.status)?;
    revision.name = revision_name(envelope).to_string();
    revision.uid.clone_from(&envelope.uid);
    revision.generation = envelope.generation;
    revision.create_time = Some(timestamp(envelope.created));
    revision.update_time = Some(timestamp(envelope.updated));
    revision.creator = record.creator.clone();
    revision.conditions = status.conditions;
    revision.observed_generation = status.observed_generation;
    revision.scaling_status = status.scaling_status;
    revision.reconciling = !record.phase().is_terminal();
    revision.etag = etag(envelope);
    // As the model has it: the one with a port, or the first.
    let main = revision.containers.iter().position(|container| !container.ports.is_empty()).unwrap_or_default();
    for (index, container) in revision.containers.iter_mut().enumerate() {
        let is_ingress = index == main;
        let pinned = if is_ingress { Some(&record.image) } else { record.sidecar_images.get(&container.name) };
        if let Some(pinned) = pinned.filter(|image| !image.is_empty()) {
            container.image.clone_from(pinned);
        }
    }
    let notice = notice_condition(None, &template_of(&revision), &rest(envelope)?);
    let since = Some(timestamp(envelope.created));
    revision.conditions.extend(notice.map(|notice| run::Condition { last_transition_time: since, ..notice }));
    Ok(revision)
}

/// Takes out of a client's service what only the server writes.
pub(crate) fn without_outputs(service: run::Service) -> run::Service {
    let mut intent = run::Service {
        name: String::new(),
        uid: String::new(),
        generation: 0,
        create_time: None,
        update_time: None,
        delete_time: None,
        expire_time: None,
        creator: String::new(),
        last_modifier: String::new(),
        urls: Vec::new(),
        observed_generation: 0,
        terminal_condition: None,
        conditions: Vec::new(),
        latest_ready_revision: String::new(),
        latest_created_revision: String::new(),
        traffic_statuses: Vec::new(),
        uri: String::new(),
        satisfies_pzs: false,
        threat_detection_enabled: false,
        reconciling: false,
        etag: String::new(),
        ..service
    };
    for container in intent.template.iter_mut().flat_map(|template| &mut template.containers) {
        container.build_info = None;
    }
    intent
}

/// Takes out of a client's worker pool what only the server writes.
#[expect(deprecated, reason = "a field that Google ignores is ignored")]
pub(crate) fn worker_pool_without_outputs(pool: run::WorkerPool) -> run::WorkerPool {
    let mut intent = run::WorkerPool {
        name: String::new(),
        uid: String::new(),
        generation: 0,
        create_time: None,
        update_time: None,
        delete_time: None,
        expire_time: None,
        creator: String::new(),
        last_modifier: String::new(),
        observed_generation: 0,
        terminal_condition: None,
        conditions: Vec::new(),
        latest_ready_revision: String::new(),
        latest_created_revision: String::new(),
        instance_split_statuses: Vec::new(),
        threat_detection_enabled: false,
        // Google: deprecated, and ignored.
        custom_audiences: Vec::new(),
        satisfies_pzs: false,
        reconciling: false,
        etag: String::new(),
        ..pool
    };
    for container in intent.template.iter_mut().flat_map(|template| &mut template.containers) {
        container.build_info = None;
    }
    intent
}

/// A deleted resource carries the time of its deletion.
pub(crate) fn deleted_revision(mut revision: run::Revision, now: SystemTime) -> run::Revision {
    revision.delete_time = Some(timestamp(now));
    revision.expire_time = Some(timestamp(now));
    revision.reconciling = false;
    revision
}

/// An operation that is under way.
pub(crate) fn pending_operation(name: String, metadata: Option<prost_types::Any>) -> longrunning::Operation {
    longrunning::Operation { name, metadata, done: false, result: None }
}

/// An operation that ended well: metadata and response are the resource.
pub(crate) fn succeeded(name: String, resource: prost_types::Any) -> longrunning::Operation {
    let result = Some(operation::Result::Response(resource.clone()));
    longrunning::Operation { name, metadata: Some(resource), done: true, result }
}

/// An operation that ended badly.
pub(crate) fn failed(
    name: String,
    metadata: Option<prost_types::Any>,
    (code, message): (rpc::Code, String),
) -> longrunning::Operation {
    let error = rpc::Status { code: code.into(), message, details: Vec::new() };
    longrunning::Operation { name, metadata, done: true, result: Some(operation::Result::Error(error)) }
}
