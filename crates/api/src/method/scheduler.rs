//! The methods of Cloud Scheduler.

use super::{Access::Permission as Needs, Body, Method, Reads, delete, get, patch, post};

/// Every method of it that is served.
pub(super) static METHODS: [Method; 8] = [
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/ListJobs",
        access: Needs("cloudscheduler.jobs.list"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{parent=projects/*/locations/*}/jobs")],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/GetJob",
        access: Needs("cloudscheduler.jobs.get"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{name=projects/*/locations/*/jobs/*}")],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/CreateJob",
        access: Needs("cloudscheduler.jobs.create"),
        reads: Reads::Denied,
        bindings: &[post("/v1/{parent=projects/*/locations/*}/jobs", Body::Field("job"))],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/UpdateJob",
        access: Needs("cloudscheduler.jobs.update"),
        reads: Reads::Denied,
        bindings: &[patch("/v1/{job.name=projects/*/locations/*/jobs/*}", "job")],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/DeleteJob",
        access: Needs("cloudscheduler.jobs.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v1/{name=projects/*/locations/*/jobs/*}")],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/PauseJob",
        access: Needs("cloudscheduler.jobs.pause"),
        reads: Reads::Denied,
        bindings: &[post("/v1/{name=projects/*/locations/*/jobs/*}:pause", Body::Whole)],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/ResumeJob",
        access: Needs("cloudscheduler.jobs.enable"),
        reads: Reads::Denied,
        bindings: &[post("/v1/{name=projects/*/locations/*/jobs/*}:resume", Body::Whole)],
    },
    Method {
        name: "google.cloud.scheduler.v1.CloudScheduler/RunJob",
        access: Needs("cloudscheduler.jobs.run"),
        reads: Reads::Denied,
        bindings: &[post("/v1/{name=projects/*/locations/*/jobs/*}:run", Body::Whole)],
    },
];
