//! The resources that v1's clients write as objects.

use serde_json::Value;
use updraft_model::{Error, Violation};

use super::{Rest, read, schema, show};
use crate::run;

/// A resource that v1's clients write as an object.
pub trait Object: Clone + Default {
    /// The group with its version, such as `serving.knative.dev/v1`.
    const API_VERSION: &'static str;
    /// The kind, such as `Service`.
    const KIND: &'static str;

    /// The normal form of an object of this kind.
    ///
    /// # Errors
    /// `InvalidArgument` with one violation per field that does not exist or does not fit.
    fn normal(object: &Value) -> Result<Value, Error>;

    /// The message of an object in its normal form; what is wrong with its annotations goes to `found`.
    fn of_object(normal: &Value, found: &mut Vec<Violation>) -> Self;

    /// What of the object a client can set: the view that the rest is measured against. `rest` knows how secrets of
    /// other projects are called.
    fn intent(&self, rest: &Rest) -> Value;

    /// The message with this etag.
    #[must_use]
    fn with_etag(self, etag: &str) -> Self;

    /// The message with the template of `before`.
    #[must_use]
    fn with_template_of(self, before: &Self) -> Self;
}

// === impl Object ===

macro_rules! object {
    ($message:ty, $version:expr, $kind:expr, $fields:expr, $read:path, $intent:path) => {
        impl Object for $message {
            const API_VERSION: &'static str = $version;
            const KIND: &'static str = $kind;

            fn normal(object: &Value) -> Result<Value, Error> {
                schema::normal($fields, object)
            }

            fn of_object(normal: &Value, found: &mut Vec<Violation>) -> Self {
                $read(normal, found)
            }

            fn intent(&self, rest: &Rest) -> Value {
                $intent(self, rest)
            }

            fn with_etag(self, etag: &str) -> Self {
                Self { etag: etag.to_owned(), ..self }
            }

            fn with_template_of(self, before: &Self) -> Self {
                Self { template: before.template.clone(), ..self }
            }
        }
    };
}

object!(run::Service, show::SERVING, show::SERVICE, schema::SERVICE, read::service, show::intent_of_service);
object!(run::Job, show::RUN, show::JOB, schema::JOB, read::job, show::intent_of_job);
object!(
    run::WorkerPool,
    show::RUN,
    show::WORKER_POOL,
    schema::WORKER_POOL,
    read::worker_pool,
    show::intent_of_worker_pool
);
