//! What one run is, handed from state to state.

use crate::StepError;
use crate::ports::{PolicyCopy, SourceFacts};
use keepsake_archive::{ArchiveLayout, Recipient};
use keepsake_domain::{
    BackupId, ExecutionRowId, FailureClass, FencingToken, Provider, RunKind, SourceId, SourceLimits,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// One run of a policy. Made by `begin`, then handed unchanged to every later step. Holds no secret.
///
/// JSON shape: these fields in snake case; the state machine keeps it in its variable `$run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The state machine's execution, or `cli:<uuid>`.
    pub execution_id: String,
    /// Its row in the catalog.
    pub execution_row: ExecutionRowId,
    /// The policy's name.
    pub policy: String,
    /// The source's name.
    pub source: String,
    /// The source's id.
    pub source_id: SourceId,
    /// The backup that is being made.
    pub backup_id: BackupId,
    /// Token of the policy's lease.
    pub fencing_token: FencingToken,
    /// When the run began.
    pub started_at: Timestamp,
    /// Where the archive is written.
    pub repository: String,
    /// Where it is copied to.
    pub copies: Vec<PolicyCopy>,
    /// Public half of the backup's key pair.
    pub recipient: Recipient,
    /// What kind the source was declared to be; counts where its server shows nothing. Runs that older functions began
    /// lack it.
    #[serde(default)]
    pub provider: Provider,
    /// Reference of the source's secret.
    pub connection_secret: String,
    /// KMS key that can open the backup's private half.
    pub kms_key_id: String,
    /// How long one snapshot holder holds.
    pub relay_seconds: u32,
    /// Tables above are cut into parts of about this size.
    pub part_size_bytes: u64,
    /// Connections per worker.
    pub jobs: u32,
    /// What the run may cost its source.
    #[serde(default)]
    pub limits: SourceLimits,
    /// zstd level.
    pub compression: i32,
    /// Whether the backup is restored and compared.
    pub test_restore: bool,
    /// Whether success is told.
    pub notify_success: bool,
    /// What preflight learned.
    pub facts: SourceFacts,
}

impl Run {
    /// Where the run's objects lie.
    ///
    /// # Errors
    /// When the source's name cannot stand in a key; `begin` refuses such a name, so this is a damaged payload.
    pub fn layout(&self) -> Result<ArchiveLayout, StepError> {
        ArchiveLayout::new(&self.source, self.facts.lineage.clone(), self.backup_id).map_err(|invalid| {
            StepError::found(
                FailureClass::Permanent,
                invalid.to_string(),
                "no new recovery point was made",
                "rename the source in the catalog, then run again",
            )
        })
    }

    /// Name of the lease that keeps two runs of one policy apart.
    #[must_use]
    pub fn lease_name(policy: &str) -> String {
        RunKind::Full.lease_name(policy, "")
    }
}
