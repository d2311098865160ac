//! Images: references, content by digest, pulling, unpacking, loading.
//!
//! [`ImageStore`] is the whole of it: `resolve` fixes a tag to a digest, `fetch` brings the blobs
//! here, `rootfs` unpacks them. Its [`ContentStore`] is also what the embedded registry pushes to and
//! pulls from, so an image that was pushed here is deployed without a copy.
//!
//! ```text
//! DIR/blobs/sha256/ab/abcd…      content, by digest, whole and verified
//! DIR/uploads/…                  on its way in; emptied at start
//! DIR/sessions/…                 on its way in over several requests; outlives the server
//! DIR/repositories/…             names of the embedded registry (see `repository`)
//! DIR/pulled/…                   what was fetched from other registries
//! DIR/layers/<diff id>/          unpacked, shared between images
//! DIR/FORMAT                     the number of this layout (see `layout`)
//! ```

mod collect;
mod config;
mod content;
mod credentials;
mod digest;
mod error;
mod fill;
mod flight;
mod hold;
mod inventory;
mod layers;
mod layout;
mod load;
mod local;
mod manifest;
mod reference;
mod referrers;
mod remote;
mod repository;
mod session;
mod space;
mod store;
mod transport;
mod unpack;
mod upload;

pub use collect::{Collected, ListedImage};
pub use config::{ExposedPort, ImageConfig};
pub use content::ContentStore;
pub use digest::{Digest, DigestError};
pub use error::{ContentError, ImageError, UnfitKind};
pub use hold::Hold;
pub use inventory::{Inventory, StoredBlob, StoredName};
pub use layout::{LAYOUT, Stray, StrayKind, strays};
pub use load::LoadedImage;
pub use manifest::{
    Descriptor, HOST_ARCHITECTURE, HOST_OS, ImageManifest, Index, MAX_MANIFEST, Manifest, Platform, media_type,
};
pub use reference::{DEFAULT_TAG, DOCKER_HUB, Reference, check_repository, check_tag};
pub use referrers::{Referrers, ReferrersQuery};
pub use repository::{ManifestName, ManifestPush, PushedManifest, StoredManifest};
pub use space::{check_space, is_full};
pub use store::{ImageStore, ImageStoreConfig, LOCAL_REGISTRY, Rootfs};
pub use unpack::{Hides, UnpackLimits};
pub use upload::Upload;
