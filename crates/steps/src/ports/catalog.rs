//! The catalog, cut by need. It is a cache of the repository plus what only people decide.

use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{
    BackupId, Certificate, Classified, ExecutionRowId, Explanation, FailureClass, FencingToken, InstanceName,
    Lineage, LocationId, Notice, PolicyId, SourceId, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// What kind of managed Postgres a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Any server.
    Plain,
    /// Amazon RDS.
    Rds,
    /// Amazon Aurora.
    Aurora,
    /// Supabase.
    Supabase,
}

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
    /// zstd level.
    pub compression: i32,
    /// Whether each backup is restored and compared.
    pub test_restore: bool,
    /// Whether success is told too.
    pub notify_success: bool,
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

/// A run to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExecution {
    /// The state machine's execution, or `cli:<uuid>`.
    pub execution_id: String,
    /// The policy.
    pub policy_id: PolicyId,
    /// The source.
    pub source_id: SourceId,
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

    /// Ends a run well. A second call is success.
    ///
    /// # Errors
    /// [`CatalogError::Transition`] when the run had failed before.
    async fn complete(&self, execution: ExecutionRowId, done: &CompletedBackup) -> Result<(), CatalogError>;

    /// Ends a run as failed. Success, and no change, when it had ended before, well or not.
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
    /// Announces a holder; returns its relay number.
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

/// Why the catalog did not do it. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not reachable, or the connection broke, or it is overloaded.
    #[error("catalog did not {act}")]
    Unavailable {
        /// What was tried.
        act: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No such row.
    #[error("{what} is not in the catalog")]
    NotFound {
        /// Kind and name.
        what: String,
    },
    /// Someone else holds the lease.
    #[error("lease {name} is held by {holder} until {expires_at}")]
    Held {
        /// The lease.
        name: String,
        /// Who.
        holder: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Our lease went to someone else.
    #[error("lease {name} with token {token} is no longer ours")]
    Fenced {
        /// The lease.
        name: String,
        /// Our token.
        token: FencingToken,
    },
    /// The row's state does not allow it.
    #[error("catalog refused to {act}: {reason}")]
    Transition {
        /// What was tried.
        act: String,
        /// The guard's words.
        reason: String,
    },
    /// Rights, schema or data that will not do.
    #[error("catalog cannot {act}")]
    Refused {
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for CatalogError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::Held { .. } | Self::Fenced { .. } => FailureClass::Conflict,
            Self::NotFound { .. } | Self::Transition { .. } | Self::Refused { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Unavailable { .. } => "check the catalog database, then run again".to_owned(),
            Self::NotFound { .. } => "keepsake catalog apply <FILE> to declare it, then run again".to_owned(),
            Self::Held { holder, .. } => {
                format!("nothing to do: {holder} is running; the next schedule runs after it")
            }
            Self::Fenced { .. } => "nothing to do: a newer run took over".to_owned(),
            Self::Transition { .. } | Self::Refused { .. } => {
                "keepsake catalog migrate, and check the function's database role".to_owned()
            }
        };
        Explanation { at_risk: "backups in the repository stand whatever the catalog says".to_owned(), next }
    }
}
