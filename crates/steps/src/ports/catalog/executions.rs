//! Runs of backups.

use super::CatalogError;
use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{
    BackupId, ExecutionRowId, FailureClass, FencingToken, Lineage, PolicyId, RunKind, SourceId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// A run to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExecution {
    /// The state machine's execution, or `cli:<uuid>`.
    pub execution_id: String,
    /// The policy.
    pub policy_id: PolicyId,
    /// The source.
    pub source_id: SourceId,
    /// What it makes.
    pub kind: RunKind,
    /// Id to use if this execution is new.
    pub backup_id: BackupId,
    /// Token of the policy's lease.
    pub fencing_token: FencingToken,
    /// Who or what asked.
    pub requested_by: String,
    /// Where it is written to.
    pub backup_location: String,
    /// When it began.
    pub started_at: Timestamp,
}

/// A run in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Its row.
    pub id: ExecutionRowId,
    /// The state machine's execution.
    pub execution_id: String,
    /// Its policy's name.
    pub policy: String,
    /// Its source's name.
    pub source: String,
    /// Its backup.
    pub backup_id: BackupId,
    /// Token of the policy's lease.
    pub fencing_token: FencingToken,
    /// Repository that it writes to.
    pub backup_location: String,
    /// scheduled, pending, running, completed, failed or cancelled.
    pub status: String,
    /// The lineage, once preflight has learned it; before that nothing was written to the repository.
    pub lineage: Option<Lineage>,
    /// Whether its snapshot row stands, so that a recovery point exists.
    pub is_sealed: bool,
}

/// What completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedBackup {
    /// When.
    pub completed_at: Timestamp,
}

/// What failed, sanitised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The class.
    pub class: FailureClass,
    /// What happened, without credentials, at most 4,000 characters.
    pub message: String,
    /// The state that failed, if known.
    pub state: Option<String>,
    /// When.
    pub failed_at: Timestamp,
}

/// Runs and the recovery points that they made.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Opens a run as `running`; a second call with the same `execution_id` returns the first one's row.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn open(&self, new: &NewExecution) -> Result<Execution, CatalogError>;

    /// Notes the lineage that preflight learned. A second call is success.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_lineage(&self, execution: ExecutionRowId, lineage: &Lineage) -> Result<(), CatalogError>;

    /// Finds a run by the state machine's execution.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn find(&self, execution_id: &str) -> Result<Option<Execution>, CatalogError>;

    /// Records that the manifest stands: the recovery point's row and the run's sizes. A second call is success.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn sealed(
        &self,
        execution: ExecutionRowId,
        manifest: &Manifest,
        manifest_key: &str,
        manifest_sha256: &str,
    ) -> Result<(), CatalogError>;

    /// Ends a run well: one of a full backup only with a recovery point, a capture only with what it captured. A second
    /// call is success.
    ///
    /// # Errors
    /// [`CatalogError::Transition`] when that is missing, or the run had failed before.
    async fn complete(&self, execution: ExecutionRowId, done: &CompletedBackup) -> Result<(), CatalogError>;

    /// Ends a run as failed, and with it the copies that it had not ended. Success when it had ended before, well or
    /// not, and no change of the run; of one that had failed, copies that were written since end too.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn fail(&self, execution: ExecutionRowId, failure: &FailureRecord) -> Result<(), CatalogError>;

    /// Counts one repeated step of a run.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn count_retry(&self, execution: ExecutionRowId) -> Result<(), CatalogError>;
}
