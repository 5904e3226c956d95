//! Copies of backups.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::{BackupId, LocationId, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// Being copied.
    Copying,
    /// Every object was checked there.
    Verified,
    /// Given up.
    Failed,
}

/// The state of one copy.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRecord {
    /// The backup.
    pub backup_id: BackupId,
    /// The location.
    pub location_id: LocationId,
    /// Its region.
    pub region: String,
    /// How far it is.
    pub state: CopyState,
    /// From 0 to 1.
    pub progress: f64,
    /// SHA-256 of the copied manifest, once verified.
    pub checksum: Option<String>,
    /// What went wrong, sanitised.
    pub error: Option<String>,
    /// When this was so.
    pub at: Timestamp,
}

/// Copies of backups in other places.
#[async_trait]
pub trait Copies: Send + Sync {
    /// Writes the state; each write with [`CopyState::Copying`] at progress 0 counts one attempt.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn record_copy(&self, copy: &CopyRecord) -> Result<(), CatalogError>;
}
