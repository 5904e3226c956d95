//! Verify: read the restored database back and compare it with what the manifest says the source held.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::ports::{Clock, Repository, RepositoryError, RowReader, Target, chunks};
use crate::streams::{digest_large_objects, digest_rows};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use keepsake_archive::CopyText;
use keepsake_domain::{
    Certificate, CutLimits, PartPlan, RestoredDatabase, RestoredTable, RowsDigest, TableName, Verdict,
    compare, cut,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Reads everything back that can be compared, on `jobs` connections.
///
/// # Errors
/// When something could not be read: that is no verdict.
pub async fn read_back(target: &dyn Target, jobs: u32) -> Result<RestoredDatabase, StepError> {
    let shapes = target.tables().await?;
    let parts = cut(&shapes, CutLimits::default());
    let tables = digest_tables(target, parts, jobs).await?;
    let mut reader = target.reader().await?;
    let sequences = reader.sequences().await?;
    let large_objects = match target.large_objects().await? {
        0 => None,
        _ => Some(as_table(digest_large_objects(reader.as_mut()).await?)),
    };
    let (objects, left_out) = (target.objects().await?, target.left_out().await?);
    Ok(RestoredDatabase { tables, sequences, large_objects, objects, left_out })
}

async fn digest_tables(
    target: &dyn Target,
    parts: Vec<PartPlan>,
    jobs: u32,
) -> Result<Vec<RestoredTable>, StepError> {
    let workers = (jobs.max(1) as usize).min(parts.len().max(1));
    let queue = Arc::new(Mutex::new(parts));
    let mut running: FuturesUnordered<_> =
        (0..workers).map(|_| digest_queue(target, Arc::clone(&queue))).collect();
    let mut tables: BTreeMap<TableName, (u64, RowsDigest)> = BTreeMap::new();
    while let Some(outcome) = running.next().await {
        for (table, content) in outcome? {
            let sum = tables.entry(table).or_default();
            sum.0 += content.rows;
            sum.1 += content.rows_digest;
        }
    }
    let table = |(table, (rows, rows_digest))| RestoredTable { table, rows, rows_digest };
    Ok(tables.into_iter().map(table).collect())
}

async fn digest_queue(
    target: &dyn Target,
    queue: Arc<Mutex<Vec<PartPlan>>>,
) -> Result<Vec<(TableName, CopyText)>, StepError> {
    let mut reader = target.reader().await?;
    let mut done = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let Some(plan) = next else { return Ok(done) };
        let content = digest_part(reader.as_mut(), &plan).await?;
        done.push((plan.root.unwrap_or(plan.table), content));
    }
}

async fn digest_part(reader: &mut dyn RowReader, plan: &PartPlan) -> Result<CopyText, StepError> {
    let (sender, rows) = chunks();
    let read = async move {
        let outcome = reader.copy_out(plan, &sender).await;
        drop(sender);
        outcome
    };
    let what = plan.table.to_string();
    let (read, digested) = tokio::join!(read, digest_rows(rows, &what));
    read?;
    digested
}

fn as_table(content: CopyText) -> RestoredTable {
    let table = TableName { schema: "pg_catalog".to_owned(), name: "large objects".to_owned() };
    RestoredTable { table, rows: content.rows, rows_digest: content.rows_digest }
}

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
    let expected = backup.manifest.expected();
    let mut differences = compare(&expected, restored);
    let verdict = match (differences.is_empty(), expected.tables.is_empty() && expected.objects.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, true) => Verdict::Inconclusive,
        (true, false) => Verdict::Passed,
    };
    let differences_total = differences.len() as u64;
    differences.truncate(Certificate::DIFFERENCES_KEPT);
    Certificate {
        backup_id: backup.layout.backup_id,
        manifest_sha256: backup.manifest_sha256.clone(),
        repository: facts.repository,
        verdict,
        compared_at: clock.now(),
        target_version: facts.target_version,
        tables: expected.tables.len() as u64,
        rows: expected.tables.iter().map(|table| table.rows).sum(),
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
