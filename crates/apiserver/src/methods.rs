//! One handler per method: which use case stands behind which row of the method table.

use http::Response;
use updraft_api::method::Method;
use updraft_base::boxed;
use updraft_control::Control;
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{call::Call, respond::BoxBody};

macro_rules! handlers {
    ($($name:literal => $use_case:ident,)*) => {
        /// Answers a call of `method`: decode, one call of the control plane, encode.
        pub(crate) async fn serve<B: crate::call::AnyBody>(
            control: Control,
            caller: Principal,
            method: &'static Method,
            call: Call<B>,
        ) -> Response<BoxBody> {
            match method.name {
                $($name => {
                    let work = move || call.run(move |request| async move { control.$use_case(&caller, request).await });
                    boxed(work).await
                })*
                name => call.refuse(&Error::new(ErrorKind::Unimplemented, format!("{name} is not implemented"))),
            }
        }

        /// The methods that have a handler.
        #[cfg(test)]
        const HANDLED: &[&str] = &[$($name),*];
    };
}

handlers! {
    "google.cloud.run.v2.Services/CreateService" => services_create,
    "google.cloud.run.v2.Services/GetService" => services_get,
    "google.cloud.run.v2.Services/ListServices" => services_list,
    "google.cloud.run.v2.Services/UpdateService" => services_update,
    "google.cloud.run.v2.Services/DeleteService" => services_delete,
    "google.cloud.run.v2.Services/GetIamPolicy" => services_get_iam_policy,
    "google.cloud.run.v2.Services/SetIamPolicy" => services_set_iam_policy,
    "google.cloud.run.v2.Services/TestIamPermissions" => services_test_iam_permissions,
    "google.cloud.run.v2.Revisions/GetRevision" => revisions_get,
    "google.cloud.run.v2.Revisions/ListRevisions" => revisions_list,
    "google.cloud.run.v2.Revisions/DeleteRevision" => revisions_delete,
    "google.cloud.run.v2.Jobs/CreateJob" => jobs_create,
    "google.cloud.run.v2.Jobs/GetJob" => jobs_get,
    "google.cloud.run.v2.Jobs/ListJobs" => jobs_list,
    "google.cloud.run.v2.Jobs/UpdateJob" => jobs_update,
    "google.cloud.run.v2.Jobs/DeleteJob" => jobs_delete,
    "google.cloud.run.v2.Jobs/RunJob" => jobs_run,
    "google.cloud.run.v2.Jobs/GetIamPolicy" => jobs_get_iam_policy,
    "google.cloud.run.v2.Jobs/SetIamPolicy" => jobs_set_iam_policy,
    "google.cloud.run.v2.Jobs/TestIamPermissions" => jobs_test_iam_permissions,
    "google.cloud.run.v2.Executions/GetExecution" => executions_get,
    "google.cloud.run.v2.Executions/ListExecutions" => executions_list,
    "google.cloud.run.v2.Executions/DeleteExecution" => executions_delete,
    "google.cloud.run.v2.Executions/CancelExecution" => executions_cancel,
    "google.cloud.run.v2.Tasks/GetTask" => tasks_get,
    "google.cloud.run.v2.Tasks/ListTasks" => tasks_list,
    "google.cloud.run.v2.WorkerPools/CreateWorkerPool" => worker_pools_create,
    "google.cloud.run.v2.WorkerPools/GetWorkerPool" => worker_pools_get,
    "google.cloud.run.v2.WorkerPools/ListWorkerPools" => worker_pools_list,
    "google.cloud.run.v2.WorkerPools/UpdateWorkerPool" => worker_pools_update,
    "google.cloud.run.v2.WorkerPools/DeleteWorkerPool" => worker_pools_delete,
    "google.cloud.run.v2.WorkerPools/GetIamPolicy" => worker_pools_get_iam_policy,
    "google.cloud.run.v2.WorkerPools/SetIamPolicy" => worker_pools_set_iam_policy,
    "google.cloud.run.v2.WorkerPools/TestIamPermissions" => worker_pools_test_iam_permissions,
    "google.longrunning.Operations/ListOperations" => operations_list,
    "google.longrunning.Operations/GetOperation" => operations_get,
    "google.longrunning.Operations/DeleteOperation" => operations_delete,
    "google.longrunning.Operations/WaitOperation" => operations_wait,
    "google.cloud.location.Locations/ListLocations" => locations_list,
    "google.cloud.location.Locations/GetLocation" => locations_get,
    "google.cloud.secretmanager.v1.SecretManagerService/ListSecrets" => secrets_list,
    "google.cloud.secretmanager.v1.SecretManagerService/CreateSecret" => secrets_create,
    "google.cloud.secretmanager.v1.SecretManagerService/AddSecretVersion" => secret_versions_add,
    "google.cloud.secretmanager.v1.SecretManagerService/GetSecret" => secrets_get,
    "google.cloud.secretmanager.v1.SecretManagerService/UpdateSecret" => secrets_update,
    "google.cloud.secretmanager.v1.SecretManagerService/DeleteSecret" => secrets_delete,
    "google.cloud.secretmanager.v1.SecretManagerService/ListSecretVersions" => secret_versions_list,
    "google.cloud.secretmanager.v1.SecretManagerService/GetSecretVersion" => secret_versions_get,
    "google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion" => secret_versions_access,
    "google.cloud.secretmanager.v1.SecretManagerService/DisableSecretVersion" => secret_versions_disable,
    "google.cloud.secretmanager.v1.SecretManagerService/EnableSecretVersion" => secret_versions_enable,
    "google.cloud.secretmanager.v1.SecretManagerService/DestroySecretVersion" => secret_versions_destroy,
    "google.cloud.secretmanager.v1.SecretManagerService/SetIamPolicy" => secrets_set_iam_policy,
    "google.cloud.secretmanager.v1.SecretManagerService/GetIamPolicy" => secrets_get_iam_policy,
    "google.cloud.secretmanager.v1.SecretManagerService/TestIamPermissions" => secrets_test_iam_permissions,
    "google.cloud.scheduler.v1.CloudScheduler/ListJobs" => scheduled_jobs_list,
    "google.cloud.scheduler.v1.CloudScheduler/GetJob" => scheduled_jobs_get,
    "google.cloud.scheduler.v1.CloudScheduler/CreateJob" => scheduled_jobs_create,
    "google.cloud.scheduler.v1.CloudScheduler/UpdateJob" => scheduled_jobs_update,
    "google.cloud.scheduler.v1.CloudScheduler/DeleteJob" => scheduled_jobs_delete,
    "google.cloud.scheduler.v1.CloudScheduler/PauseJob" => scheduled_jobs_pause,
    "google.cloud.scheduler.v1.CloudScheduler/ResumeJob" => scheduled_jobs_resume,
    "google.cloud.scheduler.v1.CloudScheduler/RunJob" => scheduled_jobs_run,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_method_table_has_its_handler() {
        let rows: Vec<&str> = updraft_api::method::methods().map(|method| method.name).collect();
        assert_eq!(rows, HANDLED);
    }
}
