//! The methods of Secret Manager. Each is there for secrets of no region and for those of a region.

use super::{
    Access::{Free, Permission as Needs},
    Body, Method, Reads, delete, get, patch, post,
};

/// Every method of it that is served.
pub(super) static METHODS: [Method; 15] = [
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/ListSecrets",
        access: Needs("secretmanager.secrets.list"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{parent=projects/*}/secrets"), get("/v1/{parent=projects/*/locations/*}/secrets")],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/CreateSecret",
        access: Needs("secretmanager.secrets.create"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{parent=projects/*}/secrets", Body::Field("secret")),
            post("/v1/{parent=projects/*/locations/*}/secrets", Body::Field("secret")),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/AddSecretVersion",
        access: Needs("secretmanager.versions.add"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{parent=projects/*/secrets/*}:addVersion", Body::Whole),
            post("/v1/{parent=projects/*/locations/*/secrets/*}:addVersion", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/GetSecret",
        access: Needs("secretmanager.secrets.get"),
        reads: Reads::Denied,
        bindings: &[get("/v1/{name=projects/*/secrets/*}"), get("/v1/{name=projects/*/locations/*/secrets/*}")],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/UpdateSecret",
        access: Needs("secretmanager.secrets.update"),
        reads: Reads::Denied,
        bindings: &[
            patch("/v1/{secret.name=projects/*/secrets/*}", "secret"),
            patch("/v1/{secret.name=projects/*/locations/*/secrets/*}", "secret"),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/DeleteSecret",
        access: Needs("secretmanager.secrets.delete"),
        reads: Reads::Denied,
        bindings: &[delete("/v1/{name=projects/*/secrets/*}"), delete("/v1/{name=projects/*/locations/*/secrets/*}")],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/ListSecretVersions",
        access: Needs("secretmanager.versions.list"),
        reads: Reads::Denied,
        bindings: &[
            get("/v1/{parent=projects/*/secrets/*}/versions"),
            get("/v1/{parent=projects/*/locations/*/secrets/*}/versions"),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/GetSecretVersion",
        access: Needs("secretmanager.versions.get"),
        reads: Reads::Denied,
        bindings: &[
            get("/v1/{name=projects/*/secrets/*/versions/*}"),
            get("/v1/{name=projects/*/locations/*/secrets/*/versions/*}"),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion",
        access: Needs("secretmanager.versions.access"),
        reads: Reads::Always,
        bindings: &[
            get("/v1/{name=projects/*/secrets/*/versions/*}:access"),
            get("/v1/{name=projects/*/locations/*/secrets/*/versions/*}:access"),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/DisableSecretVersion",
        access: Needs("secretmanager.versions.disable"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{name=projects/*/secrets/*/versions/*}:disable", Body::Whole),
            post("/v1/{name=projects/*/locations/*/secrets/*/versions/*}:disable", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/EnableSecretVersion",
        access: Needs("secretmanager.versions.enable"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{name=projects/*/secrets/*/versions/*}:enable", Body::Whole),
            post("/v1/{name=projects/*/locations/*/secrets/*/versions/*}:enable", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/DestroySecretVersion",
        access: Needs("secretmanager.versions.destroy"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{name=projects/*/secrets/*/versions/*}:destroy", Body::Whole),
            post("/v1/{name=projects/*/locations/*/secrets/*/versions/*}:destroy", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/SetIamPolicy",
        access: Needs("secretmanager.secrets.setIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{resource=projects/*/secrets/*}:setIamPolicy", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/secrets/*}:setIamPolicy", Body::Whole),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/GetIamPolicy",
        access: Needs("secretmanager.secrets.getIamPolicy"),
        reads: Reads::Denied,
        bindings: &[
            get("/v1/{resource=projects/*/secrets/*}:getIamPolicy"),
            get("/v1/{resource=projects/*/locations/*/secrets/*}:getIamPolicy"),
        ],
    },
    Method {
        name: "google.cloud.secretmanager.v1.SecretManagerService/TestIamPermissions",
        access: Free,
        reads: Reads::Denied,
        bindings: &[
            post("/v1/{resource=projects/*/secrets/*}:testIamPermissions", Body::Whole),
            post("/v1/{resource=projects/*/locations/*/secrets/*}:testIamPermissions", Body::Whole),
        ],
    },
];
