//! Verify: compare the restored database, as it was read back, with what the manifest says the source held.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::ports::{Clock, Repository, RepositoryError};
use bytes::Bytes;
use keepsake_domain::{Certificate, LeftOut, RestoredDatabase, RestoredTable, Verdict, compare};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is known beside the comparison itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreFacts {
    /// Where the archive was read from.
    pub repository: String,
    /// `server_version_num` of the target.
    pub target_version: u32,
    /// Milliseconds per phase.
    pub phase_milliseconds: BTreeMap<String, u64>,
}

/// Compares, and states the outcome. A backup without any table or sequence proves nothing: inconclusive.
#[must_use]
pub fn certify(
    backup: &StandingBackup,
    restored: &RestoredDatabase,
    facts: RestoreFacts,
    clock: &dyn Clock,
) -> Certificate {
    certify_against(backup, &backup.manifest.expected(), restored, facts, clock)
}

/// As [`certify`], where changes were replayed onto the backup, so that something else is expected.
#[must_use]
pub fn certify_against(
    backup: &StandingBackup,
    expected: &RestoredDatabase,
    restored: &RestoredDatabase,
    facts: RestoreFacts,
    clock: &dyn Clock,
) -> Certificate {
    let mut differences = compare(expected, restored);
    let verdict = match (differences.is_empty(), expected.tables.is_empty() && expected.objects.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, true) => Verdict::Inconclusive,
        (true, false) => Verdict::Passed,
    };
    let stays = |table: &&RestoredTable| restored.left_out.contains(&LeftOut::rows_of_provider(&table.table));
    let compared = || expected.tables.iter().filter(|table| !stays(table));
    let differences_total = differences.len() as u64;
    differences.truncate(Certificate::DIFFERENCES_KEPT);
    Certificate {
        backup_id: backup.layout.backup_id,
        manifest_sha256: backup.manifest_sha256.clone(),
        repository: facts.repository,
        recovered: None,
        verdict,
        compared_at: clock.now(),
        target_version: facts.target_version,
        tables: compared().count() as u64,
        rows: compared().map(|table| table.rows).sum(),
        sequences: expected.sequences.len() as u64,
        objects: expected.objects.len() as u64,
        differences,
        differences_total,
        left_out: restored.left_out.clone(),
        phase_milliseconds: facts.phase_milliseconds,
    }
}

/// Stores a certificate beside the manifest. A second call with the same test finds it there and is success.
///
/// # Errors
/// When the repository refused.
pub async fn store_certificate(
    repository: &dyn Repository,
    backup: &StandingBackup,
    test_id: Uuid,
    certificate: &Certificate,
) -> Result<String, StepError> {
    let key = backup.layout.certificate(test_id);
    let json = serde_json::to_vec_pretty(certificate);
    let json = json.map_err(|cause| StepError::Work { key: key.clone(), cause })?;
    match repository.put_new(&key, Bytes::from(json)).await {
        Ok(_) | Err(RepositoryError::AlreadyExists { .. }) => Ok(key),
        Err(error) => Err(error.into()),
    }
}
