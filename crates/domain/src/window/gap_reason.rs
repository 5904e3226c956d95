//! Why nothing between two points can be restored.

use super::Position;
use crate::{BackupId, Lsn};
use serde::{Deserialize, Serialize};

/// A manifest of changes that stands and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableFacts {
    /// Where what it describes begins.
    pub start: Lsn,
    /// Its key.
    pub manifest: String,
    /// What is wrong with it, with its key.
    pub found: String,
}

/// Why nothing between two points can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum GapReason {
    /// Changes are lost.
    Lost {
        /// What happened.
        what: String,
    },
    /// A segment's manifest is not there, and later ones are.
    SegmentMissing {
        /// Where it should begin.
        start_lsn: Lsn,
    },
    /// The manifest with which a chain begins is not there, and segments of it are.
    ChainMissing {
        /// Where the chain begins.
        start_lsn: Lsn,
    },
    /// A manifest stands and cannot be read: nothing that it describes can be restored.
    Unreadable {
        /// Where that begins.
        start_lsn: Lsn,
        /// The manifest.
        manifest: String,
        /// What is wrong with it, with its key.
        found: String,
    },
    /// The schema changed, and no full backup was made behind that.
    SchemaChanged,
    /// The full backup cannot be continued: a transaction was still open in its snapshot that began before the chain, or
    /// before the schema or the set of captured tables became what they are in it.
    NotJoined {
        /// The backup.
        backup_id: BackupId,
    },
    /// Nobody captured changes.
    NotCaptured,
}

/// What makes the points behind an unreadable manifest restorable again, or at least the later ones.
const REPAIR: &str = "restore from a copy, or put the manifest back from one; else a full backup begins the next span, \
                      behind keepsake protect --begin-anew where no newer manifest stands";

/// The same where nothing stands in the manifest's place.
const REPAIR_MISSING: &str =
    "restore from a copy, or put its manifest back from one; else a full backup begins the next span";

impl std::fmt::Display for GapReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost { what } => f.write_str(what),
            Self::SegmentMissing { start_lsn } => {
                write!(f, "the segment that begins at {start_lsn} is missing; {REPAIR_MISSING}")
            }
            Self::ChainMissing { start_lsn } => {
                write!(f, "the beginning of the chain of changes at {start_lsn} is missing; {REPAIR_MISSING}")
            }
            Self::Unreadable { found, .. } => write!(f, "{found}; {REPAIR}"),
            Self::SchemaChanged => f.write_str("the schema changed; a full backup begins the next span"),
            Self::NotJoined { backup_id } => write!(
                f,
                "full backup {backup_id} does not join the changes: a transaction was open in it that began before \
                 them, or the schema had changed since the segment before it; the next full will"
            ),
            Self::NotCaptured => f.write_str("no changes were captured"),
        }
    }
}

impl GapReason {
    /// Whether changes lie behind the newest point that it keeps from being restored: how far an unreadable manifest leads is
    /// not known, but it leads further.
    pub(super) fn is_behind(&self, newest: Position, captured: Position) -> bool {
        captured.lsn > newest.lsn || matches!(self, Self::Unreadable { .. })
    }
}

impl UnreadableFacts {
    pub(super) fn reason(&self) -> GapReason {
        let (manifest, found) = (self.manifest.clone(), self.found.clone());
        GapReason::Unreadable { start_lsn: self.start, manifest, found }
    }
}
