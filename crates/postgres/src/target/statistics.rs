//! Statistics for the planner, which a restore does not bring along.

use super::PostgresTarget;
use crate::session::Session;
use futures::future::try_join_all;
use keepsake_steps::ports::TargetError;
use std::sync::Mutex;

/// At a time: one `ANALYZE` of everything uses one core of the server and leaves the others idle.
const CONNECTIONS: usize = 4;

/// Tables named in one statement; each is a transaction of its own all the same.
const AT_ONCE: usize = 50;

/// Everything that a plain ANALYZE takes, smallest first, but for parents of foreign tables: of those the server would
/// ask the foreign server, which a restored database may have no way or no right to reach. A partitioned table brings
/// its partitions along.
const TABLES: &str = "
    WITH RECURSIVE far AS (
        SELECT oid FROM pg_class WHERE relkind = 'f'
        UNION SELECT i.inhparent FROM pg_inherits i JOIN far ON far.oid = i.inhrelid)
    SELECT format('%I.%I', n.nspname, c.relname), pg_table_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND c.oid NOT IN (SELECT oid FROM far)
      AND (NOT c.relispartition OR pg_partition_root(c.oid) IN (SELECT oid FROM far))
    ORDER BY 2, 1";

/// Above this a table is a statement of its own, so that another connection takes the next.
const LARGE_BYTES: i64 = 1 << 20;

pub(super) async fn gather(target: &PostgresTarget, session: &Session) -> Result<(), TargetError> {
    let rows = session.all("list what to gather statistics of", TABLES, &[]).await?;
    let (large, small): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.get::<_, i64>(1) > LARGE_BYTES);
    let names = |rows: &[&tokio_postgres::Row]| {
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join(", ")
    };
    // Taken from the end: large ones first.
    let lists = small.chunks(AT_ONCE).chain(large.chunks(1)).map(names).collect();
    let queue: Mutex<Vec<String>> = Mutex::new(lists);
    try_join_all((0..CONNECTIONS).map(|_| gather_queue(target, &queue))).await?;
    Ok(())
}

async fn gather_queue(target: &PostgresTarget, queue: &Mutex<Vec<String>>) -> Result<(), TargetError> {
    let session = target.session().await?;
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let Some(tables) = next else { return Ok(()) };
        session.run("gather statistics", &format!("ANALYZE {tables}")).await?;
    }
}
