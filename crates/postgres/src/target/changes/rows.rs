//! Rows to the server and back, counted and digested on the way.

use crate::session::Session;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use keepsake_archive::{CopyText, NumberedRows, RowsHasher};
use keepsake_domain::Lsn;
use keepsake_steps::ports::{TableChange, TargetError};
use std::pin::pin;

/// One message of the server's protocol carries so much; more would wait in memory.
const PIECE_BYTES: usize = 64 << 10;

/// Sends lines without their newlines as rows.
///
/// # Errors
/// [`TargetError::CutOff`] when the server counted other rows than it was sent.
pub(super) async fn copied_in<L: AsRef<[u8]>>(
    session: &Session,
    act: &str,
    sql: &str,
    lines: impl Iterator<Item = L>,
) -> Result<CopyText, TargetError> {
    let failed = |error: tokio_postgres::Error| TargetError::from(session.failed(act, &error));
    let mut hasher = RowsHasher::new();
    let mut sink = pin!(session.client.copy_in::<_, Bytes>(sql).await.map_err(failed)?);
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    for line in lines {
        piece.extend_from_slice(line.as_ref());
        piece.extend_from_slice(b"\n");
        if piece.len() >= PIECE_BYTES {
            hasher.update(&piece);
            if sink.send(piece.split().freeze()).await.is_err() {
                // The server refused; finishing tells why.
                break;
            }
        }
    }
    hasher.update(&piece);
    // Where the server refused, finishing tells why.
    let _ = sink.send(piece.freeze()).await;
    let counted = sink.finish().await.map_err(failed)?;
    let cut_off = || TargetError::CutOff { what: act.to_owned() };
    let sent = hasher.finish().map_err(|_| cut_off())?;
    if counted == sent.rows { Ok(sent) } else { Err(cut_off()) }
}

/// Digests the rows that a statement gives back, each as often as it was wanted: for each number how often, and the
/// change that wants it.
///
/// # Errors
/// [`TargetError::RowsDiffer`] for the first number of which there were other rows.
pub(super) async fn copied_out(
    session: &Session,
    act: &str,
    sql: &str,
    change: &TableChange,
    wanted: &[(u64, Lsn)],
) -> Result<CopyText, TargetError> {
    let failed = |error: tokio_postgres::Error| TargetError::from(session.failed(act, &error));
    let mut found = NumberedRows::up_to(wanted.len());
    let mut rows = pin!(session.client.copy_out(sql).await.map_err(failed)?);
    while let Some(piece) = rows.next().await {
        found.update(&piece.map_err(failed)?);
    }
    let cut_off = |_| TargetError::CutOff { what: act.to_owned() };
    let (text, counts, strange) = found.finish().map_err(cut_off)?;
    if strange > 0 {
        return Err(TargetError::CutOff { what: act.to_owned() });
    }
    let differs = |(found, (wanted, _)): &(&u64, &(u64, Lsn))| *found != wanted;
    match counts.iter().zip(wanted).find(differs) {
        None => Ok(text),
        Some((found, (wanted, lsn))) => Err(TargetError::RowsDiffer {
            place: session.place.clone(),
            table: change.table.to_string(),
            key: named(change),
            lsn: *lsn,
            found: *found,
            wanted: *wanted,
        }),
    }
}

fn named(change: &TableChange) -> String {
    let columns = change.key_columns();
    if columns.is_empty() { "values".to_owned() } else { format!("key ({})", columns.join(", ")) }
}
