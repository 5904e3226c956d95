//! Policies, as people wrote them.

use super::PostgresCatalog;
use super::error::{failed, not_found, refused};
use async_trait::async_trait;
use keepsake_domain::{CaptureMode, CapturePolicy, LocationId, PolicyId, SourceId, SourceLimits};
use keepsake_steps::ports::{CatalogError, Policies, Policy, PolicyCopy, PolicySource, Provider};
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

const ACT: &str = "read a policy";

const POLICY: &str = "\
select p.id, p.name, p.is_active, p.kms_key_id, p.recovery_recipients, p.relay_seconds, p.part_size_bytes,
  p.max_parallel_jobs, p.bandwidth_limit_mbps, p.lock_patience_seconds, p.max_snapshot_age_seconds,
  p.max_snapshot_age_transactions, p.compression_level, p.test_restore, p.notify_success,
  p.capture_mode, p.capture_segment_seconds, p.wal_budget_bytes, p.replica_identity_full,
  s.id as source_id, s.name as source, s.provider, s.connection_secret
from keepsake.backup_policies p join keepsake.sources s on s.id = p.source_id
where p.name = $1";

const LOCATIONS: &str = "\
select l.id, l.url, coalesce(l.primary_region, '') as region, l.kms_key_id
from keepsake.policy_locations pl join keepsake.backup_storage_locations l on l.id = pl.location_id
where pl.policy_id = $1 order by pl.position";

#[async_trait]
impl Policies for PostgresCatalog {
    async fn policy(&self, name: &str) -> Result<Policy, CatalogError> {
        let client = self.lend(ACT).await?;
        let found = client.query_opt(POLICY, &[&name]).await.map_err(failed(ACT))?;
        let row = found.ok_or_else(|| not_found("policy", name))?;
        let id: uuid::Uuid = row.try_get("id").map_err(failed(ACT))?;
        let locations = client.query(LOCATIONS, &[&id]).await.map_err(failed(ACT))?;
        let Some((primary, copies)) = locations.split_first() else {
            return Err(refused(ACT, format!("policy {name} has no primary location")));
        };
        let kms_key_id = match row.try_get("kms_key_id").map_err(failed(ACT))? {
            Some(key) => Some(key),
            None => primary.try_get("kms_key_id").map_err(failed(ACT))?,
        };
        let mut policy = read_policy(&row, copy(primary).map_err(failed(ACT))?).map_err(failed(ACT))?;
        policy.source.provider = named(row.try_get("provider").map_err(failed(ACT))?)?;
        policy.capture.mode = named(row.try_get("capture_mode").map_err(failed(ACT))?)?;
        policy.copies = copies.iter().map(copy).collect::<Result<_, _>>().map_err(failed(ACT))?;
        policy.kms_key_id = kms_key_id.ok_or_else(|| {
            refused(ACT, format!("neither policy {name} nor its primary location has a KMS key"))
        })?;
        Ok(policy)
    }
}

fn read_policy(row: &Row, primary: PolicyCopy) -> Result<Policy, tokio_postgres::Error> {
    Ok(Policy {
        id: PolicyId(row.try_get("id")?),
        name: row.try_get("name")?,
        is_active: row.try_get("is_active")?,
        source: PolicySource {
            id: SourceId(row.try_get("source_id")?),
            name: row.try_get("source")?,
            provider: Provider::Plain,
            connection_secret: row.try_get("connection_secret")?,
        },
        primary,
        copies: Vec::new(),
        kms_key_id: String::new(),
        recovery_recipients: row.try_get("recovery_recipients")?,
        relay_seconds: row.try_get::<_, i32>("relay_seconds")?.unsigned_abs(),
        part_size_bytes: row.try_get::<_, i64>("part_size_bytes")?.unsigned_abs(),
        max_parallel_jobs: row.try_get::<_, i32>("max_parallel_jobs")?.unsigned_abs(),
        limits: SourceLimits {
            lock_patience_seconds: row.try_get::<_, i32>("lock_patience_seconds")?.unsigned_abs(),
            max_snapshot_age_seconds: row.try_get::<_, i32>("max_snapshot_age_seconds")?.unsigned_abs(),
            max_snapshot_age_transactions: row
                .try_get::<_, i64>("max_snapshot_age_transactions")?
                .unsigned_abs(),
            bandwidth_limit_mbps: row
                .try_get::<_, Option<i32>>("bandwidth_limit_mbps")?
                .map(i32::unsigned_abs),
            ..SourceLimits::default()
        },
        compression: row.try_get("compression_level")?,
        test_restore: row.try_get("test_restore")?,
        notify_success: row.try_get("notify_success")?,
        capture: CapturePolicy {
            mode: CaptureMode::Off,
            segment_seconds: row.try_get::<_, i32>("capture_segment_seconds")?.unsigned_abs(),
            wal_budget_bytes: row.try_get::<_, i64>("wal_budget_bytes")?.unsigned_abs(),
            replica_identity_full: row.try_get("replica_identity_full")?,
        },
    })
}

/// A value that the table names.
fn named<T: DeserializeOwned>(name: String) -> Result<T, CatalogError> {
    serde_json::from_value(serde_json::Value::String(name)).map_err(|error| refused(ACT, error))
}

fn copy(row: &Row) -> Result<PolicyCopy, tokio_postgres::Error> {
    Ok(PolicyCopy {
        location_id: LocationId(row.try_get("id")?),
        repository: row.try_get("url")?,
        region: row.try_get("region")?,
    })
}
