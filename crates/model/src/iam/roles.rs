//! Roles: which permissions each of Google's predefined roles has, written out one by one, and those that projects make.
//!
//! Nothing here is derived from the form of a name: a permission that is new belongs to no role until somebody puts it
//! there. What a role has at Google of products that are not here is left out.
//! Source: the IAM roles reference, as of August 2026.

use std::collections::{BTreeMap, BTreeSet};

use super::Permission;

/// A predefined role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Its name, such as `roles/run.admin`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it has, in groups that roles share.
    pub groups: &'static [&'static [Permission]],
}

/// What the custom roles of some projects grant, by their full names (`projects/demo/roles/deployer`). Only those that are
/// in force are here: none that is deleted or disabled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomRoles(BTreeMap<String, BTreeSet<String>>);

const PROJECT: &[Permission] = &["resourcemanager.projects.get", "resourcemanager.projects.list"];
const PROJECT_GET: &[Permission] = &["resourcemanager.projects.get"];
const PROJECT_POLICY: &[Permission] = &["resourcemanager.projects.getIamPolicy"];
const PROJECT_POLICY_SET: &[Permission] = &["resourcemanager.projects.setIamPolicy"];

const RUN_VIEW: &[Permission] = &[
    "run.configurations.get",
    "run.configurations.list",
    "run.domainmappings.get",
    "run.domainmappings.list",
    "run.executions.get",
    "run.executions.list",
    "run.instances.get",
    "run.instances.getIamPolicy",
    "run.instances.list",
    "run.jobs.get",
    "run.jobs.getIamPolicy",
    "run.jobs.list",
    "run.locations.list",
    "run.operations.get",
    "run.operations.list",
    "run.revisions.get",
    "run.revisions.list",
    "run.routes.get",
    "run.routes.list",
    "run.services.get",
    "run.services.getIamPolicy",
    "run.services.list",
    "run.tasks.get",
    "run.tasks.list",
    "run.workerpools.get",
    "run.workerpools.getIamPolicy",
    "run.workerpools.list",
];
const RUN_CHANGE: &[Permission] = &[
    "run.domainmappings.create",
    "run.domainmappings.delete",
    "run.executions.cancel",
    "run.executions.delete",
    "run.instances.create",
    "run.instances.delete",
    "run.instances.invoke",
    "run.instances.start",
    "run.instances.stop",
    "run.instances.update",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.jobs.update",
    "run.operations.delete",
    "run.revisions.delete",
    "run.routes.invoke",
    "run.services.create",
    "run.services.delete",
    "run.services.update",
    "run.workerpools.create",
    "run.workerpools.delete",
    "run.workerpools.update",
];
const RUN_POLICY_SET: &[Permission] = &[
    "run.instances.setIamPolicy",
    "run.jobs.setIamPolicy",
    "run.services.setIamPolicy",
    "run.workerpools.setIamPolicy",
];

const ACCOUNT_GET: &[Permission] = &["iam.serviceAccounts.get", "iam.serviceAccounts.list"];
const ACCOUNT_POLICY: &[Permission] = &["iam.serviceAccounts.getIamPolicy"];
const ACCOUNT_POLICY_SET: &[Permission] = &["iam.serviceAccounts.setIamPolicy"];
const ACCOUNT_ACT: &[Permission] = &["iam.serviceAccounts.actAs"];
const ACCOUNT_CHANGE: &[Permission] = &[
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.disable",
    "iam.serviceAccounts.enable",
    "iam.serviceAccounts.update",
];
const ACCOUNT_UNDELETE: &[Permission] = &["iam.serviceAccounts.undelete"];
const ACCOUNT_OPEN_ID: &[Permission] = &["iam.serviceAccounts.getOpenIdToken"];
const ACCOUNT_TOKENS: &[Permission] = &[
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
];
const KEY_GET: &[Permission] = &["iam.serviceAccountKeys.get", "iam.serviceAccountKeys.list"];
const KEY_CHANGE: &[Permission] = &[
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.delete",
    "iam.serviceAccountKeys.disable",
    "iam.serviceAccountKeys.enable",
];
const ROLE_GET: &[Permission] = &["iam.roles.get", "iam.roles.list"];
const ROLE_CHANGE: &[Permission] = &["iam.roles.create", "iam.roles.delete", "iam.roles.undelete", "iam.roles.update"];

const LOG_VIEW: &[Permission] = &["logging.logEntries.list", "logging.logs.list"];
const LOG_WRITE: &[Permission] = &["logging.logEntries.create"];
const LOG_DELETE: &[Permission] = &["logging.logs.delete"];
const LOG_PRIVATE: &[Permission] = &["logging.privateLogEntries.list"];

const METRIC_VIEW: &[Permission] = &["monitoring.timeSeries.list"];
const METRIC_WRITE: &[Permission] = &["monitoring.timeSeries.create"];

const IMAGE_VIEW: &[Permission] = &[
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.list",
];
const IMAGE_UPLOAD: &[Permission] = &["artifactregistry.repositories.uploadArtifacts"];
const IMAGE_DELETE: &[Permission] = &["artifactregistry.repositories.deleteArtifacts"];

const SECRET_VIEW: &[Permission] = &[
    "secretmanager.locations.get",
    "secretmanager.locations.list",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
];
const SECRET_CHANGE: &[Permission] =
    &["secretmanager.secrets.create", "secretmanager.secrets.delete", "secretmanager.secrets.update"];
const SECRET_POLICY_SET: &[Permission] = &["secretmanager.secrets.setIamPolicy"];
const VERSION_GET: &[Permission] = &["secretmanager.versions.get", "secretmanager.versions.list"];
const VERSION_ADD: &[Permission] = &["secretmanager.versions.add"];
const VERSION_CHANGE: &[Permission] =
    &["secretmanager.versions.destroy", "secretmanager.versions.disable", "secretmanager.versions.enable"];
const VERSION_ACCESS: &[Permission] = &["secretmanager.versions.access"];

const SCHEDULE_VIEW: &[Permission] = &[
    "cloudscheduler.jobs.get",
    "cloudscheduler.jobs.list",
    "cloudscheduler.locations.get",
    "cloudscheduler.locations.list",
];
const SCHEDULE_CHANGE: &[Permission] = &[
    "cloudscheduler.jobs.create",
    "cloudscheduler.jobs.delete",
    "cloudscheduler.jobs.enable",
    "cloudscheduler.jobs.pause",
    "cloudscheduler.jobs.update",
];
const SCHEDULE_RUN: &[Permission] = &["cloudscheduler.jobs.run"];

const USAGE_VIEW: &[Permission] = &[
    "serviceusage.operations.get",
    "serviceusage.quotas.get",
    "serviceusage.services.get",
    "serviceusage.services.list",
];
const USAGE_USE: &[Permission] = &["serviceusage.services.use"];
const USAGE_CHANGE: &[Permission] =
    &["serviceusage.quotas.update", "serviceusage.services.disable", "serviceusage.services.enable"];
/// What those who deploy from source see of Service Usage: no operations.
const USAGE_LOOK: &[Permission] =
    &["serviceusage.quotas.get", "serviceusage.services.get", "serviceusage.services.list"];

const fn role(name: &'static str, title: &'static str, groups: &'static [&'static [Permission]]) -> Role {
    Role { name, title, groups }
}

/// Every predefined role that this server knows, sorted by name.
pub static ROLES: &[Role] = &[
    role("roles/artifactregistry.reader", "Artifact Registry Reader", &[IMAGE_VIEW]),
    role(
        "roles/artifactregistry.repoAdmin",
        "Artifact Registry Repository Administrator",
        &[IMAGE_VIEW, IMAGE_UPLOAD, IMAGE_DELETE],
    ),
    role("roles/artifactregistry.writer", "Artifact Registry Writer", &[IMAGE_VIEW, IMAGE_UPLOAD]),
    role("roles/browser", "Browser", &[PROJECT, PROJECT_POLICY]),
    role(
        "roles/cloudscheduler.admin",
        "Cloud Scheduler Admin",
        &[SCHEDULE_VIEW, SCHEDULE_CHANGE, SCHEDULE_RUN, PROJECT],
    ),
    role("roles/cloudscheduler.jobRunner", "Cloud Scheduler Job Runner", &[SCHEDULE_RUN]),
    role("roles/cloudscheduler.viewer", "Cloud Scheduler Viewer", &[SCHEDULE_VIEW, PROJECT]),
    role(
        "roles/editor",
        "Editor",
        &[
            PROJECT,
            PROJECT_POLICY,
            RUN_VIEW,
            RUN_CHANGE,
            ACCOUNT_GET,
            ACCOUNT_POLICY,
            ACCOUNT_ACT,
            ACCOUNT_CHANGE,
            KEY_GET,
            KEY_CHANGE,
            ROLE_GET,
            LOG_VIEW,
            LOG_WRITE,
            LOG_DELETE,
            METRIC_VIEW,
            METRIC_WRITE,
            IMAGE_VIEW,
            IMAGE_UPLOAD,
            IMAGE_DELETE,
            SECRET_VIEW,
            SECRET_CHANGE,
            VERSION_GET,
            VERSION_ADD,
            VERSION_CHANGE,
            SCHEDULE_VIEW,
            SCHEDULE_CHANGE,
            SCHEDULE_RUN,
            USAGE_VIEW,
            USAGE_USE,
            USAGE_CHANGE,
        ],
    ),
    role("roles/iam.roleAdmin", "Role Administrator", &[ROLE_GET, ROLE_CHANGE, PROJECT_GET, PROJECT_POLICY]),
    role("roles/iam.roleViewer", "Role Viewer", &[ROLE_GET, PROJECT_GET, PROJECT_POLICY]),
    role(
        "roles/iam.serviceAccountAdmin",
        "Service Account Admin",
        &[ACCOUNT_GET, ACCOUNT_POLICY, ACCOUNT_POLICY_SET, ACCOUNT_CHANGE, ACCOUNT_UNDELETE, PROJECT],
    ),
    role(
        "roles/iam.serviceAccountCreator",
        "Create Service Accounts",
        &[&["iam.serviceAccounts.create"], ACCOUNT_GET, PROJECT],
    ),
    role(
        "roles/iam.serviceAccountDeleter",
        "Delete Service Accounts",
        &[&["iam.serviceAccounts.delete"], ACCOUNT_GET, PROJECT],
    ),
    role("roles/iam.serviceAccountKeyAdmin", "Service Account Key Admin", &[KEY_GET, KEY_CHANGE, ACCOUNT_GET, PROJECT]),
    role(
        "roles/iam.serviceAccountOpenIdTokenCreator",
        "Service Account OpenID Connect Identity Token Creator",
        &[ACCOUNT_OPEN_ID],
    ),
    role(
        "roles/iam.serviceAccountTokenCreator",
        "Service Account Token Creator",
        &[ACCOUNT_GET, ACCOUNT_OPEN_ID, ACCOUNT_TOKENS, PROJECT],
    ),
    role("roles/iam.serviceAccountUser", "Service Account User", &[ACCOUNT_ACT, ACCOUNT_GET, PROJECT]),
    role("roles/iam.serviceAccountViewer", "View Service Accounts", &[ACCOUNT_GET, ACCOUNT_POLICY, KEY_GET, PROJECT]),
    role("roles/logging.admin", "Logging Admin", &[LOG_VIEW, LOG_WRITE, LOG_DELETE, LOG_PRIVATE, PROJECT]),
    role("roles/logging.logWriter", "Logs Writer", &[LOG_WRITE]),
    role("roles/logging.privateLogViewer", "Private Logs Viewer", &[LOG_VIEW, LOG_PRIVATE, PROJECT_GET]),
    role("roles/logging.viewer", "Logs Viewer", &[LOG_VIEW, PROJECT_GET]),
    role("roles/monitoring.viewer", "Monitoring Viewer", &[METRIC_VIEW]),
    role(
        "roles/owner",
        "Owner",
        // Not the tokens of service accounts: an owner gives that right first, to be seen in the policy.
        &[
            PROJECT,
            PROJECT_POLICY,
            PROJECT_POLICY_SET,
            RUN_VIEW,
            RUN_CHANGE,
            RUN_POLICY_SET,
            ACCOUNT_GET,
            ACCOUNT_POLICY,
            ACCOUNT_POLICY_SET,
            ACCOUNT_ACT,
            ACCOUNT_CHANGE,
            ACCOUNT_UNDELETE,
            KEY_GET,
            KEY_CHANGE,
            ROLE_GET,
            ROLE_CHANGE,
            LOG_VIEW,
            LOG_WRITE,
            LOG_DELETE,
            LOG_PRIVATE,
            METRIC_VIEW,
            METRIC_WRITE,
            IMAGE_VIEW,
            IMAGE_UPLOAD,
            IMAGE_DELETE,
            SECRET_VIEW,
            SECRET_CHANGE,
            SECRET_POLICY_SET,
            VERSION_GET,
            VERSION_ADD,
            VERSION_CHANGE,
            VERSION_ACCESS,
            SCHEDULE_VIEW,
            SCHEDULE_CHANGE,
            SCHEDULE_RUN,
            USAGE_VIEW,
            USAGE_USE,
            USAGE_CHANGE,
        ],
    ),
    role(
        "roles/resourcemanager.projectIamAdmin",
        "Project IAM Admin",
        &[PROJECT_GET, PROJECT_POLICY, PROJECT_POLICY_SET],
    ),
    role("roles/run.admin", "Cloud Run Admin", &[RUN_VIEW, RUN_CHANGE, RUN_POLICY_SET, PROJECT]),
    role(
        "roles/run.builder",
        "Cloud Run Builder",
        &[
            &["artifactregistry.repositories.downloadArtifacts", "logging.logEntries.create"],
            IMAGE_UPLOAD,
            IMAGE_DELETE,
        ],
    ),
    role("roles/run.developer", "Cloud Run Developer", &[RUN_VIEW, RUN_CHANGE, PROJECT]),
    role("roles/run.invoker", "Cloud Run Invoker", &[&["run.instances.invoke", "run.jobs.run", "run.routes.invoke"]]),
    role("roles/run.jobsExecutor", "Cloud Run Jobs Executor", &[&["run.executions.cancel", "run.jobs.run"]]),
    role(
        "roles/run.jobsExecutorWithOverrides",
        "Cloud Run Jobs Executor With Overrides",
        &[&["run.executions.cancel", "run.jobs.run", "run.jobs.runWithOverrides"]],
    ),
    role("roles/run.servicesInvoker", "Cloud Run Service Invoker", &[&["run.routes.invoke"]]),
    role(
        "roles/run.sourceDeveloper",
        "Cloud Run Source Developer",
        &[RUN_VIEW, RUN_CHANGE, IMAGE_VIEW, USAGE_LOOK, USAGE_USE, PROJECT],
    ),
    role(
        "roles/run.sourceViewer",
        "Cloud Run Source Viewer",
        &[RUN_VIEW, &["artifactregistry.repositories.get", "artifactregistry.repositories.list"], USAGE_LOOK, PROJECT],
    ),
    role("roles/run.viewer", "Cloud Run Viewer", &[RUN_VIEW, PROJECT]),
    role(
        "roles/secretmanager.admin",
        "Secret Manager Admin",
        &[
            SECRET_VIEW,
            SECRET_CHANGE,
            SECRET_POLICY_SET,
            VERSION_GET,
            VERSION_ADD,
            VERSION_CHANGE,
            VERSION_ACCESS,
            PROJECT,
        ],
    ),
    role("roles/secretmanager.secretAccessor", "Secret Manager Secret Accessor", &[VERSION_ACCESS, PROJECT]),
    role("roles/secretmanager.secretVersionAdder", "Secret Manager Secret Version Adder", &[VERSION_ADD, PROJECT]),
    role(
        "roles/secretmanager.secretVersionManager",
        "Secret Manager Secret Version Manager",
        &[VERSION_GET, VERSION_ADD, VERSION_CHANGE, PROJECT],
    ),
    role("roles/secretmanager.viewer", "Secret Manager Viewer", &[SECRET_VIEW, VERSION_GET, PROJECT]),
    role(
        "roles/serviceusage.serviceUsageAdmin",
        "Service Usage Admin",
        &[USAGE_VIEW, USAGE_USE, USAGE_CHANGE, METRIC_VIEW],
    ),
    role("roles/serviceusage.serviceUsageConsumer", "Service Usage Consumer", &[USAGE_VIEW, USAGE_USE, METRIC_VIEW]),
    role("roles/serviceusage.serviceUsageViewer", "Service Usage Viewer", &[USAGE_VIEW, METRIC_VIEW]),
    role(
        "roles/viewer",
        "Viewer",
        &[
            PROJECT,
            PROJECT_POLICY,
            RUN_VIEW,
            ACCOUNT_GET,
            ACCOUNT_POLICY,
            KEY_GET,
            ROLE_GET,
            LOG_VIEW,
            METRIC_VIEW,
            IMAGE_VIEW,
            SECRET_VIEW,
            VERSION_GET,
            SCHEDULE_VIEW,
            USAGE_VIEW,
        ],
    ),
];

/// The predefined role of this name.
pub fn predefined_role(name: &str) -> Option<&'static Role> {
    ROLES.binary_search_by(|role| role.name.cmp(name)).ok().map(|index| &ROLES[index])
}

// === impl Role ===

impl Role {
    /// Does it have this permission?
    pub fn grants(&self, permission: &str) -> bool {
        self.groups.iter().any(|group| group.contains(&permission))
    }

    /// What it has, sorted.
    pub fn permissions(&self) -> Vec<Permission> {
        let all: BTreeSet<Permission> = self.groups.iter().flat_map(|group| group.iter().copied()).collect();
        all.into_iter().collect()
    }
}

// === impl CustomRoles ===

impl CustomRoles {
    /// Adds a role that is in force, with what it grants.
    pub fn insert(&mut self, name: impl Into<String>, permissions: impl IntoIterator<Item = String>) {
        self.0.insert(name.into(), permissions.into_iter().collect());
    }

    /// Those that grant a permission.
    #[must_use]
    pub fn granting(&self, permission: &str) -> Self {
        Self(self.0.iter().filter(|(_, has)| has.contains(permission)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Does the role of this name, predefined or one of these, grant a permission? One that is not known grants nothing.
    pub fn grants(&self, role: &str, permission: &str) -> bool {
        match self.0.get(role) {
            Some(permissions) => permissions.contains(permission),
            None => predefined_role(role).is_some_and(|role| role.grants(permission)),
        }
    }
}

#[cfg(test)]
mod tests;
