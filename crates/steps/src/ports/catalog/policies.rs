//! What people decided.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::{CapturePolicy, LocationId, PolicyId, Provider, SourceId, SourceLimits};
use serde::{Deserialize, Serialize};

/// The source of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySource {
    /// Its id.
    pub id: SourceId,
    /// Its name, part of every object key.
    pub name: String,
    /// What kind it is.
    pub provider: Provider,
    /// Reference of the secret with its connection URL.
    pub connection_secret: String,
}

/// Where one copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyCopy {
    /// The location in the catalog.
    pub location_id: LocationId,
    /// Its repository, `s3://bucket/prefix`.
    pub repository: String,
    /// Its region.
    pub region: String,
}

/// What people decided about the protection of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Inactive policies do not run.
    pub is_active: bool,
    /// What it protects.
    pub source: PolicySource,
    /// Where backups are written.
    pub primary: PolicyCopy,
    /// Where they are copied to, in order.
    pub copies: Vec<PolicyCopy>,
    /// KMS key that wraps the backups' keys.
    pub kms_key_id: String,
    /// Offline recovery recipients (`age1…`), at least one.
    pub recovery_recipients: Vec<String>,
    /// How long one snapshot holder holds before the next takes over.
    pub relay_seconds: u32,
    /// Tables above are cut into parts of about this size.
    pub part_size_bytes: u64,
    /// Connections per worker.
    pub max_parallel_jobs: u32,
    /// What a run may cost the source; `workers` is the deployment's, not the policy's.
    pub limits: SourceLimits,
    /// zstd level.
    pub compression: i32,
    /// Whether each backup is restored and compared.
    pub test_restore: bool,
    /// Whether success is told too.
    pub notify_success: bool,
    /// Whether and how changes are captured.
    pub capture: CapturePolicy,
}

/// Policies, as people wrote them.
#[async_trait]
pub trait Policies: Send + Sync {
    /// Reads one by its name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; never a default.
    async fn policy(&self, name: &str) -> Result<Policy, CatalogError>;
}
