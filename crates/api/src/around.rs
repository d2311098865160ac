//! The calls around a deploy: methods of Google APIs beside Cloud Run's, as REST spells them.
//!
//! One row per method, like [`crate::method`]'s table; requests and answers are JSON. An API has a path prefix, named
//! as in gcloud's endpoint overrides; without one its paths are found too, since none of them is a path of Cloud Run.
//! Sources: Service Usage v1, Cloud Resource Manager v1 and v3, IAM v1, IAM Service Account
//! Credentials v1, Cloud Logging v2.

use std::sync::LazyLock;

use http::Method as Verb;

use crate::{
    audit::Reads,
    method::{self, Access},
    path::Template,
};

/// An API that has methods here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Which APIs a project uses.
    ServiceUsage,
    /// Projects and their policies.
    ResourceManager,
    /// Service accounts and their keys.
    Iam,
    /// Short-lived credentials of service accounts.
    IamCredentials,
    /// Log entries.
    Logging,
}

/// One method.
#[derive(Debug)]
pub struct Call {
    /// Whose it is.
    pub api: Api,
    /// Its name, as its gRPC twin has it without the package: `ServiceUsage/GetService`.
    pub name: &'static str,
    /// What the caller needs on the resource.
    pub access: Access,
    /// How REST spells it: the verb, and the path templates.
    pub rest: (Verb, &'static [&'static str]),
    /// Which of its calls the audit log has.
    pub reads: Reads,
}

/// Where a request leads.
#[derive(Debug)]
pub enum Route {
    /// To a method, with the fields of its path.
    Found(&'static Call, Fields),
    /// The path exists with these verbs only.
    WrongVerb(Vec<Verb>),
    /// Nowhere, in an API that is here.
    Unknown(Api),
    /// To an API that is not built: its name.
    NotBuilt(&'static str),
    /// It has nothing to do with these APIs.
    Elsewhere,
}

/// The fields that a path gave values to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Vec<(&'static str, String)>);

/// The prefixes of all APIs that endpoint overrides are written for, in the order in which they are shown: the name of
/// gcloud's property is the prefix.
pub const PREFIXES: [&str; 15] = [
    "run",
    "serviceusage",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "artifactregistry",
    "cloudbuild",
    "storage",
    "secretmanager",
    "pubsub",
    "eventarc",
    "cloudscheduler",
    "cloudtasks",
];

const APIS: [Api; 5] = [Api::ServiceUsage, Api::ResourceManager, Api::Iam, Api::IamCredentials, Api::Logging];

use Access::{Free, Permission as Needs};
use Api::{Iam, IamCredentials, Logging, ResourceManager, ServiceUsage};

const fn call(api: Api, name: &'static str, access: Access, rest: (Verb, &'static [&'static str])) -> Call {
    Call { api, name, access, rest, reads: Reads::Denied }
}

/// The same for a method that gives out secrets: the audit log has each of its calls.
const fn secret(api: Api, name: &'static str, access: Access, rest: (Verb, &'static [&'static str])) -> Call {
    Call { api, name, access, rest, reads: Reads::Always }
}

/// A project's own verb: by its id in v1, by its name in v3.
macro_rules! project {
    ($verb:literal) => {
        (Verb::POST, &[concat!("/v1/projects/{resource}:", $verb), concat!("/v3/{resource=projects/*}:", $verb)])
    };
}

/// An account's own verb.
macro_rules! account {
    ($field:literal, $verb:literal) => {
        (Verb::POST, &[concat!("/v1/{", $field, "=projects/*/serviceAccounts/*}:", $verb)])
    };
}

/// The verb of one key.
macro_rules! key {
    ($verb:ident) => {
        (Verb::$verb, &["/v1/{name=projects/*/serviceAccounts/*/keys/*}"])
    };
    ($verb:literal) => {
        (Verb::POST, &[concat!("/v1/{name=projects/*/serviceAccounts/*/keys/*}:", $verb)])
    };
}

/// Every method that is served.
pub static CALLS: [Call; 45] = [
    call(
        ServiceUsage,
        "ServiceUsage/GetService",
        Needs("serviceusage.services.get"),
        (Verb::GET, &["/v1/{name=projects/*/services/*}"]),
    ),
    call(
        ServiceUsage,
        "ServiceUsage/ListServices",
        Needs("serviceusage.services.list"),
        (Verb::GET, &["/v1/{parent=projects/*}/services"]),
    ),
    call(
        ServiceUsage,
        "ServiceUsage/EnableService",
        Needs("serviceusage.services.enable"),
        (Verb::POST, &["/v1/{name=projects/*/services/*}:enable"]),
    ),
    call(
        ServiceUsage,
        "ServiceUsage/DisableService",
        Needs("serviceusage.services.disable"),
        (Verb::POST, &["/v1/{name=projects/*/services/*}:disable"]),
    ),
    call(
        ServiceUsage,
        "ServiceUsage/BatchEnableServices",
        Needs("serviceusage.services.enable"),
        (Verb::POST, &["/v1/{parent=projects/*}/services:batchEnable"]),
    ),
    call(
        ServiceUsage,
        "Operations/GetOperation",
        Needs("serviceusage.operations.get"),
        (Verb::GET, &["/v1/{name=operations/*}"]),
    ),
    call(
        ResourceManager,
        "Projects/ListProjects",
        // On each project: the list has those that the caller may see.
        Needs("resourcemanager.projects.get"),
        (Verb::GET, &["/v1/projects"]),
    ),
    call(
        ResourceManager,
        "Projects/SearchProjects",
        Needs("resourcemanager.projects.get"),
        (Verb::GET, &["/v3/projects:search"]),
    ),
    call(
        ResourceManager,
        "Projects/GetProject",
        Needs("resourcemanager.projects.get"),
        (Verb::GET, &["/v1/projects/{name}", "/v3/{name=projects/*}"]),
    ),
    call(
        ResourceManager,
        "Projects/GetAncestry",
        Needs("resourcemanager.projects.get"),
        (Verb::POST, &["/v1/projects/{name}:getAncestry"]),
    ),
    call(
        ResourceManager,
        "Projects/GetIamPolicy",
        Needs("resourcemanager.projects.getIamPolicy"),
        project!("getIamPolicy"),
    ),
    call(
        ResourceManager,
        "Projects/SetIamPolicy",
        Needs("resourcemanager.projects.setIamPolicy"),
        project!("setIamPolicy"),
    ),
    call(ResourceManager, "Projects/TestIamPermissions", Free, project!("testIamPermissions")),
    call(
        Iam,
        "IAM/CreateServiceAccount",
        Needs("iam.serviceAccounts.create"),
        (Verb::POST, &["/v1/{name=projects/*}/serviceAccounts"]),
    ),
    call(
        Iam,
        "IAM/ListServiceAccounts",
        Needs("iam.serviceAccounts.list"),
        (Verb::GET, &["/v1/{name=projects/*}/serviceAccounts"]),
    ),
    call(
        Iam,
        "IAM/GetServiceAccount",
        Needs("iam.serviceAccounts.get"),
        (Verb::GET, &["/v1/{name=projects/*/serviceAccounts/*}"]),
    ),
    call(
        Iam,
        "IAM/PatchServiceAccount",
        Needs("iam.serviceAccounts.update"),
        (Verb::PATCH, &["/v1/{name=projects/*/serviceAccounts/*}"]),
    ),
    call(
        Iam,
        "IAM/UpdateServiceAccount",
        Needs("iam.serviceAccounts.update"),
        (Verb::PUT, &["/v1/{name=projects/*/serviceAccounts/*}"]),
    ),
    call(
        Iam,
        "IAM/DeleteServiceAccount",
        Needs("iam.serviceAccounts.delete"),
        (Verb::DELETE, &["/v1/{name=projects/*/serviceAccounts/*}"]),
    ),
    call(Iam, "IAM/EnableServiceAccount", Needs("iam.serviceAccounts.enable"), account!("name", "enable")),
    call(Iam, "IAM/DisableServiceAccount", Needs("iam.serviceAccounts.disable"), account!("name", "disable")),
    call(Iam, "IAM/GetIamPolicy", Needs("iam.serviceAccounts.getIamPolicy"), account!("resource", "getIamPolicy")),
    call(Iam, "IAM/SetIamPolicy", Needs("iam.serviceAccounts.setIamPolicy"), account!("resource", "setIamPolicy")),
    call(Iam, "IAM/TestIamPermissions", Free, account!("resource", "testIamPermissions")),
    call(Iam, "IAM/CreateRole", Needs("iam.roles.create"), (Verb::POST, &["/v1/{parent=projects/*}/roles"])),
    call(Iam, "IAM/ListRoles", Needs("iam.roles.list"), (Verb::GET, &["/v1/{parent=projects/*}/roles"])),
    call(Iam, "IAM/GetRole", Needs("iam.roles.get"), (Verb::GET, &["/v1/{name=projects/*/roles/*}"])),
    call(Iam, "IAM/UpdateRole", Needs("iam.roles.update"), (Verb::PATCH, &["/v1/{name=projects/*/roles/*}"])),
    call(Iam, "IAM/DeleteRole", Needs("iam.roles.delete"), (Verb::DELETE, &["/v1/{name=projects/*/roles/*}"])),
    call(
        Iam,
        "IAM/UndeleteRole",
        Needs("iam.roles.undelete"),
        (Verb::POST, &["/v1/{name=projects/*/roles/*}:undelete"]),
    ),
    // The predefined roles are of nobody, and the same for everybody; at Google the same two methods tell them.
    call(Iam, "IAM/ListRoles(predefined)", Free, (Verb::GET, &["/v1/roles"])),
    call(Iam, "IAM/GetRole(predefined)", Free, (Verb::GET, &["/v1/{name=roles/*}"])),
    call(
        Iam,
        "IAM/CreateServiceAccountKey",
        Needs("iam.serviceAccountKeys.create"),
        (Verb::POST, &["/v1/{name=projects/*/serviceAccounts/*}/keys"]),
    ),
    call(
        Iam,
        "IAM/UploadServiceAccountKey",
        // As documented: there is no permission of its own.
        Needs("iam.serviceAccountKeys.create"),
        (Verb::POST, &["/v1/{name=projects/*/serviceAccounts/*}/keys:upload"]),
    ),
    call(
        Iam,
        "IAM/ListServiceAccountKeys",
        Needs("iam.serviceAccountKeys.list"),
        (Verb::GET, &["/v1/{name=projects/*/serviceAccounts/*}/keys"]),
    ),
    call(Iam, "IAM/GetServiceAccountKey", Needs("iam.serviceAccountKeys.get"), key!(GET)),
    call(Iam, "IAM/DeleteServiceAccountKey", Needs("iam.serviceAccountKeys.delete"), key!(DELETE)),
    call(Iam, "IAM/EnableServiceAccountKey", Needs("iam.serviceAccountKeys.enable"), key!("enable")),
    call(Iam, "IAM/DisableServiceAccountKey", Needs("iam.serviceAccountKeys.disable"), key!("disable")),
    secret(
        IamCredentials,
        "IAMCredentials/GenerateAccessToken",
        Needs("iam.serviceAccounts.getAccessToken"),
        account!("name", "generateAccessToken"),
    ),
    secret(
        IamCredentials,
        "IAMCredentials/GenerateIdToken",
        Needs("iam.serviceAccounts.getOpenIdToken"),
        account!("name", "generateIdToken"),
    ),
    secret(IamCredentials, "IAMCredentials/SignJwt", Needs("iam.serviceAccounts.signJwt"), account!("name", "signJwt")),
    secret(
        IamCredentials,
        "IAMCredentials/SignBlob",
        Needs("iam.serviceAccounts.signBlob"),
        account!("name", "signBlob"),
    ),
    call(
        Logging,
        "LoggingServiceV2/ListLogEntries",
        Needs("logging.logEntries.list"),
        (Verb::POST, &["/v2/entries:list"]),
    ),
    call(
        Logging,
        "LoggingServiceV2/ListLogs",
        Needs("logging.logs.list"),
        (Verb::GET, &["/v2/{parent=projects/*}/logs"]),
    ),
];

/// The table's templates, taken apart once.
static TEMPLATES: LazyLock<Vec<(&'static Call, Template)>> = LazyLock::new(|| {
    let paths = CALLS.iter().flat_map(|call| call.rest.1.iter().map(move |path| (call, *path)));
    paths.map(|(call, path)| (call, Template::new(path))).collect()
});

/// Where a REST request leads. `path` is as on the wire, without query.
pub fn route(verb: &Verb, path: &str) -> Route {
    let prefix = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let api = APIS.into_iter().find(|api| api.prefix() == prefix);
    let path = match api {
        Some(_) => &path[prefix.len() + 1..],
        None => path,
    };
    let mut allowed = Vec::new();
    for (call, template) in TEMPLATES.iter().filter(|(call, _)| api.is_none_or(|api| call.api == api)) {
        let Some(captures) = template.matches(path) else { continue };
        if call.rest.0 == verb {
            return Route::Found(call, Fields(captures));
        }
        allowed.push(call.rest.0.clone());
    }
    match api {
        _ if !allowed.is_empty() => Route::WrongVerb(allowed),
        Some(api) => Route::Unknown(api),
        // Those of the method table are not ours to judge.
        None if method::prefixed(path).0.is_some() => Route::Elsewhere,
        None => match PREFIXES.into_iter().find(|name| *name == prefix && *name != "run") {
            Some(name) => Route::NotBuilt(name),
            None => Route::Elsewhere,
        },
    }
}

// === impl Api ===

impl Api {
    /// What its paths begin with where several APIs share a host; the name in gcloud's endpoint overrides.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::ServiceUsage => "serviceusage",
            Self::ResourceManager => "cloudresourcemanager",
            Self::Iam => "iam",
            Self::IamCredentials => "iamcredentials",
            Self::Logging => "logging",
        }
    }

    /// Whose errors its errors are.
    pub fn domain(self) -> &'static str {
        match self {
            Self::ServiceUsage => "serviceusage.googleapis.com",
            Self::ResourceManager => "cloudresourcemanager.googleapis.com",
            Self::Iam => "iam.googleapis.com",
            Self::IamCredentials => "iamcredentials.googleapis.com",
            Self::Logging => "logging.googleapis.com",
        }
    }
}

// === impl Fields ===

impl Fields {
    /// The resource that the path names, or its parent, as `projects/…`; empty when it names none.
    pub fn resource(&self) -> String {
        match self.0.first() {
            Some((_, name)) if name.starts_with("projects/") => name.clone(),
            // Version 1 of Resource Manager has the project's id alone.
            Some((_, project)) => format!("projects/{project}"),
            None => String::new(),
        }
    }

    /// The value of a field; empty when the path has none of this name.
    pub fn get(&self, field: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == field).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(path: &str) -> String {
        let filled = path.replace("{resource}", "p").replace("{name}", "p").replace('*', "x");
        filled.split(['{', '}']).map(|part| part.split_once('=').map_or(part, |(_, rest)| rest)).collect()
    }

    #[test]
    fn every_row_is_found_at_the_root_and_below_its_prefix_and_nothing_of_cloud_run_is_hidden() {
        for call in &CALLS {
            for path in call.rest.1 {
                let path = example(path);
                for path in [path.clone(), format!("/{}{path}", call.api.prefix())] {
                    let Route::Found(found, _) = route(&call.rest.0, &path) else { panic!("{path} leads nowhere") };
                    assert_eq!((found.api, found.name), (call.api, call.name), "{path}");
                }
                assert!(
                    matches!(method::route(None, &call.rest.0, &path), method::Route::Unknown),
                    "{path} is in the table"
                );
            }
            if let Needs(permission) = call.access {
                assert!(updraft_model::iam::known_permission(permission).is_some(), "{permission}");
            }
        }
        for method in method::methods() {
            for binding in method.bindings {
                let path = example(binding.path);
                let prefixed = format!("/{}{path}", method.product().prefix());
                assert!(matches!(route(&binding.verb, &path), Route::Elsewhere), "{path}");
                assert!(matches!(route(&binding.verb, &prefixed), Route::Elsewhere), "{prefixed}");
            }
        }
    }

    #[test]
    fn names_are_given_once_and_only_what_tells_nothing_of_others_is_free() {
        let names: std::collections::HashSet<_> = CALLS.iter().map(|call| (call.api, call.name)).collect();
        assert_eq!(names.len(), CALLS.len());
        let free = CALLS.iter().filter(|call| call.access == Free).map(|call| call.name);
        let expected = [
            "Projects/TestIamPermissions",
            "IAM/TestIamPermissions",
            "IAM/ListRoles(predefined)",
            "IAM/GetRole(predefined)",
        ];
        assert_eq!(free.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fields_verbs_and_apis_that_are_not_built_are_told_apart() {
        let Route::Found(_, fields) = route(&Verb::POST, "/v1/projects/google.com:demo:getIamPolicy") else {
            panic!("a project of an old domain")
        };
        assert_eq!((fields.get("resource"), fields.get("name")), ("google.com:demo", ""));
        assert_eq!(fields.resource(), "projects/google.com:demo");
        let Route::Found(_, fields) = route(&Verb::GET, "/v1/projects/p/services/run.googleapis.com") else {
            panic!("an API")
        };
        assert_eq!(fields.resource(), "projects/p/services/run.googleapis.com");
        let Route::WrongVerb(verbs) = route(&Verb::PUT, "/serviceusage/v1/projects/p/services/run.googleapis.com")
        else {
            panic!("the path exists")
        };
        assert_eq!(verbs, [Verb::GET]);
        assert!(matches!(route(&Verb::GET, "/logging/v1/projects"), Route::Unknown(Api::Logging)));
        assert!(matches!(route(&Verb::GET, "/pubsub/v1/x"), Route::NotBuilt("pubsub")));
        assert!(matches!(route(&Verb::GET, "/nothing"), Route::Elsewhere));
    }
}
