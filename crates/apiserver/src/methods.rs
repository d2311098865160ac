//! One handler per method: which use case stands behind which row of the method table.

use http::Response;
use updraft_api::method::Method;
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
                $($name => call.run(move |request| async move { control.$use_case(&caller, request).await }).await,)*
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
    "google.longrunning.Operations/ListOperations" => operations_list,
    "google.longrunning.Operations/GetOperation" => operations_get,
    "google.longrunning.Operations/DeleteOperation" => operations_delete,
    "google.longrunning.Operations/WaitOperation" => operations_wait,
    "google.cloud.location.Locations/ListLocations" => locations_list,
    "google.cloud.location.Locations/GetLocation" => locations_get,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_method_table_has_its_handler() {
        let rows: Vec<&str> = updraft_api::method::METHODS.iter().map(|method| method.name).collect();
        assert_eq!(rows, HANDLED);
    }
}
