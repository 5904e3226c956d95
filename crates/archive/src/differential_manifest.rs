//! The manifest of a differential: what all changes since a full backup come to. A differential exists only if its manifest
//! stands.

use crate::manifest_file::{lies_within, parse_sealed};
use crate::manifest_seal::{ManifestSeal, SealKey, seal};
use crate::{ChangesLayout, DifferentialEnd, ManifestError, PreviousChanges, StoredObject};
use keepsake_domain::{BackupId, Lineage, Lsn, Timestamp, TransactionSnapshot};
use serde::{Deserialize, Serialize};

/// The full backup that a differential belongs behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentialBase {
    /// The backup.
    pub backup_id: BackupId,
    /// SHA-256 of its manifest, 64 hexadecimal digits.
    pub manifest_sha256: String,
}

/// A transaction of the stream. JSON shape: these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedTransaction {
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// When it committed, by the source's clock.
    pub committed_at: Timestamp,
    /// Its number.
    pub xid: u64,
}

/// What the changes behind a full backup come to at the end of one segment. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentialManifest {
    /// [`crate::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The run that wrote it; the object is encrypted for its key pair.
    pub run_id: BackupId,
    /// The source's name.
    pub source: String,
    /// The lineage.
    pub lineage: Lineage,
    /// The full backup.
    pub base: DifferentialBase,
    /// Where the first segment begins that was read.
    pub start_lsn: Lsn,
    /// Where the last of them ends: segments that begin here follow.
    pub end_lsn: Lsn,
    /// `ended_at` of that segment.
    pub ended_at: Timestamp,
    /// The latest time of a commit in the segments; `None` without transactions.
    pub last_commit_at: Option<Timestamp>,
    /// `snapshot` of that segment.
    pub snapshot: TransactionSnapshot,
    /// `schema_fingerprint` of that segment.
    pub schema_fingerprint: String,
    /// Segments that were read.
    pub segments: u64,
    /// Transactions that the full backup does not see.
    pub transactions: u64,
    /// The last of them.
    pub last_transaction: Option<ReachedTransaction>,
    /// What it holds.
    #[serde(flatten)]
    pub holds: DifferentialEnd,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Where it lies.
    pub object: StoredObject,
    /// When it was made, by the clock of the machine that did.
    pub made_at: Timestamp,
    /// The run's public key (`age1…`).
    pub recipient: String,
    /// Who can open the private half.
    pub key_holders: Vec<String>,
    /// Version of the program.
    pub keepsake: String,
    /// The segment that it ends with.
    pub previous: PreviousChanges,
}

impl DifferentialManifest {
    /// Reads a differential's manifest, compares it with its own digest, and checks that it belongs where it was found.
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
        let place = |layout: &ChangesLayout| layout.differential(self.end_lsn, self.base.backup_id);
        let layout = match ChangesLayout::of_found((&self.source, &self.lineage), key, place) {
            Ok(layout) => layout,
            Err(why) => return Some(why),
        };
        if !lies_within(&layout.differential_run(self.run_id), &self.object.key) {
            return Some(format!("object \"{}\" lies outside of its run", self.object.key));
        }
        if self.previous.is_chain_start || self.previous.start_lsn >= self.end_lsn {
            return Some("it does not end with a segment".to_owned());
        }
        if self.start_lsn > self.previous.start_lsn {
            return Some(format!("it begins at {}, behind the segment that it ends with", self.start_lsn));
        }
        ((self.transactions > 0) != self.last_transaction.is_some())
            .then(|| "its last transaction does not fit their number".to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::segment_manifest::tests::segment;
    use crate::{Attempt, FORMAT_VERSION};
    use uuid::Uuid;

    fn differential() -> DifferentialManifest {
        let segment = segment();
        let layout = ChangesLayout::new(&segment.source, segment.lineage.clone()).unwrap();
        let (run_id, end) = (segment.run_id, segment.end_lsn);
        let object = layout.differential_object(run_id, end, Attempt(Uuid::from_u128(3)));
        DifferentialManifest {
            format_version: FORMAT_VERSION,
            run_id,
            source: segment.source,
            lineage: segment.lineage,
            base: DifferentialBase {
                backup_id: BackupId(Uuid::from_u128(9)),
                manifest_sha256: "00".repeat(32),
            },
            start_lsn: segment.start_lsn,
            end_lsn: end,
            ended_at: segment.ended_at,
            last_commit_at: segment.last_commit_at,
            snapshot: segment.snapshot,
            schema_fingerprint: segment.schema_fingerprint,
            segments: 1,
            transactions: 1,
            last_transaction: Some(ReachedTransaction {
                lsn: Lsn(600),
                committed_at: Timestamp::UNIX_EPOCH,
                xid: 101,
            }),
            holds: DifferentialEnd { batches: 1, deletions: 2, updates: 0, insertions: 3 },
            raw_bytes: 99,
            object: StoredObject::of_bytes(object, b"x"),
            made_at: Timestamp::UNIX_EPOCH,
            recipient: segment.recipient,
            key_holders: segment.key_holders,
            keepsake: segment.keepsake,
            previous: PreviousChanges { start_lsn: Lsn(500), is_chain_start: false, sha256: "00".into() },
        }
    }

    fn seal_key() -> SealKey {
        SealKey::try_from("07".repeat(32)).unwrap()
    }

    fn parsed(manifest: &DifferentialManifest) -> Result<DifferentialManifest, ManifestError> {
        let layout = ChangesLayout::new("wedsync", manifest.lineage.clone()).unwrap();
        let key = layout.differential(Lsn(700), BackupId(Uuid::from_u128(9)));
        DifferentialManifest::parse(&key, &manifest.to_json(&seal_key()).unwrap()).map(|(parsed, seal)| {
            seal.check(&key, &seal_key()).unwrap();
            parsed
        })
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        assert_eq!(parsed(&differential()).unwrap(), differential());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Wrong = fn(&mut DifferentialManifest);
        let wrong: [Wrong; 7] = [
            |manifest| manifest.end_lsn = Lsn(701),
            |manifest| manifest.base.backup_id = BackupId(Uuid::from_u128(8)),
            |manifest| manifest.object.key = "elsewhere".to_owned(),
            |manifest| manifest.previous.is_chain_start = true,
            |manifest| manifest.previous.start_lsn = Lsn(700),
            |manifest| manifest.start_lsn = Lsn(501),
            |manifest| manifest.last_transaction = None,
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            let mut manifest = differential();
            wrong(&mut manifest);
            assert!(matches!(parsed(&manifest), Err(ManifestError::Contradiction { .. })), "{number}");
        }
    }
}
