//! Runs as people look at them: one row each, with everything that hangs on it.

use super::PostgresCatalog;
use super::error::{failed, refused};
use keepsake_domain::{BackupId, ExecutionRowId, Timestamp};
use keepsake_steps::ports::CatalogError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// More rows than anybody reads; it bounds what one answer holds in memory.
const MOST: u32 = 1_000;

/// A run with its recovery point, copies, tests and notices. JSON shape: these fields in snake case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionSummary {
    /// Its row.
    pub id: ExecutionRowId,
    /// The state machine's execution or `cli:<uuid>`; `None` while it was only asked for.
    pub execution_id: Option<String>,
    /// full, incremental and so on.
    pub backup_type: String,
    /// Its policy's name.
    pub policy: Option<String>,
    /// Its source's name.
    pub source: String,
    /// The source's lineage, once sealed.
    pub lineage: Option<String>,
    /// Its backup; of a capture no backup, only the run's own.
    pub backup_id: Option<BackupId>,
    /// scheduled, pending, running, completed, failed or cancelled.
    pub status: String,
    /// pending, passed, failed or skipped.
    pub integrity_status: String,
    /// Who or what asked.
    pub requested_by: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Bytes of all rows before compression.
    pub raw_bytes: Option<u64>,
    /// Bytes as stored.
    pub stored_bytes: Option<u64>,
    /// Raw by stored.
    pub compression_ratio: Option<f64>,
    /// Objects of the archive.
    pub files_backed_up: Option<u64>,
    /// Raw bytes per second of dumping.
    pub transfer_rate_bytes_per_second: Option<u64>,
    /// The repository.
    pub backup_location: Option<String>,
    /// Token of the lease.
    pub fencing_token: Option<i64>,
    /// Steps that were repeated.
    pub retry_count: u32,
    /// Transient, Conflict, Permanent or Integrity, if it failed.
    pub error_class: Option<String>,
    /// What happened, if it failed.
    pub error_message: Option<String>,
    /// The recovery point, once its manifest stands.
    pub snapshot: Option<SnapshotSummary>,
    /// Its copies, by region.
    pub copies: Vec<CopySummary>,
    /// Its tests, oldest first.
    pub tests: Vec<TestSummary>,
    /// Notices about the run, oldest first.
    pub alerts: Vec<AlertSummary>,
}

/// A recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSummary {
    /// When the snapshot was taken.
    pub snapshot_timestamp: Timestamp,
    /// WAL position, `16/B374D848`.
    pub wal_lsn: Option<String>,
    /// Tables.
    pub tables: u32,
    /// Rows over all tables.
    pub rows: u64,
    /// Digest over all rows.
    pub data_integrity_hash: Option<String>,
    /// Key of the manifest, relative to the repository.
    pub manifest_key: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// pending, valid, corrupted or incomplete.
    pub validation_status: String,
    /// When this very archive was last restored and found equal.
    pub verified_at: Option<Timestamp>,
}

/// A copy in another place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopySummary {
    /// The location's name.
    pub location: String,
    /// Its region.
    pub region: String,
    /// pending, copying, verified or failed.
    pub status: String,
    /// From 0 to 1.
    pub progress: f64,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was found equal.
    pub verified_at: Option<Timestamp>,
    /// SHA-256 of the manifest there.
    pub checksum: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// A test of the recovery point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestSummary {
    /// Its row.
    pub id: Uuid,
    /// `restore_test`, `integrity_check`, `spot_check` or checksum.
    pub test_type: String,
    /// running, passed, failed or inconclusive.
    pub verdict: String,
    /// The throwaway instance.
    pub instance_name: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What was compared, by name.
    pub data_verified: BTreeMap<String, u64>,
    /// Seconds per phase.
    pub recovery_time_by_phase: BTreeMap<String, f64>,
    /// What went wrong.
    pub errors: Vec<String>,
}

/// A notice about the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertSummary {
    /// Why it was sent.
    pub kind: String,
    /// info, warning or critical.
    pub severity: String,
    /// Its subject.
    pub subject: String,
    /// pending, sent or failed.
    pub status: String,
    /// Where it was sent to.
    pub topic: Option<String>,
    /// The receipt.
    pub message_id: Option<String>,
    /// When it was handed over.
    pub sent_at: Option<Timestamp>,
}

/// Reads nothing that a viewer may not see.
const RECENT: &str = "\
select to_jsonb(e) || jsonb_build_object(
  'policy', p.name,
  'source', s.name,
  'snapshot', (select to_jsonb(b) - 'manifest' from keepsake.backup_snapshots b where b.id = e.backup_id),
  'copies', coalesce((
    select jsonb_agg(to_jsonb(c) || jsonb_build_object('location', l.name) order by c.region, l.name)
    from keepsake.backup_copies c join keepsake.backup_storage_locations l on l.id = c.location_id
    where c.snapshot_id = e.backup_id), '[]'),
  'tests', coalesce((
    select jsonb_agg(to_jsonb(t) - 'certificate' order by t.started_at, t.id)
    from keepsake.backup_tests t where t.snapshot_id = e.backup_id), '[]'),
  'alerts', coalesce((
    select jsonb_agg(to_jsonb(a) - 'body' order by a.created_at)
    from keepsake.alerts a where a.execution_id = e.id), '[]'))
from keepsake.backup_executions e
join keepsake.sources s on s.id = e.source_id
left join keepsake.backup_policies p on p.id = e.policy_id
order by e.created_at desc, e.id desc
limit $1";

impl PostgresCatalog {
    /// The newest runs first, at most 1,000. Never shows where a secret is kept.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn recent_executions(&self, limit: u32) -> Result<Vec<ExecutionSummary>, CatalogError> {
        let act = "list runs";
        let client = self.lend(act).await?;
        let rows = client.query(RECENT, &[&i64::from(limit.min(MOST))]).await.map_err(failed(act))?;
        rows.iter()
            .map(|row| {
                let json: serde_json::Value = row.try_get(0).map_err(failed(act))?;
                serde_json::from_value(json).map_err(|error| refused(act, error))
            })
            .collect()
    }
}
