//! The archive's format: object names, manifest, keys, and the streams of zstd inside age.
//!
//! Knows neither AWS nor Postgres. All that is needed to restore is in the archive itself; see [`readme`] for the
//! commands by which a person restores without any code of ours.

mod manifest;
mod names;

pub use manifest::{
    Blobs, CopyText, Coverage, FORMAT_VERSION, Manifest, ManifestError, Part, ServerFacts, StoredObject,
    ToolVersions, Uncovered,
};
pub use names::{ArchiveLayout, Attempt, InvalidName};
