//! Manifests and indexes, Docker's and OCI's.

use std::collections::HashMap;

use serde::Deserialize;

use crate::{digest::Digest, error::ContentError};

/// Media types of manifests and indexes.
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A Docker v2 schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// All of them, in the order we like best.
    pub const ALL: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
}

/// The largest manifest accepted, in bytes; the distribution specification's own recommendation.
pub const MAX_MANIFEST: usize = 4 << 20;

/// The operating system images must be for.
pub const HOST_OS: &str = "linux";
/// The architecture images must be for, in Go's words.
pub const HOST_ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// What a manifest points to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content; empty when the manifest does not say.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// Where else the content may be had: only layers that must not be redistributed have it.
    #[serde(default)]
    pub urls: Vec<String>,
    /// What an entry of an index is for.
    pub platform: Option<Platform>,
    /// Free words about the content, such as its name in an OCI layout.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

/// An operating system and an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// In Go's words, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// In Go's words, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// A version of the architecture, such as `v8`; empty for the basic one.
    #[serde(default)]
    pub variant: String,
}

/// A parsed manifest.
#[derive(Debug, Clone)]
pub enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// Several images, for different platforms.
    Index(Index),
}

/// The manifest of one image.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageManifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

/// An index, or Docker's manifest list.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The entries.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

// === impl Descriptor ===

impl Descriptor {
    /// A descriptor of a manifest that nothing more is said of.
    pub(crate) fn of_manifest(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, urls: Vec::new(), platform: None, annotations: HashMap::new() }
    }
}

// === impl Platform ===

impl Platform {
    /// Is it the host's? Variants beyond the basic one may need a newer processor.
    fn is_host(&self) -> bool {
        self.os == HOST_OS && self.architecture == HOST_ARCHITECTURE
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

// === impl Manifest ===

impl Manifest {
    /// Parses a manifest and says its media type: `declared` (the `Content-Type`) when it is one we
    /// know, otherwise what the manifest says of itself or looks like.
    ///
    /// # Errors
    /// [`ContentError::ManifestInvalid`].
    pub fn parse(bytes: &[u8], declared: Option<&str>) -> Result<(Self, String), ContentError> {
        let invalid = |error: serde_json::Error| ContentError::ManifestInvalid(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(invalid)?;
        if head.schema_version != Some(2) {
            return Err(ContentError::ManifestInvalid("schemaVersion is not 2".to_owned()));
        }
        let shape = match (head.config.is_some(), head.manifests.is_some()) {
            (true, false) => media_type::OCI_MANIFEST,
            (false, true) => media_type::OCI_INDEX,
            _ => return Err(ContentError::ManifestInvalid("it has neither a config nor manifests".to_owned())),
        };
        // A generic or missing Content-Type says nothing; one that contradicts the manifest is an
        // attempt to make two readers see two things.
        let declared = declared.filter(|declared| media_type::ALL.contains(declared));
        if let (Some(declared), Some(own)) = (declared, head.media_type.as_deref())
            && declared != own
        {
            return Err(ContentError::ManifestInvalid(format!("it says {own}, but came as {declared}")));
        }
        let kind = declared.map(str::to_owned).or(head.media_type).unwrap_or_else(|| shape.to_owned());
        let is_index = matches!(kind.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST);
        if !media_type::ALL.contains(&kind.as_str()) {
            return Err(ContentError::ManifestInvalid(format!("media type {kind} is not supported")));
        }
        if is_index != (shape == media_type::OCI_INDEX) {
            return Err(ContentError::ManifestInvalid(format!("it does not have the shape of {kind}")));
        }
        let manifest = if is_index {
            Self::Index(serde_json::from_slice(bytes).map_err(invalid)?)
        } else {
            Self::Image(serde_json::from_slice(bytes).map_err(invalid)?)
        };
        Ok((manifest, kind))
    }
}

// === impl Index ===

impl Index {
    /// The entries to look at for an image that runs here, best first: exact platform without a
    /// variant, exact with one, then entries that do not say (nested indexes often do not).
    pub fn candidates(&self) -> Vec<&Descriptor> {
        let rank = |entry: &&Descriptor| match &entry.platform {
            Some(platform) if platform.is_host() => u8::from(!matches!(platform.variant.as_str(), "" | "v1" | "v8")),
            _ => 2,
        };
        let unsaid = |platform: &Platform| platform.os.is_empty() && platform.architecture.is_empty();
        let fits = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|p| p.is_host() || unsaid(p));
        let mut found: Vec<&Descriptor> = self.manifests.iter().filter(fits).collect();
        found.sort_by_key(rank);
        found
    }

    /// The platforms the entries are for, as a list for people. Attestations (`unknown/unknown`) are
    /// not images.
    pub fn platforms(&self) -> String {
        let mut names: Vec<String> = self
            .manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(Platform::to_string)
            .collect();
        names.dedup();
        if names.is_empty() { "no platform".to_owned() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(platform: &str) -> String {
        format!(r#"{{"mediaType":"{}","digest":"{D}","size":1{platform}}}"#, media_type::OCI_MANIFEST)
    }

    #[test]
    fn a_manifest_without_a_media_type_is_known_by_its_shape() {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entry(""));
        let (manifest, kind) = Manifest::parse(text.as_bytes(), None).expect("valid");
        assert!(matches!(manifest, Manifest::Index(_)));
        assert_eq!(kind, media_type::OCI_INDEX);
    }

    #[test]
    fn a_manifest_that_says_two_things_is_refused() {
        let image =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{}}}"#, media_type::OCI_MANIFEST, entry(""));
        assert!(Manifest::parse(image.as_bytes(), Some(media_type::OCI_MANIFEST)).is_ok());
        assert!(Manifest::parse(image.as_bytes(), Some(media_type::OCI_INDEX)).is_err());
        let both = format!(r#"{{"schemaVersion":2,"config":{},"manifests":[]}}"#, entry(""));
        for text in [both.as_str(), r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2}"#, "[]", ""] {
            assert!(Manifest::parse(text.as_bytes(), None).is_err(), "{text}");
        }
    }

    #[test]
    fn the_plain_variant_comes_first_and_attestations_never() {
        let platform = |os, arch, variant| {
            entry(&format!(r#","platform":{{"os":"{os}","architecture":"{arch}","variant":"{variant}"}}"#))
        };
        let text = format!(
            r#"{{"manifests":[{},{},{},{},{}]}}"#,
            entry(""),
            platform("linux", HOST_ARCHITECTURE, "v3"),
            platform("linux", HOST_ARCHITECTURE, ""),
            platform("linux", "s390x", ""),
            platform("unknown", "unknown", ""),
        );
        let index: Index = serde_json::from_str(&text).expect("valid");
        let variants: Vec<Option<&str>> =
            index.candidates().iter().map(|e| e.platform.as_ref().map(|p| p.variant.as_str())).collect();
        assert_eq!(variants, [Some(""), Some("v3"), None]);
        assert!(index.platforms().contains("linux/s390x") && !index.platforms().contains("unknown"));
    }
}
