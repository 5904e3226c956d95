//! What a run's readers cost the server, asked and answered by the run's snapshot holder.

use super::PostgresSource;
use crate::error::ConnectError;
use crate::session::Session;
use keepsake_steps::ports::{GiveWay, Strain, Waiting};
use std::time::Duration;
use tokio_postgres::Row;

/// Transactions since the snapshot, and one row for each reader of ours (of the name `$1`) behind which somebody's
/// request for a lock has waited for `$2` seconds; one row without a reader when nobody waits.
///
/// Within a transaction `age()` stands still, as the snapshot does. What moves is the checkpoint's next id, every few
/// minutes, and the ids of the transactions that are writing just now.
///
/// Only requests that waited that long are asked about: `pg_blocking_pids` stops the lock manager for a moment. Sessions
/// of this very run may wait for each other's tables as little as others.
const STRAIN: &str = "
    WITH seen AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8 AS xmin)
    SELECT GREATEST(0,
        (SELECT split_part(next_xid, ':', 1)::int8 * 4294967296 + split_part(next_xid, ':', 2)::int8 - seen.xmin
            FROM pg_control_checkpoint()),
        (SELECT max(ahead) FROM (SELECT (transactionid::text::int8 - seen.xmin % 4294967296 + 4294967296)
            % 4294967296 AS ahead FROM pg_locks WHERE locktype = 'transactionid') running
            WHERE ahead < 2147483648)), r.pid,
        w.mode || COALESCE(' on ' || w.relation::regclass::text, ''), w.waited
    FROM seen LEFT JOIN LATERAL (
        SELECT l.pid, l.mode, l.relation,
            EXTRACT(epoch FROM clock_timestamp() - l.waitstart)::float8 AS waited
        FROM pg_locks l WHERE NOT l.granted AND l.waitstart <= clock_timestamp() - $2::float8 * interval '1 second'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY l.waitstart LIMIT 100) w
    CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (pid)
    JOIN pg_stat_activity r ON r.pid = b.pid AND r.application_name = $1 AND r.usename = current_user
        AND r.datname = current_database()
    ON true";

const READERS: &str = "FROM pg_stat_activity WHERE application_name = $1 AND usename = current_user
    AND datname = current_database() AND pid <> pg_backend_pid()";

/// Looks. Statistics of sessions stand still in a transaction until they are cleared.
pub(super) async fn strain(
    session: &Session,
    readers: &str,
    patience: Duration,
) -> Result<Strain, tokio_postgres::Error> {
    session.client.batch_execute("SELECT pg_stat_clear_snapshot()").await?;
    let rows = session.client.query(STRAIN, &[&readers, &patience.as_secs_f64()]).await?;
    let transactions = rows.first().map_or(0, |row| row.get::<_, i64>(0));
    let waiting = rows.iter().filter_map(waiting).collect();
    Ok(Strain { transactions: u64::try_from(transactions).unwrap_or_default(), waiting })
}

fn waiting(row: &Row) -> Option<Waiting> {
    Some(Waiting {
        reader_pid: row.get::<_, Option<i32>>(1)?,
        wants: row.get::<_, Option<String>>(2).unwrap_or_default(),
        waited: Duration::from_secs_f64(row.get::<_, Option<f64>>(3).unwrap_or_default().max(0.0)),
    })
}

/// Ends one reader; asked by name again, so that a process id that went to another session is never hit.
pub(super) async fn give_way(
    session: &Session,
    readers: &str,
    waiting: &Waiting,
    how: GiveWay,
) -> Result<(), ConnectError> {
    let function = match how {
        GiveWay::Cancel => "pg_cancel_backend",
        GiveWay::Terminate => "pg_terminate_backend",
    };
    let sql = format!("SELECT {function}(pid) {READERS} AND pid = $2");
    session.run("look at sessions", "SELECT pg_stat_clear_snapshot()").await?;
    session.all("give way", &sql, &[&readers, &waiting.reader_pid]).await.map(|_| ())
}

/// Ends all of them.
pub(super) async fn end_readers(session: &Session, readers: &str) -> Result<(), ConnectError> {
    let sql = format!("SELECT pg_terminate_backend(pid) {READERS}");
    session.run("look at sessions", "SELECT pg_stat_clear_snapshot()").await?;
    session.all("end the run's readers", &sql, &[&readers]).await.map(|_| ())
}

impl PostgresSource {
    /// The name that the sessions of one run carry on the server (`application_name`), so that its holder finds them.
    #[must_use]
    pub fn of_run(mut self, backup_id: keepsake_domain::BackupId) -> Self {
        self.label = format!("keepsake {backup_id}");
        self
    }
}
