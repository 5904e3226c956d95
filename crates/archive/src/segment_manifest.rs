//! The manifests of captured changes: a chain's beginning, and each segment behind it. A segment exists only if its
//! manifest stands.

use crate::manifest_file::{lies_within, parse_sealed};
use crate::manifest_seal::{ManifestSeal, SealKey, seal};
use crate::{ChangesKey, ChangesLayout, ManifestError, SegmentEnd, StoredObject};
use keepsake_domain::{
    BackupId, Lineage, Lsn, NotCaptured, SchemaChange, TableName, Timestamp, TransactionSnapshot,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why a chain begins where it does. JSON shape: `{"reason": "protected"}`, or `{"reason": "gap", "what": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ChainReason {
    /// The source was put under protection.
    Protected,
    /// Changes before this position were not captured, or are lost.
    Gap {
        /// What happened, for people.
        what: String,
    },
}

/// Where captured changes begin. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainManifest {
    /// [`crate::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The run that wrote it; its key pair seals this manifest.
    pub run_id: BackupId,
    /// The source's name.
    pub source: String,
    /// The lineage.
    pub lineage: Lineage,
    /// Database name on the source.
    pub database: String,
    /// `server_version_num`, for example 150018.
    pub server_version: u32,
    /// The slot's name.
    pub slot: String,
    /// Changes behind this position are captured.
    pub lsn: Lsn,
    /// `pg_current_snapshot()`, taken after the slot stood.
    pub snapshot: TransactionSnapshot,
    /// The source's clock at that time.
    pub at: Timestamp,
    /// Tables whose changes are captured.
    pub published: Vec<TableName>,
    /// Tables whose changes are not, and why.
    pub not_captured: Vec<NotCaptured>,
    /// SHA-256 over the definitions of all that users made, 64 hexadecimal digits.
    pub schema_fingerprint: String,
    /// Why it begins here.
    #[serde(flatten)]
    pub reason: ChainReason,
    /// The run's public key (`age1…`).
    pub recipient: String,
    /// Who can open the private half.
    pub key_holders: Vec<String>,
    /// Version of the program.
    pub keepsake: String,
    /// The newest manifest of the lineage's changes before this one; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousChanges>,
}

/// A link to the manifest before: whoever changes that one has to change this one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousChanges {
    /// Where that segment begins, or that chain.
    pub start_lsn: Lsn,
    /// Whether it is a chain's.
    pub is_chain_start: bool,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

impl PreviousChanges {
    /// Which manifest it names.
    #[must_use]
    pub fn key(&self) -> ChangesKey {
        if self.is_chain_start {
            ChangesKey::Chain(self.start_lsn)
        } else {
            ChangesKey::Segment(self.start_lsn)
        }
    }
}

/// What happened to one table within a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChanges {
    /// The table.
    pub table: TableName,
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// How often it was emptied by `TRUNCATE`.
    pub truncates: u64,
}

/// The changes of one range of the write-ahead log: all transactions whose commit record lies behind `start_lsn` and not
/// behind `end_lsn`. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentManifest {
    /// [`crate::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The run that wrote it; the object is encrypted for its key pair.
    pub run_id: BackupId,
    /// The source's name.
    pub source: String,
    /// The lineage.
    pub lineage: Lineage,
    /// Database name on the source.
    pub database: String,
    /// `server_version_num`, for example 150018.
    pub server_version: u32,
    /// The slot's name.
    pub slot: String,
    /// Where the segment before ends, or the chain begins.
    pub start_lsn: Lsn,
    /// Where the next segment begins.
    pub end_lsn: Lsn,
    /// `ended_at` of the segment before, or the chain's `at`.
    pub started_at: Timestamp,
    /// The source's clock, read after everything up to `end_lsn` had been received.
    pub ended_at: Timestamp,
    /// The earliest time of a commit; `None` without transactions.
    pub first_commit_at: Option<Timestamp>,
    /// The latest time of a commit. Times of commits need not be in the order of the log.
    pub last_commit_at: Option<Timestamp>,
    /// What it holds.
    #[serde(flatten)]
    pub holds: SegmentEnd,
    /// `pg_current_snapshot()`, taken after everything up to `end_lsn` had been received.
    pub snapshot: TransactionSnapshot,
    /// SHA-256 over the definitions of all that users made, at the same time.
    pub schema_fingerprint: String,
    /// Whether it differs from the one before: a restore cannot replay this segment onto the schema before, unless what follows
    /// is true.
    pub schema_changed: bool,
    /// Whether messages in this segment tell every statement that changed it, and a restore can run each of them again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub schema_replayable: bool,
    /// What its transactions told that they defined, the first of them, in their order. Statements stand in the segment only,
    /// which is encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_changes: Vec<SchemaChange>,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Where it lies.
    pub object: StoredObject,
    /// What happened to which table; those without changes are not listed.
    pub tables: Vec<TableChanges>,
    /// Tables whose changes are not captured at its end, and why; `None` where they are those of the manifest before. The
    /// first segment of each run says it, and older programs never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_captured: Option<Vec<NotCaptured>>,
    /// The run's public key (`age1…`).
    pub recipient: String,
    /// Who can open the private half.
    pub key_holders: Vec<String>,
    /// Version of the program.
    pub keepsake: String,
    /// The manifest before this one.
    pub previous: PreviousChanges,
}

/// Older programs do not know the field, and need not see it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl ChainManifest {
    /// Reads a chain's manifest, compares it with its own digest, and checks that it belongs where it was found.
    ///
    /// # Errors
    /// [`ManifestError`], as for a backup's manifest.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<(Self, ManifestSeal), ManifestError> {
        parse_sealed(key, bytes, Self::contradiction)
    }

    /// As it is stored, with its seal.
    ///
    /// # Errors
    /// Never in practice: all fields are plain data.
    pub fn to_json(&self, seal_key: &SealKey) -> Result<Vec<u8>, serde_json::Error> {
        Ok(seal(serde_json::to_vec_pretty(self)?, seal_key))
    }

    fn contradiction(&self, key: &str) -> Option<String> {
        let place = |layout: &ChangesLayout| layout.manifest(ChangesKey::Chain(self.lsn));
        if let Err(why) = ChangesLayout::of_found((&self.source, &self.lineage), key, place) {
            return Some(why);
        }
        let later = self.previous.as_ref().filter(|previous| previous.start_lsn >= self.lsn);
        later.map(|previous| format!("it names {} as the one before", previous.start_lsn))
    }
}

impl SegmentManifest {
    /// Reads a segment's manifest, compares it with its own digest, and checks that it belongs where it was found.
    ///
    /// # Errors
    /// [`ManifestError`], as for a backup's manifest.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<(Self, ManifestSeal), ManifestError> {
        parse_sealed(key, bytes, Self::contradiction)
    }

    /// As it is stored, with its seal.
    ///
    /// # Errors
    /// Never in practice: all fields are plain data.
    pub fn to_json(&self, seal_key: &SealKey) -> Result<Vec<u8>, serde_json::Error> {
        Ok(seal(serde_json::to_vec_pretty(self)?, seal_key))
    }

    fn contradiction(&self, key: &str) -> Option<String> {
        let place = |layout: &ChangesLayout| layout.manifest(ChangesKey::Segment(self.start_lsn));
        let layout = match ChangesLayout::of_found((&self.source, &self.lineage), key, place) {
            Ok(layout) => layout,
            Err(why) => return Some(why),
        };
        if self.end_lsn <= self.start_lsn {
            return Some(format!("it ends at {}, and begins at {}", self.end_lsn, self.start_lsn));
        }
        if !lies_within(&layout.run(self.run_id), &self.object.key) {
            return Some(format!("object \"{}\" lies outside of its run", self.object.key));
        }
        if self.schema_replayable && !self.schema_changed {
            return Some("its schema did not change, and can be replayed".to_owned());
        }
        self.previous_contradiction().or_else(|| self.counts_contradiction())
    }

    /// A segment follows another that begins before it, or a chain that begins where it does.
    fn previous_contradiction(&self) -> Option<String> {
        let (before, is_chain_start) = (self.previous.start_lsn, self.previous.is_chain_start);
        let fits = if is_chain_start { before == self.start_lsn } else { before < self.start_lsn };
        (!fits).then(|| format!("it names {before} as the one before, and begins at {}", self.start_lsn))
    }

    fn counts_contradiction(&self) -> Option<String> {
        let has_times = self.first_commit_at.is_some() && self.first_commit_at <= self.last_commit_at;
        let has_none = self.first_commit_at.is_none() && self.last_commit_at.is_none();
        if !(if self.holds.transactions > 0 { has_times } else { has_none }) {
            return Some("its times of commits do not fit its number of transactions".to_owned());
        }
        let counts = self.tables.iter().flat_map(|one| [one.inserts, one.updates, one.deletes]);
        let rows = counts.into_iter().try_fold(0_u64, u64::checked_add);
        let truncates = self.tables.iter().map(|one| one.truncates).max().unwrap_or_default();
        // One TRUNCATE may empty several tables.
        if rows
            .and_then(|rows| rows.checked_add(truncates))
            .is_none_or(|counted| counted > self.holds.changes)
        {
            return Some("its tables changed more often than it holds changes".to_owned());
        }
        let tables: BTreeSet<&TableName> = self.tables.iter().map(|one| &one.table).collect();
        (tables.len() != self.tables.len()).then(|| "a table is listed twice".to_owned())
    }
}

#[cfg(test)]
#[path = "segment_manifest_tests.rs"]
pub(crate) mod tests;
