//! Reads rows back as `COPY` text, in pieces.

use crate::error::{ConnectError, lock_not_granted, was_ended};
use crate::inventory;
use crate::session::Session;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use keepsake_domain::{PartPlan, SequenceValue, TableName, quote_identifier};
use keepsake_steps::ports::{Chunk, ChunkSender, RowReader, SourceError};
use std::pin::pin;
use tokio_postgres::Statement;

/// A piece is sent when it holds this much: the server sends one message per row, which would drown the channel.
const PIECE_BYTES: usize = 1 << 20;
/// The port's bound; only a row longer than this is divided.
const LARGEST_PIECE_BYTES: usize = 8 << 20;

/// Object id, chunk number, chunk. The chunks of one object are read until a short one, in a recursion that holds one
/// chunk; `lo_get` follows the transaction's snapshot and needs no more than SELECT on the object.
const LARGE_OBJECT_ROWS: &str = "COPY (
    SELECT m.oid, c.n, c.piece FROM (SELECT oid FROM pg_largeobject_metadata ORDER BY oid) m, LATERAL (
        WITH RECURSIVE pieces (n, piece) AS (
            SELECT 0::bigint, lo_get(m.oid, 0, 262144)
            UNION ALL SELECT n + 1, lo_get(m.oid, (n + 1) * 262144, 262144) FROM pieces WHERE length(piece) = 262144)
        SELECT n, piece FROM pieces) c
    ) TO STDOUT (FORMAT text)";

/// Whether the table of this name is the one that the snapshot shows, with the same rows' storage: `pg_class` is read
/// as of the snapshot, the functions answer as of now. TRUNCATE, VACUUM FULL, CLUSTER and rewriting forms of ALTER
/// TABLE give a table a new storage, in which the snapshot sees no rows, or finds them in other blocks.
/// Source: <https://www.postgresql.org/docs/current/mvcc-caveats.html>, read 2026-11-21.
const SAME_STORAGE: &str = "
    SELECT COALESCE(c.relfilenode = pg_relation_filenode(c.oid), false)
        AND COALESCE(to_regclass(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) = c.oid, false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text";

/// One connection in a read-only transaction.
pub(crate) struct Reader {
    session: Session,
    same_storage: Statement,
}

impl Reader {
    /// A lock that is taken in a savepoint is given back with it. Without, a table that was read in the first minute
    /// would stay locked until this connection's last part.
    pub async fn open(session: Session) -> Result<Self, ConnectError> {
        let act = "begin to read";
        session.run(act, "SAVEPOINT part").await?;
        // Prepared once: of 10,000 small tables each question costs one round trip.
        let same_storage =
            session.client.prepare(SAME_STORAGE).await.map_err(|error| session.failed(act, &error))?;
        Ok(Self { session, same_storage })
    }

    /// Sends the rows of a copy. Their end is left to the caller, who first lets another statement succeed: the
    /// driver ends the stream at the last row, and in a transaction the next statement succeeds only if the server
    /// completed the copy.
    async fn stream(&mut self, what: &str, sql: &str, to: &ChunkSender) -> Result<(), SourceError> {
        let act = format!("read {what}");
        // A drop from here on cuts the connection, so that the server does not send the rest to nobody.
        self.session.streaming = true;
        let copied = copy(&self.session, &act, what, sql, to).await;
        self.session.streaming = copied.is_err();
        copied
    }

    /// Refuses rows of a table that was truncated, rewritten or replaced after the snapshot: they are not the
    /// snapshot's. Nothing holds a lock on a table from the snapshot on, for that would make the source's own
    /// statements wait; the copy's lock lasts until this was answered, so the answer is true of all that was copied.
    async fn unchanged(&self, table: &TableName) -> Result<(), SourceError> {
        let act = format!("read table {table}");
        let asked = self.session.client.query(&self.same_storage, &[&table.schema, &table.name]).await;
        let is_same = asked.map_err(|error| read_failed(&self.session, &act, &act, &error))?;
        if is_same.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        Err(SourceError::TableChanged { table: table.to_string() })
    }
}

fn read_failed(session: &Session, act: &str, what: &str, error: &tokio_postgres::Error) -> SourceError {
    let (what, place) = (what.to_owned(), session.place.clone());
    let error = session.cause(error);
    if was_ended(error) {
        return SourceError::GaveWay { what, place };
    }
    if lock_not_granted(error) {
        return SourceError::LockNotGranted { what, place };
    }
    session.failed(act, error).into()
}

async fn end(what: &str, to: &ChunkSender) -> Result<(), SourceError> {
    to.send(Chunk::End).await.map_err(|_| SourceError::ReceiverGone { what: what.to_owned() })
}

async fn copy(
    session: &Session,
    act: &str,
    what: &str,
    sql: &str,
    to: &ChunkSender,
) -> Result<(), SourceError> {
    let gone = || SourceError::ReceiverGone { what: what.to_owned() };
    let failed = |error: tokio_postgres::Error| read_failed(session, act, what, &error);
    let mut rows = pin!(session.client.copy_out(sql).await.map_err(failed)?);
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    while let Some(row) = rows.next().await {
        let mut row: Bytes = row.map_err(failed)?;
        if piece.len() + row.len() > LARGEST_PIECE_BYTES {
            to.send(Chunk::Data(piece.split().freeze())).await.map_err(|_| gone())?;
            while row.len() > LARGEST_PIECE_BYTES {
                to.send(Chunk::Data(row.split_to(LARGEST_PIECE_BYTES))).await.map_err(|_| gone())?;
            }
        }
        piece.extend_from_slice(&row);
        if piece.len() >= PIECE_BYTES {
            let full = std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE_BYTES));
            to.send(Chunk::Data(full.freeze())).await.map_err(|_| gone())?;
        }
    }
    if piece.is_empty() {
        return Ok(());
    }
    to.send(Chunk::Data(piece.freeze())).await.map_err(|_| gone())
}

#[async_trait]
impl RowReader for Reader {
    async fn copy_out(&mut self, part: &PartPlan, to: &ChunkSender) -> Result<(), SourceError> {
        let what = format!("table {}", part.table);
        self.stream(&what, &copy_statement(part), to).await?;
        self.unchanged(&part.table).await?;
        self.session.run("give the table's lock back", "ROLLBACK TO SAVEPOINT part").await?;
        end(&what, to).await
    }

    async fn copy_large_objects_out(&mut self, to: &ChunkSender) -> Result<(), SourceError> {
        self.stream("large objects", LARGE_OBJECT_ROWS, to).await?;
        self.session.run("read large objects", "SELECT 1").await?;
        end("large objects", to).await
    }

    async fn sequences(&mut self) -> Result<Vec<SequenceValue>, SourceError> {
        inventory::sequences(&self.session).await.map_err(|error: ConnectError| error.into())
    }
}

/// The column list of `COPY`, or nothing for a table without columns, which `COPY` takes as rows of nothing.
pub(crate) fn column_list(columns: &[String]) -> String {
    if columns.is_empty() { String::new() } else { format!(" ({})", quoted(columns)) }
}

fn quoted(columns: &[String]) -> String {
    columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", ")
}

fn copy_statement(part: &PartPlan) -> String {
    let table = part.table.quoted();
    let mut conditions = Vec::new();
    if !part.filter.is_empty() {
        conditions.push(format!("({})", without_where(&part.filter)));
    }
    if let Some(range) = part.range {
        conditions.push(format!("ctid >= '({},0)'::pg_catalog.tid", range.from));
        conditions.extend(range.to.map(|to| format!("ctid < '({to},0)'::pg_catalog.tid")));
    }
    if conditions.is_empty() {
        return format!("COPY {table}{} TO STDOUT (FORMAT text)", column_list(&part.columns));
    }
    let (columns, conditions) = (quoted(&part.columns), conditions.join(" AND "));
    format!("COPY (SELECT {columns} FROM ONLY {table} WHERE {conditions}) TO STDOUT (FORMAT text)")
}

/// An extension's filter is stored as a whole clause, `WHERE …`.
fn without_where(filter: &str) -> &str {
    let filter = filter.trim();
    match filter.get(..5) {
        Some(word) if word.eq_ignore_ascii_case("where") => &filter[5..],
        _ => filter,
    }
}
