//! The catalogue of permissions: what can be asked for, granted by a role, and needed by a method.

/// A permission, such as `run.services.create`.
pub type Permission = &'static str;

/// Every permission that this server knows, sorted: those of Cloud Run, also of what is not built here, and those of the
/// other APIs as far as a method or a role of this server is about them.
///
/// Sources: the IAM permissions reference of each product. Two groups are ours: `run.domainmappings.*`, since Google
/// publishes no permission for domain mappings, and `updraft.backups.create`.
pub const PERMISSIONS: &[Permission] = &[
    "artifactregistry.repositories.deleteArtifacts",
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.list",
    "artifactregistry.repositories.uploadArtifacts",
    "iam.roles.create",
    "iam.roles.delete",
    "iam.roles.get",
    "iam.roles.list",
    "iam.roles.undelete",
    "iam.roles.update",
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.delete",
    "iam.serviceAccountKeys.disable",
    "iam.serviceAccountKeys.enable",
    "iam.serviceAccountKeys.get",
    "iam.serviceAccountKeys.list",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.disable",
    "iam.serviceAccounts.enable",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.list",
    "iam.serviceAccounts.setIamPolicy",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
    "iam.serviceAccounts.undelete",
    "iam.serviceAccounts.update",
    "logging.logEntries.create",
    "logging.logEntries.list",
    "logging.logs.delete",
    "logging.logs.list",
    "logging.privateLogEntries.list",
    "monitoring.timeSeries.create",
    "monitoring.timeSeries.list",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.list",
    "resourcemanager.projects.setIamPolicy",
    "run.configurations.get",
    "run.configurations.list",
    "run.domainmappings.create",
    "run.domainmappings.delete",
    "run.domainmappings.get",
    "run.domainmappings.list",
    "run.executions.cancel",
    "run.executions.delete",
    "run.executions.get",
    "run.executions.list",
    "run.instances.create",
    "run.instances.delete",
    "run.instances.get",
    "run.instances.getIamPolicy",
    "run.instances.invoke",
    "run.instances.list",
    "run.instances.setIamPolicy",
    "run.instances.start",
    "run.instances.stop",
    "run.instances.update",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.getIamPolicy",
    "run.jobs.list",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.jobs.setIamPolicy",
    "run.jobs.update",
    "run.locations.list",
    "run.operations.delete",
    "run.operations.get",
    "run.operations.list",
    "run.revisions.delete",
    "run.revisions.get",
    "run.revisions.list",
    "run.routes.get",
    "run.routes.invoke",
    "run.routes.list",
    "run.services.create",
    "run.services.delete",
    "run.services.get",
    "run.services.getIamPolicy",
    "run.services.list",
    "run.services.setIamPolicy",
    "run.services.update",
    "run.tasks.get",
    "run.tasks.list",
    "run.workerpools.create",
    "run.workerpools.delete",
    "run.workerpools.get",
    "run.workerpools.getIamPolicy",
    "run.workerpools.list",
    "run.workerpools.setIamPolicy",
    "run.workerpools.update",
    "secretmanager.locations.get",
    "secretmanager.locations.list",
    "secretmanager.secrets.create",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.secrets.update",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
    "serviceusage.operations.get",
    "serviceusage.quotas.get",
    "serviceusage.quotas.update",
    "serviceusage.services.disable",
    "serviceusage.services.enable",
    "serviceusage.services.get",
    "serviceusage.services.list",
    "serviceusage.services.use",
    "updraft.backups.create",
    "updraft.keys.rotate",
];

/// The catalogue's entry for this name; `None` when there is none.
pub fn known_permission(name: &str) -> Option<Permission> {
    PERMISSIONS.binary_search(&name).ok().map(|index| PERMISSIONS[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permissions_are_sorted_told_once_and_of_three_words() {
        assert!(PERMISSIONS.is_sorted_by(|a, b| a < b));
        for permission in PERMISSIONS {
            assert_eq!(permission.split('.').filter(|word| !word.is_empty()).count(), 3, "{permission}");
            assert_eq!(known_permission(permission), Some(*permission));
        }
        assert_eq!(known_permission("run.services.fly"), None);
    }
}
