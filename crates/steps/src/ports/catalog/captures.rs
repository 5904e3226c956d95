//! What is known of captured changes: chains, how far each run captured, where the newest change stands, and the slot.

use super::{CatalogError, FailureRecord};
use async_trait::async_trait;
use keepsake_archive::{ChainManifest, ChainReason};
use keepsake_domain::{
    ExecutionRowId, FullFacts, GovernorVerdict, Lineage, LocationId, Lsn, Position, SchemaBoundary, SlotLook,
    SourceId, Timestamp,
};

/// Where a chain begins. Its manifest in the repository decides; this is what the catalog keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRecord {
    /// The lineage.
    pub lineage: Lineage,
    /// Where it begins, and the source's clock there.
    pub begins: Position,
    /// `xmax` of the snapshot taken there.
    pub snapshot_xmax: u64,
    /// Of the schema.
    pub schema_fingerprint: String,
    /// What was lost before; `None` for a source's first chain.
    pub gap: Option<String>,
    /// Key of its manifest.
    pub manifest_key: String,
    /// Tables whose changes are captured.
    pub published: u64,
    /// Tables whose changes are not.
    pub not_captured: u64,
}

impl ChainRecord {
    /// What the catalog keeps of a chain's manifest.
    #[must_use]
    pub fn of(manifest: &ChainManifest, manifest_key: String) -> Self {
        Self {
            lineage: manifest.lineage.clone(),
            begins: Position { lsn: manifest.lsn, at: manifest.at },
            snapshot_xmax: manifest.snapshot.xmax,
            schema_fingerprint: manifest.schema_fingerprint.clone(),
            gap: match &manifest.reason {
                ChainReason::Protected => None,
                ChainReason::Gap { what } => Some(what.clone()),
            },
            manifest_key,
            published: manifest.published.len() as u64,
            not_captured: manifest.not_captured.len() as u64,
        }
    }
}

/// What one call captured: a recovery point of kind incremental at every commit up to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedRecord {
    /// The run.
    pub execution: ExecutionRowId,
    /// The lineage.
    pub lineage: Lineage,
    /// How far.
    pub end: Position,
    /// Segments that were written.
    pub segments: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Changes in them.
    pub changes: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
    /// The end of the newest segment in which the schema changed so that no restore runs that again.
    pub schema_changed: Option<SchemaBoundary>,
    /// The ends of segments behind that one in which it changed so that a restore does.
    pub schema_replayed: Vec<SchemaBoundary>,
}

/// What follows from a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureFacts {
    /// What was lost before the newest chain, if this run was the first to hear of it.
    pub gap: Option<String>,
    /// Whether the schema changed in what this run captured of the newest chain, so that no restore runs that again.
    pub schema_changed: bool,
    /// What decides whether a full backup must begin.
    pub full: FullFacts,
}

/// One look of the governor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRecord {
    /// The slot's name.
    pub slot: String,
    /// What was found; `None` without a slot.
    pub look: Option<SlotLook>,
    /// WAL that it may make its server keep, in bytes.
    pub wal_budget_bytes: u64,
    /// What was decided.
    pub decision: GovernorVerdict,
    /// Whether this look dropped it.
    pub dropped: bool,
    /// When.
    pub looked_at: Timestamp,
}

/// What was read back from one repository, with the key of its side alone. Its age is the RPO there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeRecord {
    /// Where the newest heartbeat or commit that a restore from there reaches stands in the source's write-ahead log, or what the full
    /// backup holds that it begins with.
    pub newest_lsn: Lsn,
    /// When the source left or committed it, or the backup's snapshot was taken, by the source's clock.
    pub newest_at: Timestamp,
    /// Our clock after it was read.
    pub probed_at: Timestamp,
}

/// What the catalog keeps of captured changes. The repository decides; a row that is missing here is no gap.
#[async_trait]
pub trait CaptureLog: Send + Sync {
    /// Where the newest change stands in one repository, as far as anybody looked; `None` when nobody did.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn position(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<(Lineage, Position)>, CatalogError>;

    /// Notes where the newest change stands in one repository: the primary's after each capture, a copy's once somebody
    /// looked there. Its age is the recovery point objective as it is. An older position of the same lineage changes
    /// nothing.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_position(
        &self,
        source: SourceId,
        location: LocationId,
        lineage: &Lineage,
        position: Position,
    ) -> Result<(), CatalogError>;

    /// Notes that a run heard of a chain. A second call, also of another run, changes nothing.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_chain(&self, execution: ExecutionRowId, chain: &ChainRecord) -> Result<(), CatalogError>;

    /// Notes what a run captured, and adds to what it had captured of the same chain before.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no chain is known that leads there.
    async fn note_captured(&self, captured: &CapturedRecord) -> Result<(), CatalogError>;

    /// What follows for the newest chain of a lineage.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no chain of it is known.
    async fn capture_facts(
        &self,
        execution: ExecutionRowId,
        lineage: &Lineage,
    ) -> Result<CaptureFacts, CatalogError>;

    /// Notes the governor's newest look, in the place of the one before.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_slot(&self, source: SourceId, slot: &SlotRecord) -> Result<(), CatalogError>;

    /// Notes what was read back from one repository. An older probe changes nothing.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_probe(
        &self,
        source: SourceId,
        location: LocationId,
        probe: &ProbeRecord,
    ) -> Result<(), CatalogError>;

    /// What was read back from one repository last; `None` when nothing ever was.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn probed(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<ProbeRecord>, CatalogError>;

    /// Notes that changes could not be copied to a repository or read back from it, in the place of the failure before. It
    /// stays when the next copy succeeds: what stands there and when it was read back tell that.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn note_copy_failure(
        &self,
        source: SourceId,
        location: LocationId,
        failure: &FailureRecord,
    ) -> Result<(), CatalogError>;
}
