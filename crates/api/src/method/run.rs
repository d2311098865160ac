//! The methods of Cloud Run, of its operations and its locations.

use super::{
    Access::{Free, Permission as Needs},
    Body, Method, Reads, delete, get, patch, post,
};

/// Every method of it that is served.
pub(super) static METHODS: [Method; 17] = [
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
        bindings: &[get("/v2/{name=projects/*/locations/*/services/*/revisions/*}")],
    },
    Method {
        name: "google.cloud.run.v2.Revisions/ListRevisions",
        access: Needs("run.revisions.list"),
        reads: Reads::Denied,
        bindings: &[get("/v2/{parent=projects/*/locations/*/services/*}/revisions")],
    },
    Method {
        name: "google.cloud.run.v2.Revisions/DeleteRevision",
        access: Needs("run.revisions.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v2/{name=projects/*/locations/*/services/*/revisions/*}")],
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
