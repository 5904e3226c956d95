//! The twin of the catalog: the documented semantics of all its ports, in memory.

mod captures;
mod executions;
mod holds;
mod leases;
mod records;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
pub use captures::{CatalogCapture, CatalogChain};
use keepsake_archive::Manifest;
use keepsake_domain::{
    BackupId, ExecutionRowId, FencingToken, Lineage, LocationId, Notice, Position, RunKind, SourceId,
    Timestamp,
};
use keepsake_steps::ports::{
    CatalogError, Clock, CopyRecord, Execution, FailureRecord, Lease, Policies, Policy, ProbeRecord,
    SlotRecord, TestOutcome,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// A run, with all that was recorded about it.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogRun {
    /// What a caller sees.
    pub execution: Execution,
    /// What it makes.
    pub kind: RunKind,
    /// Who or what asked.
    pub requested_by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// The recovery point: manifest, its key, its SHA-256.
    pub sealed: Option<(Manifest, String, String)>,
    /// When it ended well.
    pub completed_at: Option<Timestamp>,
    /// Why it ended badly.
    pub failure: Option<FailureRecord>,
    /// Repeated steps.
    pub retries: u32,
}

/// A test restore.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogTest {
    /// Its row.
    pub test_id: Uuid,
    /// The backup.
    pub backup_id: BackupId,
    /// The throwaway instance.
    pub instance: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended.
    pub outcome: Option<TestOutcome>,
}

/// A notice that was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentNotice {
    /// The execution.
    pub execution_id: String,
    /// What was to be told.
    pub notice: Notice,
    /// Where.
    pub topic: String,
    /// Set once it was handed over.
    pub message_id: Option<String>,
}

#[derive(Debug)]
struct Hold {
    snapshot_name: String,
    ends_at: Timestamp,
    heartbeat_at: Timestamp,
    has_ended: bool,
}

/// The holders of one run, and whether it needs them no longer.
#[derive(Debug, Default)]
struct RunHolds {
    holds: Vec<Hold>,
    is_released: bool,
}

#[derive(Debug, Default)]
struct State {
    policies: BTreeMap<String, Policy>,
    /// Kept after release and expiry, so that tokens go on growing.
    leases: BTreeMap<String, (Lease, bool)>,
    newest_token: Option<FencingToken>,
    runs: BTreeMap<ExecutionRowId, CatalogRun>,
    holds: BTreeMap<ExecutionRowId, RunHolds>,
    copies: BTreeMap<(BackupId, LocationId), (CopyRecord, u32)>,
    tests: Vec<CatalogTest>,
    notices: Vec<SentNotice>,
    chains: Vec<CatalogChain>,
    captures: Vec<CatalogCapture>,
    positions: BTreeMap<(SourceId, LocationId), (Lineage, Position)>,
    probes: BTreeMap<(SourceId, LocationId), ProbeRecord>,
    copy_failures: BTreeMap<(SourceId, LocationId), FailureRecord>,
    slots: BTreeMap<SourceId, SlotRecord>,
}

/// The twin of the catalog. Its time is the clock's.
pub struct MemoryCatalog {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Declares a policy; one of the same name is replaced.
    pub fn add_policy(&self, policy: Policy) {
        self.state().policies.insert(policy.name.clone(), policy);
    }

    /// All runs, oldest first.
    #[must_use]
    pub fn runs(&self) -> Vec<CatalogRun> {
        let mut runs: Vec<_> = self.state().runs.values().cloned().collect();
        runs.sort_by_key(|run| run.started_at);
        runs
    }

    /// The newest state of each copy, and how often it was tried.
    #[must_use]
    pub fn copies(&self) -> Vec<(CopyRecord, u32)> {
        self.state().copies.values().cloned().collect()
    }

    /// All test restores, in the order in which they began.
    #[must_use]
    pub fn tests(&self) -> Vec<CatalogTest> {
        self.state().tests.clone()
    }

    /// All notices that were announced, in order.
    #[must_use]
    pub fn notices(&self) -> Vec<SentNotice> {
        self.state().notices.clone()
    }

    /// Leases that are held now.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        let now = self.clock.now();
        let state = self.state();
        let held =
            state.leases.values().filter(|(lease, is_released)| !is_released && lease.expires_at > now);
        held.map(|(lease, _)| lease.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn run(&mut self, id: ExecutionRowId) -> Result<&mut CatalogRun, CatalogError> {
        self.runs.get_mut(&id).ok_or_else(|| not_found("execution", id))
    }
}

fn not_found(kind: &str, name: impl std::fmt::Display) -> CatalogError {
    CatalogError::NotFound { what: format!("{kind} \"{name}\"") }
}

fn refused(act: String, reason: impl Into<String>) -> CatalogError {
    CatalogError::Transition { act, reason: reason.into() }
}

#[async_trait]
impl Policies for MemoryCatalog {
    async fn policy(&self, name: &str) -> Result<Policy, CatalogError> {
        self.state().policies.get(name).cloned().ok_or_else(|| not_found("policy", name))
    }
}
