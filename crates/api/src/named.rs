//! The protobuf names of the messages that are handled by type, and `Any`, which needs them.

use prost::Message;
use prost_types::Any;

use crate::{iam, location, longrunning, rpc, run, run_job, secretmanager};

/// A message that knows its name in the descriptors.
pub trait Named: Message + Default {
    /// The full name, such as `google.cloud.run.v2.Service`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ty = $name:literal;)*) => {
        $(impl Named for $message {
            const NAME: &'static str = $name;
        })*

        /// Every name above, for the test that holds them against the table.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

named! {
    iam::GetIamPolicyRequest = "google.iam.v1.GetIamPolicyRequest";
    iam::Policy = "google.iam.v1.Policy";
    iam::SetIamPolicyRequest = "google.iam.v1.SetIamPolicyRequest";
    iam::TestIamPermissionsRequest = "google.iam.v1.TestIamPermissionsRequest";
    iam::TestIamPermissionsResponse = "google.iam.v1.TestIamPermissionsResponse";
    location::GetLocationRequest = "google.cloud.location.GetLocationRequest";
    location::ListLocationsRequest = "google.cloud.location.ListLocationsRequest";
    location::ListLocationsResponse = "google.cloud.location.ListLocationsResponse";
    location::Location = "google.cloud.location.Location";
    longrunning::DeleteOperationRequest = "google.longrunning.DeleteOperationRequest";
    longrunning::GetOperationRequest = "google.longrunning.GetOperationRequest";
    longrunning::ListOperationsRequest = "google.longrunning.ListOperationsRequest";
    longrunning::ListOperationsResponse = "google.longrunning.ListOperationsResponse";
    longrunning::Operation = "google.longrunning.Operation";
    longrunning::WaitOperationRequest = "google.longrunning.WaitOperationRequest";
    rpc::BadRequest = "google.rpc.BadRequest";
    rpc::ErrorInfo = "google.rpc.ErrorInfo";
    rpc::RetryInfo = "google.rpc.RetryInfo";
    rpc::Status = "google.rpc.Status";
    run::CancelExecutionRequest = "google.cloud.run.v2.CancelExecutionRequest";
    run::CreateJobRequest = "google.cloud.run.v2.CreateJobRequest";
    run::CreateServiceRequest = "google.cloud.run.v2.CreateServiceRequest";
    run::CreateWorkerPoolRequest = "google.cloud.run.v2.CreateWorkerPoolRequest";
    run::DeleteExecutionRequest = "google.cloud.run.v2.DeleteExecutionRequest";
    run::DeleteJobRequest = "google.cloud.run.v2.DeleteJobRequest";
    run::DeleteRevisionRequest = "google.cloud.run.v2.DeleteRevisionRequest";
    run::DeleteServiceRequest = "google.cloud.run.v2.DeleteServiceRequest";
    run::DeleteWorkerPoolRequest = "google.cloud.run.v2.DeleteWorkerPoolRequest";
    run::Execution = "google.cloud.run.v2.Execution";
    run::GetExecutionRequest = "google.cloud.run.v2.GetExecutionRequest";
    run::GetJobRequest = "google.cloud.run.v2.GetJobRequest";
    run::GetRevisionRequest = "google.cloud.run.v2.GetRevisionRequest";
    run::GetServiceRequest = "google.cloud.run.v2.GetServiceRequest";
    run::GetTaskRequest = "google.cloud.run.v2.GetTaskRequest";
    run::GetWorkerPoolRequest = "google.cloud.run.v2.GetWorkerPoolRequest";
    run::Job = "google.cloud.run.v2.Job";
    run::ListExecutionsRequest = "google.cloud.run.v2.ListExecutionsRequest";
    run::ListExecutionsResponse = "google.cloud.run.v2.ListExecutionsResponse";
    run::ListJobsRequest = "google.cloud.run.v2.ListJobsRequest";
    run::ListJobsResponse = "google.cloud.run.v2.ListJobsResponse";
    run::ListRevisionsRequest = "google.cloud.run.v2.ListRevisionsRequest";
    run::ListRevisionsResponse = "google.cloud.run.v2.ListRevisionsResponse";
    run::ListServicesRequest = "google.cloud.run.v2.ListServicesRequest";
    run::ListServicesResponse = "google.cloud.run.v2.ListServicesResponse";
    run::ListTasksRequest = "google.cloud.run.v2.ListTasksRequest";
    run::ListTasksResponse = "google.cloud.run.v2.ListTasksResponse";
    run::ListWorkerPoolsRequest = "google.cloud.run.v2.ListWorkerPoolsRequest";
    run::ListWorkerPoolsResponse = "google.cloud.run.v2.ListWorkerPoolsResponse";
    run::Revision = "google.cloud.run.v2.Revision";
    run::Service = "google.cloud.run.v2.Service";
    run::Task = "google.cloud.run.v2.Task";
    run::UpdateJobRequest = "google.cloud.run.v2.UpdateJobRequest";
    run::UpdateServiceRequest = "google.cloud.run.v2.UpdateServiceRequest";
    run::UpdateWorkerPoolRequest = "google.cloud.run.v2.UpdateWorkerPoolRequest";
    run::WorkerPool = "google.cloud.run.v2.WorkerPool";
    run_job::RunJobRequest = "google.cloud.run.v2.RunJobRequest";
    secretmanager::AccessSecretVersionRequest = "google.cloud.secretmanager.v1.AccessSecretVersionRequest";
    secretmanager::AccessSecretVersionResponse = "google.cloud.secretmanager.v1.AccessSecretVersionResponse";
    secretmanager::AddSecretVersionRequest = "google.cloud.secretmanager.v1.AddSecretVersionRequest";
    secretmanager::CreateSecretRequest = "google.cloud.secretmanager.v1.CreateSecretRequest";
    secretmanager::DeleteSecretRequest = "google.cloud.secretmanager.v1.DeleteSecretRequest";
    secretmanager::DestroySecretVersionRequest = "google.cloud.secretmanager.v1.DestroySecretVersionRequest";
    secretmanager::DisableSecretVersionRequest = "google.cloud.secretmanager.v1.DisableSecretVersionRequest";
    secretmanager::EnableSecretVersionRequest = "google.cloud.secretmanager.v1.EnableSecretVersionRequest";
    secretmanager::GetSecretRequest = "google.cloud.secretmanager.v1.GetSecretRequest";
    secretmanager::GetSecretVersionRequest = "google.cloud.secretmanager.v1.GetSecretVersionRequest";
    secretmanager::ListSecretVersionsRequest = "google.cloud.secretmanager.v1.ListSecretVersionsRequest";
    secretmanager::ListSecretVersionsResponse = "google.cloud.secretmanager.v1.ListSecretVersionsResponse";
    secretmanager::ListSecretsRequest = "google.cloud.secretmanager.v1.ListSecretsRequest";
    secretmanager::ListSecretsResponse = "google.cloud.secretmanager.v1.ListSecretsResponse";
    secretmanager::Secret = "google.cloud.secretmanager.v1.Secret";
    secretmanager::SecretVersion = "google.cloud.secretmanager.v1.SecretVersion";
    secretmanager::UpdateSecretRequest = "google.cloud.secretmanager.v1.UpdateSecretRequest";
    () = "google.protobuf.Empty";
}

/// What comes before the name in a type URL.
const TYPE_URL: &str = "type.googleapis.com/";

/// `message` as an `Any`.
pub fn pack<M: Named>(message: &M) -> Any {
    Any { type_url: format!("{TYPE_URL}{}", M::NAME), value: message.encode_to_vec() }
}

/// The message in an `Any`; `None` when it is of another type or does not decode.
pub fn unpack<M: Named>(any: &Any) -> Option<M> {
    let name = any.type_url.rsplit('/').next()?;
    if name == M::NAME { M::decode(&any.value[..]).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_table() {
        for name in NAMES {
            assert!(crate::pool().get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn any_gives_back_only_the_type_that_went_in() {
        let any = pack(&run::GetServiceRequest { name: "n".to_owned() });
        assert_eq!(any.type_url, "type.googleapis.com/google.cloud.run.v2.GetServiceRequest");
        assert_eq!(unpack::<run::GetServiceRequest>(&any).map(|request| request.name), Some("n".to_owned()));
        assert_eq!(unpack::<run::Service>(&any), None);
    }
}
