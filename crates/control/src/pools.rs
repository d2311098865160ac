//! Worker pools: the use cases, which are those of services with another message.

use updraft_api::{iam, longrunning::Operation, run};
use updraft_model::{Error, iam::Principal};

use crate::{
    Control, Mode,
    page::{PAGE_MAX, Wish},
    services::{Missing, Renewal, Update},
};

// === impl Control ===

impl Control {
    /// Creates a worker pool.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `PermissionDenied`, `ResourceExhausted` when the project
    /// has as many worker pools as it may.
    pub async fn worker_pools_create(
        &self,
        caller: &Principal,
        request: run::CreateWorkerPoolRequest,
    ) -> Result<Operation, Error> {
        let (pool, mode) = (request.worker_pool, Mode::of(request.validate_only));
        self.inner.create_at(caller, (&request.parent, &request.worker_pool_id), pool, mode).await
    }

    /// A worker pool.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn worker_pools_get(
        &self,
        caller: &Principal,
        request: run::GetWorkerPoolRequest,
    ) -> Result<run::WorkerPool, Error> {
        self.inner.got(caller, &request.name).await
    }

    /// Worker pools of a project and location, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size and for the location `-`; `PermissionDenied`.
    pub async fn worker_pools_list(
        &self,
        caller: &Principal,
        request: run::ListWorkerPoolsRequest,
    ) -> Result<run::ListWorkerPoolsResponse, Error> {
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let (worker_pools, next_page_token) =
            self.inner.listed(caller, (&request.parent, request.show_deleted), wish).await?;
        Ok(run::ListWorkerPoolsResponse { worker_pools, next_page_token })
    }

    /// Updates a worker pool, or creates it with `allow_missing`. With `force_new_revision` it gets a new revision also
    /// when its template does not change.
    ///
    /// # Errors
    /// As [`Control::worker_pools_create`]; `NotFound`; `Aborted` when the etag is not the current one;
    /// `FailedPrecondition` when a split names a revision that does not exist.
    pub async fn worker_pools_update(
        &self,
        caller: &Principal,
        request: run::UpdateWorkerPoolRequest,
    ) -> Result<Operation, Error> {
        let update = Update {
            sent: request.worker_pool,
            paths: request.update_mask.map(|mask| mask.paths).unwrap_or_default(),
            missing: Missing::of(request.allow_missing),
            renewal: if request.force_new_revision { Renewal::Always } else { Renewal::OnChange },
        };
        self.inner.update_sent(caller, update, Mode::of(request.validate_only)).await
    }

    /// Deletes a worker pool with all its revisions. From the moment this returns it cannot be got any more.
    ///
    /// # Errors
    /// `NotFound`, `Aborted` when the etag is not the current one, `PermissionDenied`.
    pub async fn worker_pools_delete(
        &self,
        caller: &Principal,
        request: run::DeleteWorkerPoolRequest,
    ) -> Result<Operation, Error> {
        let mode = Mode::of(request.validate_only);
        self.inner.delete::<run::WorkerPool>(caller, (&request.name, &request.etag), mode).await
    }

    /// The policy of a worker pool; an empty one if none was set.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a version that does not exist.
    pub async fn worker_pools_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        self.inner.policy_of::<run::WorkerPool>(caller, &request).await
    }

    /// Replaces the policy of a worker pool.
    ///
    /// # Errors
    /// As [`Control::services_set_iam_policy`].
    pub async fn worker_pools_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        self.inner.set_policy_of::<run::WorkerPool>(caller, &request).await
    }

    /// Which of some permissions the caller has on a worker pool. Needs none itself, and the pool need not exist.
    ///
    /// # Errors
    /// As [`Control::services_test_iam_permissions`].
    pub async fn worker_pools_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        self.inner.permissions_on::<run::WorkerPool>(caller, request).await
    }
}
