//! Leases with fencing tokens.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::{FencingToken, Timestamp};
use std::time::Duration;

/// A lease that was got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is held.
    pub name: String,
    /// By whom.
    pub holder: String,
    /// Grows with every new holder.
    pub token: FencingToken,
    /// Until when, by the catalog's clock.
    pub expires_at: Timestamp,
}

/// Leases with fencing tokens: two runs of one policy never overlap.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease; a second call by the same holder renews it and returns the same token.
    ///
    /// # Errors
    /// [`CatalogError::Held`] naming the holder.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, CatalogError>;

    /// Prolongs it.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] when someone else holds it by now, or it ran out.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), CatalogError>;

    /// Gives it back. Success also when it was lost or given back before.
    ///
    /// # Errors
    /// When the catalog could not be reached.
    async fn release(&self, name: &str, holder: &str, token: FencingToken) -> Result<(), CatalogError>;
}
