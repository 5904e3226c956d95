//! Notices that were sent.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::Notice;

/// Which notices were sent.
#[async_trait]
pub trait AlertLog: Send + Sync {
    /// Notes that a notice is about to be sent. `false` when this execution's notice of this kind was sent before.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn announce(&self, execution_id: &str, notice: &Notice, topic: &str) -> Result<bool, CatalogError>;

    /// Notes that it was handed over.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn delivered(
        &self,
        execution_id: &str,
        notice: &Notice,
        message_id: &str,
    ) -> Result<(), CatalogError>;
}
