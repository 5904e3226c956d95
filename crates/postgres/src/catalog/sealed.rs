//! The recovery point's row: written once, when the manifest stands.

use super::error::{bigint, failed, not_found, refused, transition};
use keepsake_archive::Manifest;
use keepsake_domain::{ExecutionRowId, RowsDigest};
use keepsake_steps::ports::CatalogError;
use std::collections::BTreeMap;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

pub(super) const ACT: &str = "record a recovery point";

/// A manifest that stands.
pub(super) struct Sealed<'a> {
    pub(super) execution: ExecutionRowId,
    pub(super) manifest: &'a Manifest,
    pub(super) manifest_key: &'a str,
    pub(super) manifest_sha256: &'a str,
}

/// Source, repository and its location come from the run: the manifest cannot move a recovery point elsewhere.
const SNAPSHOT: &str = "\
insert into keepsake.backup_snapshots (id, execution_id, source_id, location_id, lineage, snapshot_timestamp,
  snapshot_xmin, snapshot_xmax, snapshot_xip, wal_lsn, tables, rows, raw_bytes, stored_bytes, row_counts,
  data_integrity_hash, encryption_key_id, storage_location, storage_provider, manifest_key, manifest_sha256, manifest,
  previous_snapshot_id)
select $2, e.id, e.source_id, l.id, $3, $4, $5, $6, $7, $8::text::pg_lsn, $9, $10, $11, $12, $13, $14, $15,
  coalesce(e.backup_location, l.url, ''), coalesce(l.storage_type, 's3'), $16, $17, $18,
  (select b.id from keepsake.backup_snapshots b where b.source_id = e.source_id and b.manifest_sha256 = $19 limit 1)
from keepsake.backup_executions e
left join keepsake.policy_locations pl on pl.policy_id = e.policy_id and pl.position = 0
left join keepsake.backup_storage_locations l on l.id = pl.location_id
where e.id = $1
on conflict (id) do nothing";

const STANDING: &str = "select execution_id, manifest_sha256 from keepsake.backup_snapshots where id = $1";

/// Every object was checked before the manifest was written: that is an integrity check, and no more than that.
const CHECKED: &str = "\
insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, verdict, certificate, tested_by)
values ($1, $2, 'integrity_check', 'repository', 'passed', $3, 'seal')";

const SIZES: &str = "\
update keepsake.backup_executions
set lineage = $2, raw_bytes = $3, stored_bytes = $4, files_backed_up = $5, transfer_rate_bytes_per_second = $6
where id = $1";

/// Writes the recovery point, what was checked, and the run's sizes, all or nothing. A second call with the same
/// manifest is success and changes nothing.
///
/// # Errors
/// [`CatalogError::Transition`] when the run had ended, or another manifest stands for this backup.
pub(super) async fn record(client: &mut Client, sealed: &Sealed<'_>) -> Result<(), CatalogError> {
    let transaction = client.transaction().await.map_err(failed(ACT))?;
    let run = "select from keepsake.backup_executions where id = $1 for update";
    let run = transaction.query_opt(run, &[&sealed.execution.0]).await.map_err(failed(ACT))?;
    run.ok_or_else(|| not_found("execution", sealed.execution))?;
    if insert(&transaction, sealed).await? == 0 {
        return same(&transaction, sealed).await;
    }
    let backup_id = sealed.manifest.backup_id;
    let checked = serde_json::json!({
        "manifest_sha256": sealed.manifest_sha256,
        "objects": sealed.manifest.objects().count(),
        "stored_bytes": sealed.manifest.stored_bytes(),
        "checked_at": sealed.manifest.sealed_at,
    });
    transaction.execute(CHECKED, &[&Uuid::now_v7(), &backup_id.0, &checked]).await.map_err(failed(ACT))?;
    sizes(&transaction, sealed).await?;
    transaction.commit().await.map_err(failed(ACT))
}

async fn insert(transaction: &Transaction<'_>, sealed: &Sealed<'_>) -> Result<u64, CatalogError> {
    let manifest = sealed.manifest;
    let facts = Facts::of(manifest)?;
    transaction
        .execute(
            SNAPSHOT,
            &[
                &sealed.execution.0,
                &manifest.backup_id.0,
                &manifest.lineage.to_string(),
                &manifest.snapshot_at,
                &facts.xmin,
                &facts.xmax,
                &facts.xip,
                &manifest.lsn.to_string(),
                &facts.tables,
                &facts.rows,
                &facts.raw_bytes,
                &facts.stored_bytes,
                &facts.row_counts,
                &facts.digest,
                &key_id(manifest),
                &sealed.manifest_key,
                &sealed.manifest_sha256,
                &facts.json,
                &manifest.previous_manifest.as_ref().map(|previous| &previous.sha256),
            ],
        )
        .await
        .map_err(failed(ACT))
}

async fn same(transaction: &Transaction<'_>, sealed: &Sealed<'_>) -> Result<(), CatalogError> {
    let backup_id = sealed.manifest.backup_id;
    let row = transaction.query_one(STANDING, &[&backup_id.0]).await.map_err(failed(ACT))?;
    let execution: Option<Uuid> = row.try_get("execution_id").map_err(failed(ACT))?;
    let sha256: String = row.try_get("manifest_sha256").map_err(failed(ACT))?;
    if execution == Some(sealed.execution.0) && sha256 == sealed.manifest_sha256 {
        return Ok(());
    }
    Err(transition(ACT, format!("backup {backup_id} stands with another manifest, SHA-256 {sha256}")))
}

async fn sizes(transaction: &Transaction<'_>, sealed: &Sealed<'_>) -> Result<(), CatalogError> {
    let manifest = sealed.manifest;
    let objects = bigint(ACT, manifest.objects().count() as u64)?;
    transaction
        .execute(
            SIZES,
            &[
                &sealed.execution.0,
                &manifest.lineage.to_string(),
                &bigint(ACT, manifest.raw_bytes())?,
                &bigint(ACT, manifest.stored_bytes())?,
                &objects,
                &bytes_per_second(manifest),
            ],
        )
        .await
        .map_err(failed(ACT))?;
    Ok(())
}

/// From the snapshot to the seal; `None` when the two clocks disagree by more than the dump took.
fn bytes_per_second(manifest: &Manifest) -> Option<i64> {
    let milliseconds = manifest.sealed_at.duration_since(manifest.snapshot_at).as_millis();
    let per_second = i128::from(manifest.raw_bytes()) * 1000 / Some(milliseconds).filter(|&ms| ms > 0)?;
    i64::try_from(per_second).ok()
}

/// The KMS key where there is one: people look for it. Without, the backup's own recipient.
fn key_id(manifest: &Manifest) -> &str {
    let kms = manifest.key_holders.iter().find_map(|holder| holder.strip_prefix("kms "));
    kms.unwrap_or(&manifest.recipient)
}

/// The manifest in the types of the columns.
struct Facts {
    xmin: i64,
    xmax: i64,
    xip: Vec<i64>,
    tables: i32,
    rows: i64,
    raw_bytes: i64,
    stored_bytes: i64,
    row_counts: serde_json::Value,
    digest: String,
    json: serde_json::Value,
}

impl Facts {
    fn of(manifest: &Manifest) -> Result<Self, CatalogError> {
        let mut row_counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut digest = RowsDigest::default();
        for part in &manifest.parts {
            *row_counts.entry(part.table.to_string()).or_default() += part.content.rows;
            digest += part.content.rows_digest;
        }
        Ok(Self {
            xmin: bigint(ACT, manifest.snapshot.xmin)?,
            xmax: bigint(ACT, manifest.snapshot.xmax)?,
            xip: manifest.snapshot.xip.iter().map(|&xid| bigint(ACT, xid)).collect::<Result<_, _>>()?,
            tables: i32::try_from(row_counts.len()).map_err(|error| refused(ACT, error))?,
            rows: bigint(ACT, manifest.rows())?,
            raw_bytes: bigint(ACT, manifest.raw_bytes())?,
            stored_bytes: bigint(ACT, manifest.stored_bytes())?,
            row_counts: serde_json::json!(row_counts),
            digest: digest.to_string(),
            json: serde_json::to_value(manifest).map_err(|error| refused(ACT, error))?,
        })
    }
}
