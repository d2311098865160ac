//! The methods of Cloud Run, of its operations and its locations.

use super::{
    Access::{Free, Permission as Needs},
    Body, Method, Reads, delete, get, patch, post,
};

/// Every method of it that is served.
pub(super) static METHODS: [Method; 40] = [
    Method {
        name: "google.cloud.run.v2.Services/CreateService",
        access: Needs("run.services.create"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{parent=projects/*/locations/*}/services", Body::Field("service"))],
    },
    Method {
        name: "google.cloud.run.v2.Services/GetService",
        access: Needs("run.services.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/services/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Services/ListServices",
        access: Needs("run.services.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*}/services")],
    },
    Method {
        name: "google.cloud.run.v2.Services/UpdateService",
        access: Needs("run.services.update"),
        reads: Reads::Denied,
        bindings: &[patch("/v2/{service.name=projects/*/locations/*/services/*}", "service")],
    },
    Method {
        name: "google.cloud.run.v2.Services/DeleteService",
        access: Needs("run.services.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/services/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Services/GetIamPolicy",
        access: Needs("run.services.getIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            get("/v2/{resource=projects/*/locations/*/services/*}:getIamPolicy"),
            get("/v1/{resource=projects/*/locations/*/services/*}:getIamPolicy"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Services/SetIamPolicy",
        access: Needs("run.services.setIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/services/*}:setIamPolicy", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/services/*}:setIamPolicy", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Services/TestIamPermissions",
        access: Free,
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/services/*}:testIamPermissions", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/services/*}:testIamPermissions", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Revisions/GetRevision",
        access: Needs("run.revisions.get"),
        reads: Reads::Denied,
        bindings: &[
            get("/v2/{name=projects/*/locations/*/services/*/revisions/*}"),
            get("/v2/{name=projects/*/locations/*/workerPools/*/revisions/*}"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Revisions/ListRevisions",
        access: Needs("run.revisions.list"),
        reads: Reads::Denied,
        bindings: &[
            get("/v2/{parent=projects/*/locations/*/services/*}/revisions"),
            get("/v2/{parent=projects/*/locations/*/workerPools/*}/revisions"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Revisions/DeleteRevision",
        access: Needs("run.revisions.delete"),
        reads: Reads::Denied,
        bindings: &[
            delete("/v2/{name=projects/*/locations/*/services/*/revisions/*}"),
            delete("/v2/{name=projects/*/locations/*/workerPools/*/revisions/*}"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/CreateJob",
        access: Needs("run.jobs.create"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{parent=projects/*/locations/*}/jobs", Body::Field("job"))],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/GetJob",
        access: Needs("run.jobs.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/jobs/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/ListJobs",
        access: Needs("run.jobs.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*}/jobs")],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/UpdateJob",
        access: Needs("run.jobs.update"),
        reads: Reads::Denied,
        bindings: &[patch("/v2/{job.name=projects/*/locations/*/jobs/*}", "job")],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/DeleteJob",
        access: Needs("run.jobs.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/jobs/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/RunJob",
        access: Needs("run.jobs.run"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{name=projects/*/locations/*/jobs/*}:run", Body::Whole)],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/GetIamPolicy",
        access: Needs("run.jobs.getIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            get("/v2/{resource=projects/*/locations/*/jobs/*}:getIamPolicy"),
            get("/v1/{resource=projects/*/locations/*/jobs/*}:getIamPolicy"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/SetIamPolicy",
        access: Needs("run.jobs.setIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/jobs/*}:setIamPolicy", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/jobs/*}:setIamPolicy", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Jobs/TestIamPermissions",
        access: Free,
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/jobs/*}:testIamPermissions", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/jobs/*}:testIamPermissions", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.run.v2.Executions/GetExecution",
        access: Needs("run.executions.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/jobs/*/executions/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Executions/ListExecutions",
        access: Needs("run.executions.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*/jobs/*}/executions")],
    },
    Method {
        name: "google.cloud.run.v2.Executions/DeleteExecution",
        access: Needs("run.executions.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/jobs/*/executions/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Executions/CancelExecution",
        access: Needs("run.executions.cancel"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{name=projects/*/locations/*/jobs/*/executions/*}:cancel", Body::Whole)],
    },
    Method {
        name: "google.cloud.run.v2.Tasks/GetTask",
        access: Needs("run.tasks.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/jobs/*/executions/*/tasks/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Tasks/ListTasks",
        access: Needs("run.tasks.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*/jobs/*/executions/*}/tasks")],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/CreateWorkerPool",
        access: Needs("run.workerpools.create"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{parent=projects/*/locations/*}/workerPools", Body::Field("worker_pool"))],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/GetWorkerPool",
        access: Needs("run.workerpools.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/workerPools/*}")],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/ListWorkerPools",
        access: Needs("run.workerpools.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*}/workerPools")],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/UpdateWorkerPool",
        access: Needs("run.workerpools.update"),
        reads: Reads::Denied,
        bindings: &[patch("/v2/{worker_pool.name=projects/*/locations/*/workerPools/*}", "worker_pool")],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/DeleteWorkerPool",
        access: Needs("run.workerpools.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/workerPools/*}")],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/GetIamPolicy",
        access: Needs("run.workerpools.getIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            get("/v2/{resource=projects/*/locations/*/workerPools/*}:getIamPolicy"),
            get("/v1/{resource=projects/*/locations/*/workerPools/*}:getIamPolicy"),
            get("/v1/{resource=projects/*/locations/*/workerpools/*}:getIamPolicy"),
        ],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/SetIamPolicy",
        access: Needs("run.workerpools.setIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/workerPools/*}:setIamPolicy", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/workerPools/*}:setIamPolicy", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/workerpools/*}:setIamPolicy", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.run.v2.WorkerPools/TestIamPermissions",
        access: Free,
        reads: Reads::Denied,
        bindings: &[
            post("/v2/{resource=projects/*/locations/*/workerPools/*}:testIamPermissions", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/workerPools/*}:testIamPermissions", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/workerpools/*}:testIamPermissions", Body::Whole),
        ],
    },
    Method {
        name: "google.longrunning.Operations/ListOperations",
        access: Needs("run.operations.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*}/operations")],
    },
    Method {
        name: "google.longrunning.Operations/GetOperation",
        access: Needs("run.operations.get"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{name=projects/*/locations/*/operations/*}")],
    },
    Method {
        name: "google.longrunning.Operations/DeleteOperation",
        access: Needs("run.operations.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/operations/*}")],
    },
    Method {
        name: "google.longrunning.Operations/WaitOperation",
        access: Needs("run.operations.get"),
        reads: Reads::Denied,
        bindings: &[post("/v2/{name=projects/*/locations/*/operations/*}:wait", Body::Whole)],
    },
    Method {
        name: "google.cloud.location.Locations/ListLocations",
        access: Needs("run.locations.list"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{name=projects/*}/locations"), get("/v2/{name=projects/*}/locations")],
    },
    Method {
        name: "google.cloud.location.Locations/GetLocation",
        access: Needs("run.locations.list"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{name=projects/*/locations/*}"), get("/v2/{name=projects/*/locations/*}")],
    },
];
