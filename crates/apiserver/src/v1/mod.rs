//! API v1 by REST: which use case stands behind which row of v1's table, and how its answers look.

mod query;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use updraft_api::{
    json::parse,
    status,
    v1::{
        self, Stored,
        domain::{DOMAIN_MAPPING, DOMAINS, WrittenMapping},
        in_v1_words,
        method::{Match, Method},
        status::{Subject, add_failure, success},
    },
};
use updraft_control::{Control, Found, Place};
use updraft_model::{Error, iam::Principal};

use crate::{respond::BoxBody, rest::Format};
use query::{Query, deletion};

/// Knative's group.
const SERVING: &str = "serving.knative.dev";
/// The group of what Knative does not have.
const RUN: &str = "run.googleapis.com";
const SERVING_V1: &str = "serving.knative.dev/v1";

/// A call that found its row.
pub(crate) struct Call<'a> {
    pub(crate) control: &'a Control,
    pub(crate) caller: Principal,
    pub(crate) found: Match,
}

// === impl Call ===

impl Call<'_> {
    /// Does the work and answers.
    pub(crate) async fn answer(&self, (query, body): (&str, &[u8]), format: Format) -> Response<BoxBody> {
        match self.work(query, body).await {
            Ok(answer) => format.body(StatusCode::OK, &answer),
            Err(error) => {
                let code = status::http_code(error.kind());
                self.refuse((error, code), format)
            }
        }
    }

    /// An error as Google tells it, in v1's words; under `/apis/` it is Kubernetes' `Status` as well.
    pub(crate) fn refuse(&self, (error, code): (Error, StatusCode), format: Format) -> Response<BoxBody> {
        let error = in_v1_words(error);
        format.refusal((&error, code), |body| {
            if self.found.is_namespaced {
                add_failure(body, (&error, code));
            }
        })
    }

    async fn work(&self, query: &str, body: &[u8]) -> Result<Value, Error> {
        let query = Query::read(self.found.method, query)?;
        match self.found.method {
            Method::ServicesList
            | Method::ServicesCreate
            | Method::ServicesGet
            | Method::ServicesReplace
            | Method::ServicesDelete => self.services(&query, body).await,
            Method::ConfigurationsList | Method::ConfigurationsGet | Method::RoutesList | Method::RoutesGet => {
                self.parts(&query).await
            }
            Method::RevisionsList | Method::RevisionsGet | Method::RevisionsDelete => {
                self.revisions(&query, body).await
            }
            Method::WorkerPoolsList
            | Method::WorkerPoolsCreate
            | Method::WorkerPoolsGet
            | Method::WorkerPoolsReplace
            | Method::WorkerPoolsDelete => self.worker_pools(&query, body).await,
            Method::DomainMappingsList
            | Method::DomainMappingsCreate
            | Method::DomainMappingsGet
            | Method::DomainMappingsDelete
            | Method::AuthorizedDomainsList => self.domains(&query, body).await,
            Method::JobsList
            | Method::JobsCreate
            | Method::JobsGet
            | Method::JobsReplace
            | Method::JobsDelete
            | Method::JobsRun => self.jobs(&query, body).await,
            Method::ExecutionsList
            | Method::ExecutionsGet
            | Method::ExecutionsDelete
            | Method::ExecutionsCancel
            | Method::TasksList
            | Method::TasksGet => self.executions(&query, body).await,
            Method::OperationsList | Method::OperationsGet | Method::OperationsDelete | Method::OperationsWait => {
                self.operations(&query, body).await
            }
        }
    }

    async fn services(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::ServicesList => {
                let found = control.v1_services_list(caller, (place, "run.services.list"), &query.wanted).await?;
                Ok(list((SERVING_V1, v1::SERVICE), found, v1::service_json))
            }
            Method::ServicesCreate => {
                let written = v1::Written::read(&parse(body)?)?;
                let made = control.v1_services_create(caller, place, (&written, query.mode)).await?;
                Ok(v1::service_json(&made))
            }
            Method::ServicesReplace => {
                let written = v1::Written::read(&parse(body)?)?;
                let done = control.v1_services_replace(caller, (place, name), (&written, query.mode)).await?;
                Ok(v1::service_json(&done))
            }
            Method::ServicesDelete => {
                let mode = deletion(query.mode, body)?;
                let gone = control.v1_services_delete(caller, (place, name), mode).await?;
                Ok(success(Subject { group: SERVING, kind: "services", name, uid: &gone.message.uid }))
            }
            _ => {
                let service = control.v1_services_get(caller, (place, name), "run.services.get").await?;
                Ok(v1::service_json(&service))
            }
        }
    }

    /// Configurations and routes: what services say in two parts.
    async fn parts(&self, query: &Query) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::ConfigurationsList => {
                let asked = (place, "run.configurations.list");
                let found = control.v1_services_list(caller, asked, &query.wanted).await?;
                Ok(list((SERVING_V1, v1::CONFIGURATION), found, v1::configuration_json))
            }
            Method::RoutesList => {
                let found = control.v1_services_list(caller, (place, "run.routes.list"), &query.wanted).await?;
                Ok(list((SERVING_V1, v1::ROUTE), found, v1::route_json))
            }
            Method::RoutesGet => {
                Ok(v1::route_json(&control.v1_services_get(caller, (place, name), "run.routes.get").await?))
            }
            _ => {
                let service = control.v1_services_get(caller, (place, name), "run.configurations.get").await?;
                Ok(v1::configuration_json(&service))
            }
        }
    }

    async fn revisions(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::RevisionsList => {
                let found = control.v1_revisions_list(caller, place, &query.wanted).await?;
                Ok(list((SERVING_V1, v1::REVISION), found, v1::revision_json))
            }
            Method::RevisionsDelete => {
                let mode = deletion(query.mode, body)?;
                let gone = control.v1_revisions_delete(caller, (place, name), mode).await?;
                Ok(success(Subject { group: SERVING, kind: "revisions", name, uid: &gone.message.uid }))
            }
            _ => Ok(v1::revision_json(&control.v1_revisions_get(caller, (place, name)).await?)),
        }
    }

    async fn worker_pools(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::WorkerPoolsList => {
                let found = control.v1_worker_pools_list(caller, place, &query.wanted).await?;
                Ok(list((v1::RUN, v1::WORKER_POOL), found, v1::worker_pool_json))
            }
            Method::WorkerPoolsCreate => {
                let written = v1::WrittenWorkerPool::read(&parse(body)?)?;
                let made = control.v1_worker_pools_create(caller, place, (&written, query.mode)).await?;
                Ok(v1::worker_pool_json(&made))
            }
            Method::WorkerPoolsReplace => {
                let written = v1::WrittenWorkerPool::read(&parse(body)?)?;
                let done = control.v1_worker_pools_replace(caller, (place, name), (&written, query.mode)).await?;
                Ok(v1::worker_pool_json(&done))
            }
            Method::WorkerPoolsDelete => {
                let mode = deletion(query.mode, body)?;
                let gone = control.v1_worker_pools_delete(caller, (place, name), mode).await?;
                Ok(success(Subject { group: RUN, kind: "workerpools", name, uid: &gone.message.uid }))
            }
            _ => Ok(v1::worker_pool_json(&control.v1_worker_pools_get(caller, (place, name)).await?)),
        }
    }

    async fn jobs(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::JobsList => {
                let found = control.v1_jobs_list(caller, place, &query.wanted).await?;
                Ok(list((v1::RUN, v1::JOB), found, v1::job_json))
            }
            Method::JobsCreate => {
                let written = v1::WrittenJob::read(&parse(body)?)?;
                let made = control.v1_jobs_create(caller, place, (&written, query.mode)).await?;
                Ok(v1::job_json(&made))
            }
            Method::JobsReplace => {
                let written = v1::WrittenJob::read(&parse(body)?)?;
                let done = control.v1_jobs_replace(caller, (place, name), (&written, query.mode)).await?;
                Ok(v1::job_json(&done))
            }
            Method::JobsDelete => {
                let mode = deletion(query.mode, body)?;
                let gone = control.v1_jobs_delete(caller, (place, name), (mode, query.running)).await?;
                Ok(success(Subject { group: RUN, kind: "jobs", name, uid: &gone.message.uid }))
            }
            Method::JobsRun => {
                let asked = if body.trim_ascii().is_empty() { json!({}) } else { parse(body)? };
                let request = v1::run_job_request(&asked)?;
                Ok(v1::execution_json(&control.v1_jobs_run(caller, (place, name), &request).await?))
            }
            _ => Ok(v1::job_json(&control.v1_jobs_get(caller, (place, name), "run.jobs.get").await?)),
        }
    }

    async fn executions(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::ExecutionsList => {
                let found = control.v1_executions_list(caller, place, &query.wanted).await?;
                Ok(list((v1::RUN, v1::EXECUTION), found, v1::execution_json))
            }
            Method::ExecutionsDelete => {
                let mode = deletion(query.mode, body)?;
                let gone = control.v1_executions_delete(caller, (place, name), mode).await?;
                Ok(success(Subject { group: RUN, kind: "executions", name, uid: &gone.message.uid }))
            }
            Method::ExecutionsCancel => {
                Ok(v1::execution_json(&control.v1_executions_cancel(caller, (place, name)).await?))
            }
            Method::TasksList => {
                let found = control.v1_tasks_list(caller, place, &query.wanted).await?;
                Ok(list((v1::RUN, v1::TASK), found, v1::task_json))
            }
            Method::TasksGet => Ok(v1::task_json(&control.v1_tasks_get(caller, (place, name)).await?)),
            _ => Ok(v1::execution_json(&control.v1_executions_get(caller, (place, name)).await?)),
        }
    }

    async fn domains(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            // The root of the DNS: every domain is below it.
            Method::AuthorizedDomainsList => Ok(json!({"domains": [{"id": ".", "name": "."}]})),
            Method::DomainMappingsList => {
                let found = control.v1_domain_mappings_list(caller, place, &query.wanted).await?;
                Ok(v1::list_json(DOMAINS, DOMAIN_MAPPING, found.items, &found.token))
            }
            Method::DomainMappingsCreate => {
                let written = WrittenMapping::read(&parse(body)?)?;
                control.v1_domain_mappings_create(caller, place, (&written, query.mode)).await
            }
            Method::DomainMappingsDelete => {
                let mode = deletion(query.mode, body)?;
                let uid = control.v1_domain_mappings_delete(caller, (place, name), mode).await?;
                Ok(success(Subject { group: "domains.cloudrun.com", kind: "domainmappings", name, uid: &uid }))
            }
            _ => control.v1_domain_mappings_get(caller, (place, name)).await,
        }
    }

    async fn operations(&self, query: &Query, body: &[u8]) -> Result<Value, Error> {
        let (control, caller, place, name) = (self.control, &self.caller, &self.place(), &*self.found.name);
        match self.found.method {
            Method::OperationsList => {
                let wanted = (&query.wanted, query.filter.clone());
                let found = control.v1_operations_list(caller, place, wanted).await?;
                let operations: Vec<Value> = found.items.iter().map(v1::operation_json).collect();
                Ok(json!({"operations": operations, "nextPageToken": found.token}))
            }
            Method::OperationsDelete => {
                control.v1_operations_delete(caller, (place, name)).await?;
                Ok(json!({}))
            }
            Method::OperationsWait => {
                let timeout = timeout(body)?;
                Ok(v1::operation_json(&control.v1_operations_wait(caller, (place, name), timeout).await?))
            }
            _ => Ok(v1::operation_json(&control.v1_operations_get(caller, (place, name)).await?)),
        }
    }

    fn place(&self) -> Place {
        Place { project: self.found.project.clone(), location: self.found.location.clone() }
    }
}

fn list<M>((version, kind): (&str, &str), found: Found<Stored<M>>, show: fn(&Stored<M>) -> Value) -> Value {
    v1::list_json(version, kind, found.items.iter().map(show).collect(), &found.token)
}

/// `{"timeout": "10s"}`, or nothing.
fn timeout(body: &[u8]) -> Result<Option<prost_types::Duration>, Error> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(None);
    }
    let request: updraft_api::longrunning::WaitOperationRequest = updraft_api::json::from_json(&parse(body)?, "")?;
    Ok(request.timeout)
}
