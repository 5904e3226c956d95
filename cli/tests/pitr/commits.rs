//! Ends of transactions, as `pg_waldump` reads them from the archived WAL: where, which, and when. And commits alone as the
//! server decodes them, for majors whose `pg_waldump` is not to be had.

use keepsake_testkit::cluster::{Cluster, as_server_user, finish};
use std::path::Path;

/// One end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where its record begins.
    pub lsn: u64,
    pub xid: u32,
    /// In microseconds, as text that Postgres reads.
    pub at: String,
    pub is_commit: bool,
}

/// A commit, where its record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub lsn: u64,
    pub xid: u32,
}

/// Every end from `start` to `end`, in the order of the WAL.
pub fn ends(archive: &Path, start: &str, end: &str) -> Vec<End> {
    let mut waldump = as_server_user("pg_waldump");
    waldump.arg("--path").arg(archive).args(["--rmgr=Transaction", "--start", start, "--end", end]);
    finish(&mut waldump).lines().filter_map(parse).collect()
}

/// `… tx: 735, lsn: 0/01523A98, prev …, desc: COMMIT 2026-11-21 17:50:00.123456 UTC; …`, or
/// `desc: COMMIT_PREPARED 737: 2026-…`, whose `tx` is 0.
fn parse(line: &str) -> Option<End> {
    let (record, what) = line.split_once("desc: ")?;
    let field = |name: &str| Some(record.split_once(name)?.1.split(',').next()?.trim());
    let (kind, rest) = what.split_once(' ')?;
    let (prepared, rest) = match rest.split_once(": ") {
        Some((xid, rest)) if xid.bytes().all(|b| b.is_ascii_digit()) => (Some(xid), rest),
        _ => (None, rest),
    };
    let is_commit = match kind {
        "COMMIT" | "COMMIT_PREPARED" => true,
        "ABORT" | "ABORT_PREPARED" => false,
        _ => return None,
    };
    Some(End {
        lsn: lsn(field("lsn: ")?),
        xid: prepared.or_else(|| field("tx: "))?.parse().ok()?,
        at: rest.split(';').next()?.trim().to_owned(),
        is_commit,
    })
}

/// Lets a server keep what [`decoded`] reads.
pub fn decoding(server: &Cluster) {
    server.sql("CREATE PUBLICATION of_the_judge FOR ALL TABLES");
    server.sql("SELECT pg_create_logical_replication_slot('of_the_judge', 'pgoutput')");
}

/// Every commit behind `start` that changed something, in the order of the WAL.
pub fn decoded(server: &Cluster, start: &str) -> Vec<Commit> {
    // A message `B` begins a transaction: position of its commit record, time, and number.
    let commits = server.sql(
        "SELECT ('x' || encode(substr(data, 2, 8), 'hex'))::bit(64)::bigint, ('x' || encode(substr(data, 18, 4), 'hex'))::bit(32)::bigint
         FROM pg_logical_slot_peek_binary_changes('of_the_judge', NULL, NULL, 'proto_version', '1', 'publication_names', 'of_the_judge')
         WHERE get_byte(data, 0) = ascii('B')",
    );
    let read = |line: &str| {
        let (lsn, xid) = line.split_once('|').unwrap();
        Commit { lsn: lsn.parse().unwrap(), xid: xid.parse().unwrap() }
    };
    let start = lsn(start);
    commits.lines().map(read).filter(|commit| commit.lsn >= start).collect()
}

/// `0/1523A98` as a number.
pub fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

/// The other way round.
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_end_is_read() {
        let line = |tx, desc| {
            format!(
                "rmgr: Transaction len (rec/tot): 34/34, tx: {tx}, lsn: 1/01523A98, prev 1/01523A60, desc: {desc}"
            )
        };
        let at = "2026-11-21 17:50:00.123456 UTC";
        let read =
            |tx, desc: String| parse(&line(tx, desc)).map(|end| (end.lsn, end.xid, end.at, end.is_commit));
        let lsn = 0x1_0152_3A98;
        assert_eq!(
            read(735, format!("COMMIT {at}; subxacts: 736 737")),
            Some((lsn, 735, at.to_owned(), true))
        );
        assert_eq!(read(0, format!("COMMIT_PREPARED 737: {at}")), Some((lsn, 737, at.to_owned(), true)));
        assert_eq!(read(735, format!("ABORT {at}")), Some((lsn, 735, at.to_owned(), false)));
        assert_eq!(read(735, format!("PREPARE gid t1: {at}")), None);
        assert_eq!(lsn_text(lsn), "1/1523A98");
    }
}
