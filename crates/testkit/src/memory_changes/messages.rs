//! A record of the log as the messages that a server makes of it.

use super::{Record, What};
use bytes::{BufMut, Bytes, BytesMut};
use keepsake_archive::HEARTBEAT_PREFIX;
use keepsake_domain::{DDL_MESSAGE_PREFIX, Lsn, Timestamp};

/// The number of the only table.
const TABLE: u32 = 16_385;
/// Microseconds from 1970 to 2000.
const EPOCH: i64 = 946_684_800_000_000;

fn message(kind: u8, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(kind);
    fill(&mut bytes);
    bytes.freeze()
}

/// All messages of a record with their positions, the last first. The table is described once in a session.
pub(super) fn of(record: &Record, is_described: &mut bool) -> Vec<(Lsn, Bytes)> {
    let (start, end) = (record.start, record.end);
    let mut messages = match &record.what {
        What::Mark { at } => {
            vec![(start, logical(end, false, HEARTBEAT_PREFIX, &at.to_string()))]
        }
        What::Definition { xid, at, told } => vec![
            (start, begin(start, *at, *xid)),
            (start, logical(start, true, DDL_MESSAGE_PREFIX, told)),
            (end, commit(start, end, *at)),
        ],
        What::Commit { xid, at, rows, row_bytes } => {
            let mut messages = vec![(start, begin(start, *at, *xid))];
            if !std::mem::replace(is_described, true) {
                messages.push((Lsn(0), relation()));
            }
            messages.extend((0..*rows).map(|row| (start, insert(row, *row_bytes))));
            messages.push((end, commit(start, end, *at)));
            messages
        }
    };
    messages.reverse();
    messages
}

fn instant(bytes: &mut BytesMut, at: Timestamp) {
    bytes.put_i64(at.as_microsecond() - EPOCH);
}

fn begin(commit: Lsn, at: Timestamp, xid: u64) -> Bytes {
    message(b'B', |bytes| {
        bytes.put_u64(commit.0);
        instant(bytes, at);
        // The protocol leaves the epoch out.
        bytes.put_u32(u32::try_from(xid & u64::from(u32::MAX)).unwrap_or_default());
    })
}

fn commit(start: Lsn, end: Lsn, at: Timestamp) -> Bytes {
    message(b'C', |bytes| {
        bytes.put_u8(0);
        bytes.put_u64(start.0);
        bytes.put_u64(end.0);
        instant(bytes, at);
    })
}

fn relation() -> Bytes {
    message(b'R', |bytes| {
        bytes.put_u32(TABLE);
        bytes.put_slice(b"public\0guests\0d");
        bytes.put_i16(1);
        bytes.put_slice(b"\x01id\0");
        bytes.put_u32(25);
        bytes.put_i32(-1);
    })
}

fn insert(row: u32, row_bytes: usize) -> Bytes {
    let value = format!("{row:0row_bytes$}");
    message(b'I', |bytes| {
        bytes.put_u32(TABLE);
        bytes.put_u8(b'N');
        bytes.put_i16(1);
        bytes.put_u8(b't');
        bytes.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        bytes.put_slice(value.as_bytes());
    })
}

fn logical(start: Lsn, is_transactional: bool, prefix: &str, said: &str) -> Bytes {
    message(b'M', |bytes| {
        bytes.put_u8(u8::from(is_transactional));
        bytes.put_u64(start.0);
        bytes.put_slice(prefix.as_bytes());
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(said.len()).unwrap_or(u32::MAX));
        bytes.put_slice(said.as_bytes());
    })
}
