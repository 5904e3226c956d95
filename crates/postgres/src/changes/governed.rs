//! Our slot under the governor: what it costs its server, and how it goes also while somebody streams from it.

use super::slot;
use super::{PostgresChanges, align};
use crate::session::Session;
use async_trait::async_trait;
use keepsake_domain::{Lsn, SlotLook, TableName};
use keepsake_steps::ports::{GovernedSlot, SlotState, SourceError};

#[async_trait]
impl GovernedSlot for PostgresChanges {
    fn name(&self) -> &str {
        self.slot.name()
    }

    async fn look(&self) -> Result<Option<SlotLook>, SourceError> {
        let session = self.open().await?;
        // Refuses a slot of our name that is another's.
        let Some((state, age)) = slot::state_and_age(&session, &self.slot).await? else { return Ok(None) };
        look(&session, state, age).await.map(Some)
    }

    async fn release_tables(&self) -> Result<Vec<TableName>, SourceError> {
        align::release(&self.open().await?, &self.slot).await
    }

    async fn drop_slot(&self) -> Result<bool, SourceError> {
        slot::end_and_drop(&self.open().await?, &self.slot).await
    }
}

/// Transactions of other databases hold no WAL of a logical slot back for longer than its own do: a slot waits for all
/// that were open when it began, and for those of its database since.
const LOOK: &str = "SELECT pg_current_wal_lsn()::text,
        COALESCE((SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::int8 FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()), 0)";

async fn look(
    session: &Session,
    state: SlotState,
    catalog_age_transactions: u64,
) -> Result<SlotLook, SourceError> {
    let act = "look at the replication slot";
    let row = session.one(act, LOOK, &[]).await?;
    let lsn: String = row.get(0);
    let wal_lsn: Lsn =
        lsn.parse().map_err(|_| session.strange(act, format!("\"{lsn}\" is no WAL position")))?;
    Ok(SlotLook {
        wal_lsn,
        retained_bytes: state.retained_bytes,
        free_bytes: None,
        catalog_age_transactions,
        oldest_transaction_seconds: row.get::<_, i64>(1).max(0).unsigned_abs(),
        lost: state.lost,
    })
}
