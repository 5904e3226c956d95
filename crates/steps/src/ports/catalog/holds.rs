//! Holders of snapshots.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::{ExecutionRowId, Timestamp};

/// The newest holder of a run's snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveHold {
    /// 1 for the first holder; grows with each that takes over.
    pub relay_number: u32,
    /// Name to import.
    pub snapshot_name: String,
    /// When its holder will end by itself.
    pub ends_at: Timestamp,
}

/// Who holds a run's snapshot, and whether it is still needed.
#[async_trait]
pub trait Holds: Send + Sync {
    /// Announces a holder; returns its relay number. After the release the number stands for no hold: it is never
    /// current, and its first heartbeat tells it to end.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn publish(
        &self,
        execution: ExecutionRowId,
        lane: &str,
        snapshot_name: &str,
        backend_pid: i32,
        ends_at: Timestamp,
    ) -> Result<u32, CatalogError>;

    /// The newest holder that has not ended and has shown life within 30 seconds.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn current(&self, execution: ExecutionRowId) -> Result<Option<LiveHold>, CatalogError>;

    /// How many holders were ever announced.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn announced(&self, execution: ExecutionRowId) -> Result<u32, CatalogError>;

    /// Shows life; answers whether the snapshot was released, so that the holder ends.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn heartbeat(&self, execution: ExecutionRowId, relay_number: u32) -> Result<bool, CatalogError>;

    /// Notes that this holder ended.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn ended(&self, execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError>;

    /// Tells all holders of the run to end, also those that come later. A second call is success.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn release_all(&self, execution: ExecutionRowId) -> Result<(), CatalogError>;

    /// Whether the run's snapshot was released.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn is_released(&self, execution: ExecutionRowId) -> Result<bool, CatalogError>;
}
