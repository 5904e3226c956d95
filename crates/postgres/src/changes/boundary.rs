//! What the stream of changes does not carry, and marks in the write-ahead log.

use super::align;
use super::publication::{Table, tables};
use super::slot::SlotName;
use crate::inventory;
use crate::session::Session;
use keepsake_archive::HEARTBEAT_PREFIX;
use keepsake_steps::ports::{Boundary, Mark, SourceError};

/// From this version on a message may ask to be flushed at once. Before, the server's own writer does it within its
/// delay of 200 ms, three times that at most; only flushed WAL is streamed.
/// Source: <https://www.postgresql.org/docs/current/wal-async-commit.html>, read 2026-11-21.
const FLUSHED_SINCE: u32 = 170_000;

pub(super) async fn mark(session: &Session) -> Result<Mark, SourceError> {
    let act = "leave a mark in the write-ahead log";
    let flush = if session.version >= FLUSHED_SINCE { ", true" } else { "" };
    // The clock is read once: what the message says is what is answered.
    let sql = format!(
        "SELECT at, pg_logical_emit_message(false, '{HEARTBEAT_PREFIX}',
            to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'){flush})::text
         FROM clock_timestamp() AS at"
    );
    let row = session.one(act, &sql, &[]).await?;
    let lsn: String = row.get(1);
    let lsn = lsn.parse().map_err(|_| session.strange(act, format!("\"{lsn}\" is no WAL position")))?;
    Ok(Mark { lsn, at: row.get(0) })
}

/// Draws a transaction's number and gives it up. A snapshot ends at the highest number that is over: behind this, that is
/// above every transaction that had begun, also one whose commit record is written and that waits for a standby.
const DRAW: &str = "BEGIN READ WRITE; SELECT pg_current_xact_id(); ROLLBACK";

/// Publishes first what is new, so that the snapshot is of behind that.
pub(super) async fn boundary(session: &Session, slot: &SlotName) -> Result<Boundary, SourceError> {
    align::mend(session, slot).await;
    let act = "read snapshot and clock";
    session.run(act, DRAW).await?;
    session.run(act, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let row = session.one(act, "SELECT pg_current_snapshot()::text, clock_timestamp()", &[]).await?;
    let snapshot: String = row.get(0);
    let boundary = Boundary {
        snapshot: snapshot
            .parse()
            .map_err(|_| session.strange(act, format!("\"{snapshot}\" is no snapshot")))?,
        at: row.get(1),
        sequences: inventory::sequences(session).await?,
        schema_fingerprint: inventory::schema_fingerprint(session).await?,
        not_captured: tables(session, slot).await?.iter().filter_map(Table::not_captured).collect(),
    };
    session.run(act, "COMMIT").await?;
    Ok(boundary)
}
