use crate::GovernorLimits;
use serde::{Deserialize, Serialize};

/// Whether and how a policy captures changes. JSON shape: `"off"`, `"scheduled"` or `"continuous"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// Not at all.
    #[default]
    Off,
    /// Each run drains what was there when it began, and ends.
    Scheduled,
    /// Runs relay: a segment every few seconds.
    Continuous,
}

/// What people decided about the changes of one source. JSON shape: these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturePolicy {
    /// Whether and how.
    pub mode: CaptureMode,
    /// How long one segment may take in [`CaptureMode::Continuous`], in seconds: what commits now is safe so much later.
    pub segment_seconds: u32,
    /// WAL that the slot may make its server keep, in bytes.
    pub wal_budget_bytes: u64,
    /// Whether tables without a usable replica identity get `REPLICA IDENTITY FULL`.
    pub replica_identity_full: bool,
}

impl Default for CapturePolicy {
    /// Off; 10 seconds, and the governor's budget.
    fn default() -> Self {
        Self {
            mode: CaptureMode::Off,
            segment_seconds: 10,
            wal_budget_bytes: GovernorLimits::default().wal_budget_bytes,
            replica_identity_full: false,
        }
    }
}
