//! The wire contract: messages, descriptors, ProtoJSON, field masks, the method table, error bodies,
//! and the views between the wire and `model`. No behaviour.

pub mod around;
pub mod audit;
mod descriptors;
pub mod json;
pub mod mask;
pub mod method;
mod named;
pub mod path;
pub mod run_job;
pub mod status;
pub mod v1;
pub mod view;

/// `google.cloud.location`.
pub use googleapis_tonic_google_cloud_location::google::cloud::location;
/// `google.cloud.run.v2`.
pub use googleapis_tonic_google_cloud_run_v2::google::cloud::run::v2 as run;
/// `google.cloud.secretmanager.v1`.
pub use googleapis_tonic_google_cloud_secretmanager_v1::google::cloud::secretmanager::v1 as secretmanager;
/// `google.iam.v1`.
pub use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
/// `google.longrunning`.
pub use googleapis_tonic_google_longrunning::google::longrunning;
/// `google.rpc`.
pub use googleapis_tonic_google_rpc::google::rpc;
/// `google.type`, as far as IAM needs it.
pub use googleapis_tonic_google_type::google::r#type;

pub use descriptors::{message, pool, reflection_set};
pub use named::{Named, pack, unpack};
