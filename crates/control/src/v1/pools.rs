//! Worker pools as objects.

use updraft_api::{
    run,
    v1::{Stored, WrittenWorkerPool},
};
use updraft_model::{Error, iam::Principal};

use super::{Found, Place, Wanted};
use crate::{Control, Mode};

// === impl Control ===

impl Control {
    /// Worker pools of a place, newest first.
    ///
    /// # Errors
    /// As [`Control::v1_services_list`].
    pub async fn v1_worker_pools_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::WorkerPool>>, Error> {
        self.inner.list_objects(caller, (place, "run.workerpools.list"), wanted).await
    }

    /// A worker pool.
    ///
    /// # Errors
    /// As [`Control::v1_services_get`].
    pub async fn v1_worker_pools_get(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
    ) -> Result<Stored<run::WorkerPool>, Error> {
        self.inner.object(caller, asked, "run.workerpools.get").await
    }

    /// Creates a worker pool.
    ///
    /// # Errors
    /// As [`Control::worker_pools_create`].
    pub async fn v1_worker_pools_create(
        &self,
        caller: &Principal,
        place: &Place,
        written: (&WrittenWorkerPool, Mode),
    ) -> Result<Stored<run::WorkerPool>, Error> {
        self.inner.create_object(caller, place, written).await
    }

    /// Replaces a worker pool: all that a client can set, nothing of what the server says.
    ///
    /// # Errors
    /// As [`Control::worker_pools_update`].
    pub async fn v1_worker_pools_replace(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        written: (&WrittenWorkerPool, Mode),
    ) -> Result<Stored<run::WorkerPool>, Error> {
        self.inner.replace_object(caller, asked, written).await
    }

    /// Deletes a worker pool; gives it as it was.
    ///
    /// # Errors
    /// As [`Control::worker_pools_delete`].
    pub async fn v1_worker_pools_delete(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<run::WorkerPool>, Error> {
        self.inner.delete_object(caller, asked, mode).await
    }
}
