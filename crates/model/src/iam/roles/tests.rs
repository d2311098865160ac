use super::*;
use crate::iam::known_permission;

#[test]
fn the_roles_are_sorted_and_have_only_permissions_of_the_catalogue() {
    assert!(ROLES.is_sorted_by(|a, b| a.name < b.name));
    for role in ROLES {
        assert_eq!(predefined_role(role.name), Some(role));
        for permission in role.permissions() {
            assert!(known_permission(permission).is_some(), "{}: {permission}", role.name);
        }
    }
}

#[test]
fn roles_reach_as_far_as_googles_do() {
    for (role, permission, granted) in [
        ("roles/owner", "resourcemanager.projects.setIamPolicy", true),
        ("roles/owner", "run.services.setIamPolicy", true),
        ("roles/owner", "iam.serviceAccounts.getAccessToken", false),
        ("roles/owner", "updraft.backups.create", false),
        ("roles/editor", "iam.serviceAccounts.create", true),
        ("roles/editor", "iam.serviceAccounts.actAs", true),
        ("roles/editor", "run.routes.invoke", true),
        ("roles/editor", "run.services.setIamPolicy", false),
        ("roles/editor", "resourcemanager.projects.setIamPolicy", false),
        ("roles/editor", "secretmanager.versions.access", false),
        ("roles/editor", "iam.roles.create", false),
        ("roles/viewer", "logging.logEntries.list", true),
        ("roles/viewer", "logging.privateLogEntries.list", false),
        ("roles/viewer", "serviceusage.services.enable", false),
        ("roles/viewer", "run.routes.invoke", false),
        ("roles/browser", "resourcemanager.projects.getIamPolicy", true),
        ("roles/browser", "run.services.get", false),
        ("roles/run.admin", "run.services.setIamPolicy", true),
        ("roles/run.admin", "iam.serviceAccounts.actAs", false),
        ("roles/run.admin", "logging.logEntries.list", false),
        ("roles/run.developer", "run.services.create", true),
        ("roles/run.developer", "run.services.setIamPolicy", false),
        ("roles/run.developer", "run.routes.invoke", true),
        ("roles/run.invoker", "run.routes.invoke", true),
        ("roles/run.invoker", "run.executions.cancel", false),
        ("roles/run.servicesInvoker", "run.jobs.run", false),
        ("roles/run.jobsExecutor", "run.jobs.runWithOverrides", false),
        ("roles/run.jobsExecutorWithOverrides", "run.jobs.runWithOverrides", true),
        ("roles/run.viewer", "run.services.getIamPolicy", true),
        ("roles/run.viewer", "run.services.update", false),
        ("roles/iam.serviceAccountUser", "iam.serviceAccounts.actAs", true),
        ("roles/iam.serviceAccountUser", "iam.serviceAccounts.getAccessToken", false),
        ("roles/iam.serviceAccountTokenCreator", "iam.serviceAccounts.actAs", false),
        ("roles/iam.serviceAccountOpenIdTokenCreator", "iam.serviceAccounts.getOpenIdToken", true),
        ("roles/iam.serviceAccountAdmin", "iam.serviceAccounts.actAs", false),
        ("roles/secretmanager.secretVersionManager", "secretmanager.versions.access", false),
        ("roles/secretmanager.secretAccessor", "secretmanager.secrets.get", false),
        ("roles/cloudscheduler.admin", "cloudscheduler.jobs.run", true),
        ("roles/cloudscheduler.admin", "iam.serviceAccounts.actAs", false),
        ("roles/cloudscheduler.jobRunner", "cloudscheduler.jobs.run", true),
        ("roles/cloudscheduler.jobRunner", "cloudscheduler.jobs.get", false),
        ("roles/cloudscheduler.viewer", "cloudscheduler.jobs.run", false),
        ("roles/editor", "cloudscheduler.jobs.create", true),
        ("roles/viewer", "cloudscheduler.jobs.pause", false),
        ("roles/resourcemanager.projectIamAdmin", "run.services.get", false),
        ("roles/nobody", "run.services.get", false),
        ("projects/p/roles/mine", "run.services.get", false),
    ] {
        assert_eq!(CustomRoles::default().grants(role, permission), granted, "{role} {permission}");
    }
}

#[test]
fn a_custom_role_grants_what_is_written_in_it_only() {
    let mut roles = CustomRoles::default();
    roles.insert("projects/p/roles/mine", ["run.services.get".to_owned()]);
    assert!(roles.grants("projects/p/roles/mine", "run.services.get"));
    assert!(!roles.grants("projects/p/roles/mine", "run.services.list"));
    assert!(!roles.grants("projects/q/roles/mine", "run.services.get"));
    assert!(roles.grants("roles/run.viewer", "run.services.list"));
}
