//! How the audit log calls the methods, and which of them it has.
//!
//! Sources: the audit log pages of Cloud Run, IAM, Service Usage and Resource Manager. Google's APIs do not agree on how
//! a method is spelt; filters of those who search for them are written for these spellings.

use updraft_model::audit::AuditLog;

use crate::{around, method, v1::method::Method as V1};

/// A method, as the audit log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Whose it is: `run.googleapis.com`.
    pub service: &'static str,
    /// `google.cloud.run.v2.Services.CreateService`.
    pub method: String,
    /// Which log has it.
    pub log: AuditLog,
    /// Which of its calls.
    pub calls: Calls,
}

/// Which calls of a method are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calls {
    /// All of them.
    All,
    /// Those that the caller might not make.
    Denied,
}

/// What of a row is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// Reads only if they were denied; what changes something always.
    Denied,
    /// It gives out what is worth as much as a password: all its calls, as reads of data.
    Always,
}

const RUN: &str = "run.googleapis.com";

// === impl Audited ===

impl Audited {
    /// A method that needs `access`.
    pub fn new(service: &'static str, method: impl Into<String>, access: method::Access) -> Self {
        let (log, calls) = match access.is_write() {
            true => (AuditLog::Activity, Calls::All),
            false => (AuditLog::DataAccess, Calls::Denied),
        };
        Self { service, method: method.into(), log, calls }
    }

    /// A row of the method table.
    pub fn of(method: &method::Method) -> Self {
        let named = Self::new(method.product().domain(), method.name.replace('/', "."), method.access);
        named.with(method.reads)
    }

    /// A method of version 1.
    pub fn v1(method: V1, access: method::Access) -> Self {
        Self::new(RUN, v1_name(method), access)
    }

    /// A method of an API around Cloud Run.
    pub fn around(call: &around::Call) -> Self {
        Self::new(call.api.domain(), around_name(call), call.access).with(call.reads)
    }

    fn with(self, reads: Reads) -> Self {
        match reads {
            Reads::Denied => self,
            Reads::Always => Self { log: AuditLog::DataAccess, calls: Calls::All, ..self },
        }
    }
}

fn around_name(call: &around::Call) -> String {
    let name = call.name.split('(').next().unwrap_or_default();
    let method = name.split_once('/').map_or(name, |(_, method)| method);
    match call.api {
        around::Api::ServiceUsage if name.starts_with("Operations/") => {
            format!("google.longrunning.Operations.{method}")
        }
        around::Api::ServiceUsage => format!("google.api.serviceusage.v1.ServiceUsage.{method}"),
        around::Api::ResourceManager | around::Api::IamCredentials => method.to_owned(),
        around::Api::Iam => format!("google.iam.admin.v1.{}", method.replace("IamPolicy", "IAMPolicy")),
        around::Api::Logging => format!("google.logging.v2.LoggingServiceV2.{method}"),
    }
}

fn v1_name(method: V1) -> &'static str {
    match method {
        V1::ServicesList => "google.cloud.run.v1.Services.ListServices",
        V1::ServicesCreate => "google.cloud.run.v1.Services.CreateService",
        V1::ServicesGet => "google.cloud.run.v1.Services.GetService",
        V1::ServicesReplace => "google.cloud.run.v1.Services.ReplaceService",
        V1::ServicesDelete => "google.cloud.run.v1.Services.DeleteService",
        V1::ConfigurationsList => "google.cloud.run.v1.Configurations.ListConfigurations",
        V1::ConfigurationsGet => "google.cloud.run.v1.Configurations.GetConfiguration",
        V1::RoutesList => "google.cloud.run.v1.Routes.ListRoutes",
        V1::RoutesGet => "google.cloud.run.v1.Routes.GetRoute",
        V1::RevisionsList => "google.cloud.run.v1.Revisions.ListRevisions",
        V1::RevisionsGet => "google.cloud.run.v1.Revisions.GetRevision",
        V1::RevisionsDelete => "google.cloud.run.v1.Revisions.DeleteRevision",
        V1::DomainMappingsList => "google.cloud.run.v1.DomainMappings.ListDomainMappings",
        V1::DomainMappingsCreate => "google.cloud.run.v1.DomainMappings.CreateDomainMapping",
        V1::DomainMappingsGet => "google.cloud.run.v1.DomainMappings.GetDomainMapping",
        V1::DomainMappingsDelete => "google.cloud.run.v1.DomainMappings.DeleteDomainMapping",
        V1::AuthorizedDomainsList => "google.cloud.run.v1.AuthorizedDomains.ListAuthorizedDomains",
        V1::JobsList => "google.cloud.run.v1.Jobs.ListJobs",
        V1::JobsCreate => "google.cloud.run.v1.Jobs.CreateJob",
        V1::JobsGet => "google.cloud.run.v1.Jobs.GetJob",
        V1::JobsReplace => "google.cloud.run.v1.Jobs.ReplaceJob",
        V1::JobsDelete => "google.cloud.run.v1.Jobs.DeleteJob",
        V1::JobsRun => "google.cloud.run.v1.Jobs.RunJob",
        V1::ExecutionsList => "google.cloud.run.v1.Executions.ListExecutions",
        V1::ExecutionsGet => "google.cloud.run.v1.Executions.GetExecution",
        V1::ExecutionsDelete => "google.cloud.run.v1.Executions.DeleteExecution",
        V1::ExecutionsCancel => "google.cloud.run.v1.Executions.CancelExecution",
        V1::TasksList => "google.cloud.run.v1.Tasks.ListTasks",
        V1::TasksGet => "google.cloud.run.v1.Tasks.GetTask",
        V1::WorkerPoolsList => "google.cloud.run.v1.WorkerPools.ListWorkerPools",
        V1::WorkerPoolsCreate => "google.cloud.run.v1.WorkerPools.CreateWorkerPool",
        V1::WorkerPoolsGet => "google.cloud.run.v1.WorkerPools.GetWorkerPool",
        V1::WorkerPoolsReplace => "google.cloud.run.v1.WorkerPools.ReplaceWorkerPool",
        V1::WorkerPoolsDelete => "google.cloud.run.v1.WorkerPools.DeleteWorkerPool",
        V1::OperationsList => "google.longrunning.Operations.ListOperations",
        V1::OperationsGet => "google.longrunning.Operations.GetOperation",
        V1::OperationsDelete => "google.longrunning.Operations.DeleteOperation",
        V1::OperationsWait => "google.longrunning.Operations.WaitOperation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_spelt_as_in_googles_logs() {
        let v2 = method::find("google.cloud.run.v2.Services/CreateService").expect("it is served");
        let around = |name: &str| {
            let call = around::CALLS.iter().find(|call| call.name == name).expect("it is served");
            let Audited { service, method, log, calls } = Audited::around(call);
            (service, method, log, calls)
        };
        assert_eq!(Audited::of(v2).method, "google.cloud.run.v2.Services.CreateService");
        let access = method::find("google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion");
        let Audited { service, method, log, calls } = Audited::of(access.expect("it is served"));
        assert_eq!(service, "secretmanager.googleapis.com");
        assert_eq!(method, "google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion");
        assert_eq!((log, calls), (AuditLog::DataAccess, Calls::All));
        for (name, service, method, log, calls) in [
            (
                "Projects/SetIamPolicy",
                "cloudresourcemanager.googleapis.com",
                "SetIamPolicy",
                AuditLog::Activity,
                Calls::All,
            ),
            (
                "IAM/SetIamPolicy",
                "iam.googleapis.com",
                "google.iam.admin.v1.SetIAMPolicy",
                AuditLog::Activity,
                Calls::All,
            ),
            (
                "IAM/ListRoles(predefined)",
                "iam.googleapis.com",
                "google.iam.admin.v1.ListRoles",
                AuditLog::DataAccess,
                Calls::Denied,
            ),
            (
                "IAMCredentials/GenerateAccessToken",
                "iamcredentials.googleapis.com",
                "GenerateAccessToken",
                AuditLog::DataAccess,
                Calls::All,
            ),
            (
                "ServiceUsage/EnableService",
                "serviceusage.googleapis.com",
                "google.api.serviceusage.v1.ServiceUsage.EnableService",
                AuditLog::Activity,
                Calls::All,
            ),
        ] {
            assert_eq!(around(name), (service, method.to_owned(), log, calls));
        }
    }
}
