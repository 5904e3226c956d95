//! Who holds a run's snapshot. Relay numbers count from 1 in the order of announcement, over both lanes.

use super::PostgresCatalog;
use super::error::{failed, not_found};
use async_trait::async_trait;
use keepsake_domain::{ExecutionRowId, Timestamp};
use keepsake_steps::ports::{CatalogError, Holds, LiveHold};
use tokio_postgres::Transaction;

/// The lock on the run's row gives two lanes that announce at once two numbers, and makes both wait for a release.
/// A run that ended needs no snapshot, released or not.
const LOCK_RUN: &str = "\
select holds_released_at is not null or status in ('completed', 'failed', 'cancelled')
from keepsake.backup_executions where id = $1 for update";

const SAME_HOLDER: &str = "\
select relay_number from keepsake.snapshot_holds
where execution_id = $1 and lane = $2 and snapshot_name = $3 and backend_pid = $4 and released_at is null";

const NEXT_NUMBER: &str =
    "select coalesce(max(relay_number), 0) + 1 from keepsake.snapshot_holds where execution_id = $1";

const PUBLISH: &str = "\
insert into keepsake.snapshot_holds (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
values ($1, $2, $3, $4, $5, $6)";

const CURRENT: &str = "\
select relay_number, snapshot_name, ends_at from keepsake.snapshot_holds
where execution_id = $1 and released_at is null and ends_at > clock_timestamp()
  and heartbeat_at > clock_timestamp() - interval '30 seconds'
order by relay_number desc limit 1";

const ANNOUNCED: &str = "select count(*) from keepsake.snapshot_holds where execution_id = $1";

const HEARTBEAT: &str = "\
update keepsake.snapshot_holds set heartbeat_at = clock_timestamp()
where execution_id = $1 and relay_number = $2 and released_at is null";

const ENDED: &str = "\
update keepsake.snapshot_holds set released_at = clock_timestamp()
where execution_id = $1 and relay_number = $2 and released_at is null";

const STANDING: &str = "\
select holds_released_at is not null or status in ('completed', 'failed', 'cancelled') as is_released,
  exists (select from keepsake.snapshot_holds h where h.execution_id = e.id and h.relay_number = $2) as is_announced
from keepsake.backup_executions e where e.id = $1";

const RELEASED: &str = "\
select holds_released_at is not null or status in ('completed', 'failed', 'cancelled')
from keepsake.backup_executions where id = $1";

#[async_trait]
impl Holds for PostgresCatalog {
    /// A second call of the same session with the same snapshot gets the same number. A holder that comes after the
    /// release gets a number and no row: its first heartbeat tells it to end.
    async fn publish(
        &self,
        execution: ExecutionRowId,
        lane: &str,
        snapshot_name: &str,
        backend_pid: i32,
        ends_at: Timestamp,
    ) -> Result<u32, CatalogError> {
        let act = "announce a snapshot holder";
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        let run = transaction.query_opt(LOCK_RUN, &[&execution.0]).await.map_err(failed(act))?;
        let is_over: bool =
            run.ok_or_else(|| not_found("execution", execution))?.try_get(0).map_err(failed(act))?;
        let announced = number(&transaction, SAME_HOLDER, &execution, lane, snapshot_name, backend_pid).await;
        if let Some(same) = announced.map_err(failed(act))? {
            return Ok(same.unsigned_abs());
        }
        let next = transaction.query_one(NEXT_NUMBER, &[&execution.0]).await.map_err(failed(act))?;
        let next: i32 = next.try_get(0).map_err(failed(act))?;
        if !is_over {
            transaction
                .execute(PUBLISH, &[&execution.0, &next, &lane, &snapshot_name, &backend_pid, &ends_at])
                .await
                .map_err(failed(act))?;
            transaction.commit().await.map_err(failed(act))?;
        }
        Ok(next.unsigned_abs())
    }

    async fn current(&self, execution: ExecutionRowId) -> Result<Option<LiveHold>, CatalogError> {
        let act = "read the snapshot's holder";
        let client = self.lend(act).await?;
        let found = client.query_opt(CURRENT, &[&execution.0]).await.map_err(failed(act))?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some(LiveHold {
            relay_number: row.try_get::<_, i32>("relay_number").map_err(failed(act))?.unsigned_abs(),
            snapshot_name: row.try_get("snapshot_name").map_err(failed(act))?,
            ends_at: row.try_get("ends_at").map_err(failed(act))?,
        }))
    }

    async fn announced(&self, execution: ExecutionRowId) -> Result<u32, CatalogError> {
        let act = "count the snapshot's holders";
        let client = self.lend(act).await?;
        let row = client.query_one(ANNOUNCED, &[&execution.0]).await.map_err(failed(act))?;
        let count: i64 = row.try_get(0).map_err(failed(act))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn heartbeat(&self, execution: ExecutionRowId, relay_number: u32) -> Result<bool, CatalogError> {
        let act = "show a snapshot holder's life";
        let client = self.lend(act).await?;
        client.execute(HEARTBEAT, &[&execution.0, &relay(relay_number)]).await.map_err(failed(act))?;
        let run =
            client.query_opt(STANDING, &[&execution.0, &relay(relay_number)]).await.map_err(failed(act))?;
        let run = run.ok_or_else(|| not_found("execution", execution))?;
        let is_released: bool = run.try_get("is_released").map_err(failed(act))?;
        let is_announced: bool = run.try_get("is_announced").map_err(failed(act))?;
        if is_released || is_announced {
            return Ok(is_released);
        }
        Err(not_found("snapshot holder", format!("{relay_number} of {execution}")))
    }

    async fn ended(&self, execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError> {
        let act = "note a snapshot holder's end";
        let client = self.lend(act).await?;
        client.execute(ENDED, &[&execution.0, &relay(relay_number)]).await.map_err(failed(act))?;
        Ok(())
    }

    async fn release_all(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        let act = "release the snapshot";
        let client = self.lend(act).await?;
        client.query_one("select keepsake.release_holds($1)", &[&execution.0]).await.map_err(failed(act))?;
        Ok(())
    }

    async fn is_released(&self, execution: ExecutionRowId) -> Result<bool, CatalogError> {
        let act = "read whether the snapshot was released";
        let client = self.lend(act).await?;
        let run = client.query_opt(RELEASED, &[&execution.0]).await.map_err(failed(act))?;
        run.ok_or_else(|| not_found("execution", execution))?.try_get(0).map_err(failed(act))
    }
}

async fn number(
    transaction: &Transaction<'_>,
    statement: &str,
    execution: &ExecutionRowId,
    lane: &str,
    snapshot_name: &str,
    backend_pid: i32,
) -> Result<Option<i32>, tokio_postgres::Error> {
    let found =
        transaction.query_opt(statement, &[&execution.0, &lane, &snapshot_name, &backend_pid]).await?;
    found.map(|row| row.try_get(0)).transpose()
}

/// No run relays two thousand million times; a number beyond is simply not found.
fn relay(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
