//! Test restores.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_domain::{BackupId, Certificate, InstanceName, Timestamp, Verdict};
use uuid::Uuid;

/// A test restore that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTest {
    /// Its row.
    pub test_id: Uuid,
    /// When it began.
    pub started_at: Timestamp,
}

/// How a test restore ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TestOutcome {
    /// Only passed is success.
    pub verdict: Verdict,
    /// What was proven, if it came to a comparison.
    pub certificate: Option<Certificate>,
    /// What went wrong, sanitised.
    pub errors: Vec<String>,
    /// When.
    pub completed_at: Timestamp,
}

/// Test restores.
#[async_trait]
pub trait Tests: Send + Sync {
    /// Opens a test of a backup into an instance; a second call for the same two while it runs returns the same row.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn begin_test(
        &self,
        backup_id: BackupId,
        instance: &InstanceName,
        started_at: Timestamp,
    ) -> Result<RunningTest, CatalogError>;

    /// Ends it. A second call with the same verdict is success.
    ///
    /// # Errors
    /// [`CatalogError::Transition`] when it had ended with another verdict.
    async fn finish_test(&self, test_id: Uuid, outcome: &TestOutcome) -> Result<(), CatalogError>;

    /// The newest verdict on a backup, if any.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn verdict(&self, backup_id: BackupId) -> Result<Option<Verdict>, CatalogError>;
}
