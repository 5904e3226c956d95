//! Copies of backups in other places.

use super::PostgresCatalog;
use super::error::{failed, not_found};
use async_trait::async_trait;
use keepsake_steps::ports::{CatalogError, Copies, CopyRecord, CopyState};

const RECORD: &str = "\
insert into keepsake.backup_copies
  (snapshot_id, location_id, region, status, progress, checksum, error, verified_at, attempts)
select b.id, $2, $3, $4, $5, $6, $7, case when $4 = 'verified' then $8::timestamptz end, $9
from keepsake.backup_snapshots b where b.id = $1
on conflict (snapshot_id, location_id) do update set
  region = excluded.region, status = excluded.status, progress = excluded.progress, checksum = excluded.checksum,
  error = excluded.error, verified_at = excluded.verified_at,
  attempts = backup_copies.attempts + excluded.attempts";

#[async_trait]
impl Copies for PostgresCatalog {
    async fn record_copy(&self, copy: &CopyRecord) -> Result<(), CatalogError> {
        let act = "record a copy's state";
        let status = match copy.state {
            CopyState::Copying => "copying",
            CopyState::Verified => "verified",
            CopyState::Failed => "failed",
        };
        let begins = copy.state == CopyState::Copying && copy.progress == 0.0;
        let client = self.lend(act).await?;
        let written = client
            .execute(
                RECORD,
                &[
                    &copy.backup_id.0,
                    &copy.location_id.0,
                    &copy.region,
                    &status,
                    &copy.progress,
                    &copy.checksum,
                    &copy.error,
                    &copy.at,
                    &i32::from(begins),
                ],
            )
            .await
            .map_err(failed(act))?;
        if written == 0 { Err(not_found("backup", copy.backup_id)) } else { Ok(()) }
    }
}
