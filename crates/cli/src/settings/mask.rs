//! Which fields changed.

use updraft_api::run::{Service, WorkerPool};

/// A message of which single fields can be written.
pub(super) trait Masked: Clone {
    /// The paths of the fields in which `self` and `after` differ.
    fn paths(&self, after: &Self) -> Vec<&'static str>;

    /// Only the fields of `paths`, its name and its etag, so that nothing else can be meant.
    fn narrowed(self, paths: &[&str]) -> Self;

    /// Says which client wrote it.
    fn sign(&mut self);
}

/// Fields of a message that this client changes: path in the mask, field.
macro_rules! masked {
    ($message:ty: $($path:literal => $field:ident,)*) => {
        impl Masked for $message {
            fn paths(&self, after: &Self) -> Vec<&'static str> {
                let mut paths = Vec::new();
                $(if self.$field != after.$field {
                    paths.push($path);
                })*
                paths
            }

            fn narrowed(self, paths: &[&str]) -> Self {
                Self {
                    $($field: if paths.contains(&$path) { self.$field } else { Default::default() },)*
                    name: self.name,
                    etag: self.etag,
                    ..Self::default()
                }
            }

            fn sign(&mut self) {
                CLIENT.clone_into(&mut self.client);
                VERSION.clone_into(&mut self.client_version);
            }
        }
    };
}

/// What this client calls itself.
pub(super) const CLIENT: &str = "updraft";
/// Its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

masked! { Service:
    "description" => description,
    "labels" => labels,
    "ingress" => ingress,
    "template" => template,
    "traffic" => traffic,
    "scaling" => scaling,
    "invokerIamDisabled" => invoker_iam_disabled,
    "client" => client,
    "clientVersion" => client_version,
}

masked! { WorkerPool:
    "description" => description,
    "labels" => labels,
    "template" => template,
    "instanceSplits" => instance_splits,
    "scaling" => scaling,
    "client" => client,
    "clientVersion" => client_version,
}

/// What changed from `before` to `after`, and its paths. The etag makes sure that it still is
/// `before` that is changed.
pub(super) fn changed<M: Masked>(before: &M, mut after: M) -> (M, Vec<&'static str>) {
    if !before.paths(&after).is_empty() {
        after.sign();
    }
    let paths = before.paths(&after);
    (after.narrowed(&paths), paths)
}
