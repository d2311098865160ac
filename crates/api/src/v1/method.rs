//! The table of v1's methods: their paths and what they need.
//!
//! Policies and locations are the same messages in v1 and v2; their paths are in [`crate::method`].
//! Source: the v1 API's discovery document.

use std::sync::LazyLock;

use http::Method as Verb;

use crate::{method::Access, path::Template};

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    ServicesList,
    ServicesCreate,
    ServicesGet,
    ServicesReplace,
    ServicesDelete,
    ConfigurationsList,
    ConfigurationsGet,
    RoutesList,
    RoutesGet,
    RevisionsList,
    RevisionsGet,
    RevisionsDelete,
    DomainMappingsList,
    DomainMappingsCreate,
    DomainMappingsGet,
    DomainMappingsDelete,
    AuthorizedDomainsList,
    JobsList,
    JobsCreate,
    JobsGet,
    JobsReplace,
    JobsDelete,
    JobsRun,
    ExecutionsList,
    ExecutionsGet,
    ExecutionsDelete,
    ExecutionsCancel,
    TasksList,
    TasksGet,
    WorkerPoolsList,
    WorkerPoolsCreate,
    WorkerPoolsGet,
    WorkerPoolsReplace,
    WorkerPoolsDelete,
    OperationsList,
    OperationsGet,
    OperationsDelete,
    OperationsWait,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The method.
    pub method: Method,
    /// What the caller needs on the resource.
    pub access: Access,
    /// The verb.
    pub verb: Verb,
    /// Its paths: with a namespace, with a project and a location. Some have the first only.
    pub paths: &'static [&'static str],
}

/// A request that found its method.
#[derive(Debug)]
pub struct Match {
    /// The method.
    pub method: Method,
    /// What the caller needs on the resource.
    pub access: Access,
    /// The project, by id or number.
    pub project: String,
    /// The location; `None` in paths that carry none.
    pub location: Option<String>,
    /// The id of the resource; empty for lists.
    pub name: String,
    /// Is it a path with a namespace, where errors also are Kubernetes' `Status`?
    pub is_namespaced: bool,
}

/// Where a request leads.
#[derive(Debug)]
pub enum Route {
    /// To a method.
    Found(Match),
    /// The path exists with these verbs only.
    WrongVerb(Vec<Verb>),
    /// Nowhere.
    Unknown,
}

use Access::Permission as Needs;

macro_rules! collection {
    ($name:literal) => {
        &[
            concat!("/apis/serving.knative.dev/v1/namespaces/{project}/", $name),
            concat!("/v1/projects/{project}/locations/{location}/", $name),
        ]
    };
}

macro_rules! run {
    ($name:literal) => {
        &[concat!("/apis/run.googleapis.com/v1/namespaces/{project}/", $name)]
    };
}

macro_rules! domains {
    ($name:literal) => {
        &[
            concat!("/apis/domains.cloudrun.com/v1/namespaces/{project}/", $name),
            concat!("/v1/projects/{project}/locations/{location}/", $name),
        ]
    };
}

/// Every method that is served.
pub static METHODS: [Row; 38] = [
    row(Method::ServicesList, "run.services.list", Verb::GET, collection!("services")),
    row(Method::ServicesCreate, "run.services.create", Verb::POST, collection!("services")),
    row(Method::ServicesGet, "run.services.get", Verb::GET, collection!("services/{name}")),
    row(Method::ServicesReplace, "run.services.update", Verb::PUT, collection!("services/{name}")),
    row(Method::ServicesDelete, "run.services.delete", Verb::DELETE, collection!("services/{name}")),
    row(Method::ConfigurationsList, "run.configurations.list", Verb::GET, collection!("configurations")),
    row(Method::ConfigurationsGet, "run.configurations.get", Verb::GET, collection!("configurations/{name}")),
    row(Method::RoutesList, "run.routes.list", Verb::GET, collection!("routes")),
    row(Method::RoutesGet, "run.routes.get", Verb::GET, collection!("routes/{name}")),
    row(Method::RevisionsList, "run.revisions.list", Verb::GET, collection!("revisions")),
    row(Method::RevisionsGet, "run.revisions.get", Verb::GET, collection!("revisions/{name}")),
    row(Method::RevisionsDelete, "run.revisions.delete", Verb::DELETE, collection!("revisions/{name}")),
    row(Method::DomainMappingsList, "run.domainmappings.list", Verb::GET, domains!("domainmappings")),
    row(Method::DomainMappingsCreate, "run.domainmappings.create", Verb::POST, domains!("domainmappings")),
    row(Method::DomainMappingsGet, "run.domainmappings.get", Verb::GET, domains!("domainmappings/{name}")),
    row(Method::DomainMappingsDelete, "run.domainmappings.delete", Verb::DELETE, domains!("domainmappings/{name}")),
    row(Method::JobsList, "run.jobs.list", Verb::GET, run!("jobs")),
    row(Method::JobsCreate, "run.jobs.create", Verb::POST, run!("jobs")),
    row(Method::JobsGet, "run.jobs.get", Verb::GET, run!("jobs/{name}")),
    row(Method::JobsReplace, "run.jobs.update", Verb::PUT, run!("jobs/{name}")),
    row(Method::JobsDelete, "run.jobs.delete", Verb::DELETE, run!("jobs/{name}")),
    row(Method::JobsRun, "run.jobs.run", Verb::POST, run!("jobs/{name}:run")),
    row(Method::ExecutionsList, "run.executions.list", Verb::GET, run!("executions")),
    row(Method::ExecutionsGet, "run.executions.get", Verb::GET, run!("executions/{name}")),
    row(Method::ExecutionsDelete, "run.executions.delete", Verb::DELETE, run!("executions/{name}")),
    row(Method::ExecutionsCancel, "run.executions.cancel", Verb::POST, run!("executions/{name}:cancel")),
    row(Method::TasksList, "run.tasks.list", Verb::GET, run!("tasks")),
    row(Method::TasksGet, "run.tasks.get", Verb::GET, run!("tasks/{name}")),
    row(Method::WorkerPoolsList, "run.workerpools.list", Verb::GET, run!("workerpools")),
    row(Method::WorkerPoolsCreate, "run.workerpools.create", Verb::POST, run!("workerpools")),
    row(Method::WorkerPoolsGet, "run.workerpools.get", Verb::GET, run!("workerpools/{name}")),
    row(Method::WorkerPoolsReplace, "run.workerpools.update", Verb::PUT, run!("workerpools/{name}")),
    row(Method::WorkerPoolsDelete, "run.workerpools.delete", Verb::DELETE, run!("workerpools/{name}")),
    Row {
        method: Method::AuthorizedDomainsList,
        // It tells nothing about anybody: every domain is authorised.
        access: Access::Free,
        verb: Verb::GET,
        paths: &[
            "/v1/projects/{project}/authorizeddomains",
            "/apis/domains.cloudrun.com/v1/namespaces/{project}/authorizeddomains",
            "/v1/projects/{project}/locations/{location}/authorizeddomains",
        ],
    },
    row(
        Method::OperationsList,
        "run.operations.list",
        Verb::GET,
        &["/v1/projects/{project}/locations/{location}/operations"],
    ),
    row(
        Method::OperationsGet,
        "run.operations.get",
        Verb::GET,
        &["/v1/projects/{project}/locations/{location}/operations/{name}"],
    ),
    row(
        Method::OperationsDelete,
        "run.operations.delete",
        Verb::DELETE,
        &["/v1/projects/{project}/locations/{location}/operations/{name}"],
    ),
    row(
        Method::OperationsWait,
        "run.operations.get",
        Verb::POST,
        &["/v1/projects/{project}/locations/{location}/operations/{name}:wait"],
    ),
];

const fn row(method: Method, permission: &'static str, verb: Verb, paths: &'static [&'static str]) -> Row {
    Row { method, access: Needs(permission), verb, paths }
}

/// The table's templates, taken apart once.
static TEMPLATES: LazyLock<Vec<(&'static Row, &'static str, Template)>> = LazyLock::new(|| {
    let paths = METHODS.iter().flat_map(|row| row.paths.iter().map(move |path| (row, *path)));
    paths.map(|(row, path)| (row, path, Template::new(path))).collect()
});

// === impl Match ===

impl Match {
    /// The place that the request is about, as v2 spells it; `projects/p` when it names no location.
    pub fn parent(&self) -> String {
        match &self.location {
            Some(location) => format!("projects/{}/locations/{location}", self.project),
            None => format!("projects/{}", self.project),
        }
    }
}

/// Where a request leads. `path` is as on the wire, without query and without the prefix of the API.
pub fn route(verb: &Verb, path: &str) -> Route {
    let mut allowed = Vec::new();
    for (row, pattern, template) in &*TEMPLATES {
        let Some(captures) = template.matches(path) else { continue };
        if row.verb == verb {
            let get = |field: &str| captures.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone());
            return Route::Found(Match {
                method: row.method,
                access: row.access,
                project: get("project").unwrap_or_default(),
                location: get("location"),
                name: get("name").unwrap_or_default(),
                is_namespaced: pattern.starts_with("/apis/"),
            });
        }
        allowed.push(row.verb.clone());
    }
    if allowed.is_empty() { Route::Unknown } else { Route::WrongVerb(allowed) }
}

#[cfg(test)]
mod tests {
    use updraft_model::iam::known_permission;

    use super::*;

    fn found(verb: Verb, path: &str) -> Match {
        match route(&verb, path) {
            Route::Found(found) => found,
            other => panic!("{verb} {path} leads to {other:?}"),
        }
    }

    #[test]
    fn both_families_of_paths_lead_to_the_same_method() {
        let knative = found(Verb::PUT, "/apis/serving.knative.dev/v1/namespaces/813766736138/services/demo");
        assert_eq!((knative.method, knative.project.as_str()), (Method::ServicesReplace, "813766736138"));
        assert_eq!((knative.location, knative.name.as_str(), knative.is_namespaced), (None, "demo", true));
        let twin = found(Verb::GET, "/v1/projects/demo-project/locations/-/services");
        assert_eq!((twin.method, twin.location.as_deref()), (Method::ServicesList, Some("-")));
        let wait = found(Verb::POST, "/v1/projects/p/locations/l/operations/1-2:wait");
        assert_eq!((wait.method, wait.name.as_str()), (Method::OperationsWait, "1-2"));
        let mapping = found(Verb::GET, "/apis/domains.cloudrun.com/v1/namespaces/p/domainmappings/app.example.com");
        assert_eq!((mapping.method, mapping.name.as_str()), (Method::DomainMappingsGet, "app.example.com"));
    }

    #[test]
    fn jobs_and_what_comes_of_them_stand_beside_each_other() {
        let root = "/apis/run.googleapis.com/v1/namespaces/813766736138";
        for (verb, path, method, name) in [
            (Verb::POST, "jobs/nightly:run", Method::JobsRun, "nightly"),
            (Verb::PUT, "jobs/nightly", Method::JobsReplace, "nightly"),
            (Verb::GET, "executions", Method::ExecutionsList, ""),
            (Verb::POST, "executions/nightly-x2v9k:cancel", Method::ExecutionsCancel, "nightly-x2v9k"),
            (Verb::GET, "tasks/nightly-x2v9k-task0", Method::TasksGet, "nightly-x2v9k-task0"),
            (Verb::GET, "workerpools/puller", Method::WorkerPoolsGet, "puller"),
        ] {
            let found = found(verb, &format!("{root}/{path}"));
            assert_eq!((found.method, found.name.as_str(), found.is_namespaced), (method, name, true));
            assert_eq!((found.project.as_str(), found.location), ("813766736138", None));
        }
        let run = METHODS.iter().find(|row| row.method == Method::JobsRun).expect("there");
        assert!(run.access.is_write());
        let twin = "/v1/projects/p/locations/l/jobs";
        assert!(matches!(route(&Verb::GET, twin), Route::Unknown), "only policies of jobs have such paths");
    }

    #[test]
    fn what_is_v2s_or_nobodys_is_left_alone() {
        for path in ["/v2/projects/p/locations/l/services", "/v1/projects/p/locations", "/apis/batch/v1/jobs"] {
            assert!(matches!(route(&Verb::GET, path), Route::Unknown), "{path}");
        }
        let Route::WrongVerb(verbs) = route(&Verb::PATCH, "/apis/serving.knative.dev/v1/namespaces/p/services/s")
        else {
            panic!("the path exists")
        };
        assert_eq!(verbs, [Verb::GET, Verb::PUT, Verb::DELETE]);
    }

    #[test]
    fn every_method_has_one_row_and_a_permission_of_the_catalogue() {
        for row in &METHODS {
            assert_eq!(METHODS.iter().filter(|other| other.method == row.method).count(), 1, "{:?}", row.method);
            match row.access {
                Needs(permission) => assert!(known_permission(permission).is_some(), "{permission}"),
                Access::Free => assert_eq!(row.method, Method::AuthorizedDomainsList),
            }
        }
    }
}
