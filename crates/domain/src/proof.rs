//! The comparison of a restored database with what the source held, and the certificate that states it.

use crate::{BackupId, LeftOut, Lsn, RepeatedStatement, RowsDigest, SequenceValue, TableName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows and digest of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredTable {
    /// The table.
    pub table: TableName,
    /// How many rows it holds.
    pub rows: u64,
    /// Digest over all of them.
    pub rows_digest: RowsDigest,
}

/// What a database holds: the manifest's claim on one side, the restored database on the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoredDatabase {
    /// Every table with rows of its own, each once.
    pub tables: Vec<RestoredTable>,
    /// Every sequence, each once.
    pub sequences: Vec<SequenceValue>,
    /// Large objects as if they were a table.
    pub large_objects: Option<RestoredTable>,
    /// Names of all objects that the schema has (kind and identity), to find a missing index or policy.
    pub objects: Vec<String>,
    /// What the restore left out because the target forbids it; empty for a source.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

/// The outcome of a test restore. Only `Passed` is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every comparison was made and every one was equal.
    Passed,
    /// At least one comparison was unequal.
    Failed,
    /// There was nothing to compare, so nothing is proven.
    Inconclusive,
}

/// Where a restore to a point in time ended. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredPoint {
    /// What was asked for, in words.
    pub target: String,
    /// Where the commit record of the last transaction begins that was replayed; the backup's own position without any.
    pub lsn: Lsn,
    /// When that transaction committed, or the backup's snapshot was taken, by the source's clock.
    pub at: Timestamp,
    /// Where the differential ends that was applied instead of segments, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differential: Option<Lsn>,
    /// Segments that were read.
    pub segments: u64,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Tables whose changes are not captured: their rows are those of the backup, whatever the point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_captured: Vec<TableName>,
    /// Tables whose changes are not captured and that the backup does not hold either: they did not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_held: Vec<TableName>,
    /// Whether these are all: not where a manifest that says it is missing or cannot be read, nor in certificates of older
    /// programs.
    #[serde(default)]
    pub not_captured_known: bool,
    /// Statements that changed the schema and were run again, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_statements: Vec<RepeatedStatement>,
}

/// What was proven by restoring one backup. Stored in the catalog and beside the manifest.
///
/// JSON shape: the fields below, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The backup that was restored.
    pub backup_id: BackupId,
    /// SHA-256 of the manifest that was restored, 64 hexadecimal digits.
    pub manifest_sha256: String,
    /// Where the archive was read from.
    pub repository: String,
    /// The point in time, where changes were replayed onto the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<RecoveredPoint>,
    /// Passed only if every comparison was equal.
    pub verdict: Verdict,
    /// When the comparison ended.
    pub compared_at: Timestamp,
    /// Version of the server that was restored to, as `server_version_num`.
    pub target_version: u32,
    /// Tables compared.
    pub tables: u64,
    /// Rows compared.
    pub rows: u64,
    /// Sequences compared.
    pub sequences: u64,
    /// Schema objects compared.
    pub objects: u64,
    /// Every difference, one sentence each; at most [`Certificate::DIFFERENCES_KEPT`].
    pub differences: Vec<String>,
    /// How many differences there were in all.
    pub differences_total: u64,
    /// What the target's provider or rights forbid, by the closed list of rules; it is no difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Milliseconds per phase, as measured: provision, pre_data, rows, post_data, compare.
    pub phase_milliseconds: BTreeMap<String, u64>,
}

impl Certificate {
    /// A broken database of 10,000 tables must still give a certificate that a row of the catalog can hold.
    pub const DIFFERENCES_KEPT: usize = 100;
}

/// Every difference between what was expected and what was restored, one sentence each; empty means equal.
#[must_use]
pub fn compare(expected: &RestoredDatabase, restored: &RestoredDatabase) -> Vec<String> {
    let mut differences = Vec::new();
    compare_tables(expected, restored, &mut differences);
    compare_sequences(expected, restored, &mut differences);
    compare_large_objects(expected, restored, &mut differences);
    compare_objects(expected, restored, &mut differences);
    differences
}

fn compare_tables(expected: &RestoredDatabase, restored: &RestoredDatabase, differences: &mut Vec<String>) {
    let found: BTreeMap<&TableName, &RestoredTable> = restored.tables.iter().map(|t| (&t.table, t)).collect();
    let wanted: BTreeMap<&TableName, &RestoredTable> =
        expected.tables.iter().map(|t| (&t.table, t)).collect();
    for (name, want) in &wanted {
        match found.get(name) {
            None if restored.left_out.contains(&LeftOut::rows_of_provider(name)) => {}
            None => differences.push(format!("table {name} is missing ({} rows)", want.rows)),
            Some(have) => differences.extend(table_difference(want, have)),
        }
    }
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        differences.push(format!("table {name} was not in the source"));
    }
}

fn table_difference(want: &RestoredTable, have: &RestoredTable) -> Option<String> {
    let name = &want.table;
    if want.rows != have.rows {
        return Some(format!("table {name} has {} rows instead of {}", have.rows, want.rows));
    }
    (want.rows_digest != have.rows_digest).then(|| {
        format!(
            "table {name} has {} rows with other content: digest {} instead of {}",
            have.rows, have.rows_digest, want.rows_digest
        )
    })
}

fn compare_sequences(
    expected: &RestoredDatabase,
    restored: &RestoredDatabase,
    differences: &mut Vec<String>,
) {
    let found: BTreeMap<_, _> = restored.sequences.iter().map(|s| (&s.sequence, s)).collect();
    let stays =
        |want: &SequenceValue| restored.left_out.contains(&LeftOut::place_of_provider(&want.sequence));
    for want in expected.sequences.iter().filter(|want| !stays(want)) {
        match found.get(&want.sequence) {
            None => differences.push(format!("sequence {} is missing", want.sequence)),
            Some(have) if (have.last_value, have.is_called) != (want.last_value, want.is_called) => {
                differences.push(format!(
                    "sequence {} stands at {} instead of {}",
                    want.sequence, have.last_value, want.last_value
                ));
            }
            Some(_) => {}
        }
    }
}

fn compare_large_objects(
    expected: &RestoredDatabase,
    restored: &RestoredDatabase,
    differences: &mut Vec<String>,
) {
    match (&expected.large_objects, &restored.large_objects) {
        (Some(want), Some(have)) if (want.rows, want.rows_digest) != (have.rows, have.rows_digest) => {
            differences.push(format!("large objects differ: {} chunks instead of {}", have.rows, want.rows));
        }
        (Some(want), None) if want.rows > 0 => {
            differences.push("large objects were not read back".to_owned())
        }
        _ => {}
    }
}

fn compare_objects(expected: &RestoredDatabase, restored: &RestoredDatabase, differences: &mut Vec<String>) {
    let found: std::collections::BTreeSet<&String> = restored.objects.iter().collect();
    for want in expected.objects.iter().filter(|object| !found.contains(object)) {
        if restored.left_out.iter().any(|one| one.explains(want)) {
            continue;
        }
        differences.push(format!("{want} is missing"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceName;

    fn database() -> RestoredDatabase {
        let table = |name: &str, rows, digest| RestoredTable {
            table: TableName { schema: "public".into(), name: name.into() },
            rows,
            rows_digest: RowsDigest(digest),
        };
        RestoredDatabase {
            tables: vec![table("guests", 3, 77), table("vendors", 0, 0)],
            sequences: vec![SequenceValue {
                sequence: SequenceName { schema: "public".into(), name: "guests_id_seq".into() },
                last_value: 3,
                is_called: true,
            }],
            large_objects: Some(table("large objects", 2, 5)),
            objects: vec!["index public.guests_pkey".into()],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn equal_databases_have_no_difference() {
        assert_eq!(compare(&database(), &database()), Vec::<String>::new());
    }

    #[test]
    fn rows_that_stay_the_providers_own_are_no_difference_and_others_are() {
        let mut restored = database();
        restored.left_out.push(LeftOut::rows_of_provider(&restored.tables.remove(0).table));
        restored.left_out.push(LeftOut::place_of_provider(&restored.sequences.remove(0).sequence));
        assert_eq!(compare(&database(), &restored), Vec::<String>::new());
        restored.tables.clear();
        assert_eq!(compare(&database(), &restored), ["table public.vendors is missing (0 rows)"]);
        // What was loaded is compared, whatever is said of it.
        restored.tables = database().tables;
        restored.tables[0].rows = 2;
        assert_eq!(compare(&database(), &restored), ["table public.guests has 2 rows instead of 3"]);
    }

    #[test]
    fn every_single_change_is_found() {
        type Change = fn(&mut RestoredDatabase);
        let changes: [(&str, Change); 9] = [
            ("a row less", |d| d.tables[0].rows = 2),
            ("a changed cell", |d| d.tables[0].rows_digest = RowsDigest(78)),
            ("a table less", |d| drop(d.tables.remove(1))),
            ("a table more", |d| d.tables[1].table.name = "other".into()),
            ("a stale sequence", |d| d.sequences[0].last_value = 2),
            ("a sequence not called", |d| d.sequences[0].is_called = false),
            ("a sequence less", |d| d.sequences.clear()),
            ("large objects lost", |d| d.large_objects = None),
            ("an index less", |d| d.objects.clear()),
        ];
        for (what, change) in changes {
            let mut restored = database();
            change(&mut restored);
            assert!(!compare(&database(), &restored).is_empty(), "{what} went unnoticed");
        }
    }
}
