//! The archive's format: object names, manifest, keys, and the streams of zstd inside age.
//!
//! Knows neither AWS nor Postgres. All that is needed to restore is in the archive itself; see [`readme`] for the
//! commands by which a person restores without any code of ours.
//!
//! Bytes go in through a [`Sealer`] and come out through [`open`] or [`open_rows`]. Both are plain blocking code in
//! constant memory: about 4 MiB for compression, the chunk of [`CHUNK_BYTES`] that is being filled, and what the
//! caller's sink holds on to.

mod changes_layout;
mod copy_row;
mod differential;
mod differential_manifest;
mod digest;
mod explain;
#[cfg(test)]
mod fuzz;
mod heartbeat;
mod key_file;
mod keys;
mod manifest;
mod manifest_file;
mod manifest_seal;
mod message_head;
mod names;
mod numbered_rows;
mod open;
pub mod pgoutput;
mod readme;
mod readme_changes;
mod records;
mod recovery;
mod rows;
mod seal;
mod segment;
mod segment_manifest;
mod stored;

pub use age::secrecy::{ExposeSecret, SecretString};
pub use changes_layout::{ChangesKey, ChangesLayout};
pub use copy_row::CopyRow;
pub use differential::{
    DIFFERENTIAL_VERSION, DifferentialDecoder, DifferentialEnd, DifferentialRecord, DifferentialTable,
    DifferentialWriter,
};
pub use differential_manifest::{DifferentialBase, DifferentialManifest, ReachedTransaction};
pub use digest::{RowsHasher, TornRow};
pub use heartbeat::{HEARTBEAT_PREFIX, heartbeat_at, heartbeat_said};
pub use key_file::{KEY_FORMAT_VERSION, KeyFile, WrappedKey, wrap_for};
pub use keys::{BackupIdentity, InvalidRecipient, KeyError, Recipient};
pub use manifest::{
    Blobs, CopyText, FORMAT_VERSION, Manifest, Part, PreviousManifest, ServerFacts, StoredObject,
    ToolVersions,
};
pub use manifest_file::ManifestError;
pub use manifest_seal::{ManifestSeal, SealKey};
pub use message_head::{ChangeKind, MessageHead, StrangeMessage};
pub use names::{ArchiveLayout, Attempt, InvalidName};
pub use numbered_rows::NumberedRows;
pub use open::{Detector, OpenError, Opened, open};
pub use readme::{readme, restore_script};
pub use readme_changes::{changes_readme, read_script};
pub use recovery::RecoveryKey;
pub use rows::{RowsReader, open_rows};
pub use seal::{CHUNK_BYTES, Content, SealError, Sealed, Sealer, ZSTD_LEVEL, ZSTD_LEVELS, seal_bytes};
pub use segment::{SEGMENT_VERSION, SegmentDecoder, SegmentEnd, SegmentError, SegmentRecord, SegmentWriter};
pub use segment_manifest::{ChainManifest, ChainReason, PreviousChanges, SegmentManifest, TableChanges};
pub use stored::StoredHasher;
