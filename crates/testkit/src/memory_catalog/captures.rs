//! Captured changes.

use super::{CatalogRun, MemoryCatalog, State, not_found};
use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{
    BackupId, ExecutionRowId, FULLS_LOOKED_AT, FullFact, FullFacts, FullRunFact, Lineage, LocationId,
    MOST_FULLS_AN_HOUR, Position, REPLAYED_LOOKED_AT, RunKind, SchemaBoundary, SourceId, Verdict,
};
use keepsake_steps::ports::{
    CaptureFacts, CaptureLog, CapturedRecord, CatalogError, ChainRecord, FailureRecord, ProbeRecord,
    SlotRecord,
};
use std::cmp::Reverse;

/// What one run captured of one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogCapture {
    /// Where the chain begins.
    pub chain: Position,
    /// All of it.
    pub captured: CapturedRecord,
}

/// A chain, and the run that was the first to hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogChain {
    /// The source.
    pub source: SourceId,
    /// That run.
    pub execution: ExecutionRowId,
    /// The chain.
    pub chain: ChainRecord,
}

impl MemoryCatalog {
    /// All chains, in the order in which they were heard of.
    #[must_use]
    pub fn chains(&self) -> Vec<CatalogChain> {
        self.state().chains.clone()
    }

    /// What each run captured of each chain, in the order in which it began to.
    #[must_use]
    pub fn captures(&self) -> Vec<CatalogCapture> {
        self.state().captures.clone()
    }
}

impl MemoryCatalog {
    /// Why changes could not be copied to a repository or read back from it, the last time that they could not.
    #[must_use]
    pub fn copy_failure(&self, source: SourceId, location: LocationId) -> Option<FailureRecord> {
        self.state().copy_failures.get(&(source, location)).cloned()
    }
}

impl State {
    fn source_of(&self, execution: ExecutionRowId) -> Result<SourceId, CatalogError> {
        let run = self.runs.get(&execution).ok_or_else(|| not_found("execution", execution))?;
        let policy = self.policies.get(&run.execution.policy);
        Ok(policy.ok_or_else(|| not_found("policy", &run.execution.policy))?.source.id)
    }

    fn newest_chain(&self, source: SourceId, lineage: &Lineage) -> Option<&CatalogChain> {
        let of_lineage = |known: &&CatalogChain| known.source == source && known.chain.lineage == *lineage;
        self.chains.iter().filter(of_lineage).max_by_key(|known| known.chain.begins.lsn)
    }

    /// Those of the lineage that stand and that no test found damaged, the newest.
    fn fulls(&self, lineage: &Lineage) -> Vec<FullFact> {
        let sealed =
            self.runs.values().filter_map(|run| run.sealed.as_ref().map(|(manifest, _, _)| manifest));
        let whole = sealed.filter(|full| full.lineage == *lineage && !self.is_damaged(full.backup_id));
        let mut whole: Vec<_> = whole.collect();
        whole.sort_by_key(|full| Reverse(full.snapshot_at));
        let fact = |full: &Manifest| FullFact {
            xmin: full.snapshot.xmin,
            schema_fingerprint: full.schema_fingerprint.clone(),
        };
        whole.into_iter().take(FULLS_LOOKED_AT).map(fact).collect()
    }

    /// Whether the newest verdict on it is that it failed.
    fn is_damaged(&self, backup_id: BackupId) -> bool {
        let of_backup = self.tests.iter().filter(|test| test.backup_id == backup_id);
        let outcomes = of_backup.filter_map(|test| test.outcome.as_ref());
        let judged = outcomes.filter(|outcome| outcome.verdict != Verdict::Inconclusive);
        let newest = judged.max_by_key(|outcome| outcome.completed_at);
        newest.is_some_and(|outcome| outcome.verdict == Verdict::Failed)
    }

    /// Whether a run that had to tell people has done so: it completed.
    fn has_completed(&self, execution: ExecutionRowId) -> bool {
        self.runs.get(&execution).is_some_and(|run| run.completed_at.is_some())
    }

    fn newest_full_run(&self, policy: &str) -> Option<FullRunFact> {
        let fulls =
            self.runs.values().filter(|run| run.kind == RunKind::Full && run.execution.policy == policy);
        let newest = fulls.max_by_key(|run| run.started_at)?;
        Some(FullRunFact { started_at: newest.started_at, is_running: newest.execution.status == "running" })
    }
}

#[async_trait]
impl CaptureLog for MemoryCatalog {
    async fn position(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<(Lineage, Position)>, CatalogError> {
        Ok(self.state().positions.get(&(source, location)).cloned())
    }

    async fn note_position(
        &self,
        source: SourceId,
        location: LocationId,
        lineage: &Lineage,
        position: Position,
    ) -> Result<(), CatalogError> {
        let mut state = self.state();
        let known = state.positions.get(&(source, location));
        if known.is_none_or(|(of, known)| of != lineage || known.lsn <= position.lsn) {
            state.positions.insert((source, location), (lineage.clone(), position));
        }
        Ok(())
    }

    async fn note_chain(&self, execution: ExecutionRowId, chain: &ChainRecord) -> Result<(), CatalogError> {
        let mut state = self.state();
        let source = state.source_of(execution)?;
        let is_same = |known: &CatalogChain| {
            known.source == source
                && (&known.chain.lineage, known.chain.begins.lsn) == (&chain.lineage, chain.begins.lsn)
        };
        if !state.chains.iter().any(is_same) {
            state.chains.push(CatalogChain { source, execution, chain: chain.clone() });
        }
        Ok(())
    }

    async fn note_captured(&self, captured: &CapturedRecord) -> Result<(), CatalogError> {
        let mut state = self.state();
        let source = state.source_of(captured.execution)?;
        let chain = state.chains.iter().filter(|known| {
            known.source == source
                && known.chain.lineage == captured.lineage
                && known.chain.begins.lsn <= captured.end.lsn
        });
        let chain = chain.map(|known| known.chain.begins).max_by_key(|begins| begins.lsn);
        let chain = chain.ok_or_else(|| not_found("a chain that leads to", captured.end.lsn))?;
        state.run(captured.execution)?.execution.lineage = Some(captured.lineage.clone());
        let same = |known: &&mut CatalogCapture| {
            known.captured.execution == captured.execution && known.chain == chain
        };
        match state.captures.iter_mut().find(same) {
            None => state.captures.push(CatalogCapture { chain, captured: captured.clone() }),
            Some(CatalogCapture { captured: known, .. }) => {
                known.end = captured.end;
                known.segments += captured.segments;
                known.transactions += captured.transactions;
                known.changes += captured.changes;
                known.raw_bytes += captured.raw_bytes;
                known.stored_bytes += captured.stored_bytes;
                if captured.schema_changed.is_some() {
                    known.schema_changed.clone_from(&captured.schema_changed);
                    known.schema_replayed.clear();
                }
                known.schema_replayed.extend_from_slice(&captured.schema_replayed);
            }
        }
        Ok(())
    }

    async fn capture_facts(
        &self,
        execution: ExecutionRowId,
        lineage: &Lineage,
    ) -> Result<CaptureFacts, CatalogError> {
        let state = self.state();
        let source = state.source_of(execution)?;
        let known =
            state.newest_chain(source, lineage).ok_or_else(|| not_found("a chain of lineage", lineage))?;
        let begins = known.chain.begins;
        let changed = |of: &&CatalogCapture| of.chain == begins && of.captured.schema_changed.is_some();
        let newest = state.captures.iter().filter(changed).max_by_key(|of| of.captured.end.lsn);
        let since = newest.map(|of| of.captured.end.lsn);
        let behind = |of: &&CatalogCapture| {
            of.chain == begins && since.is_none_or(|since| since <= of.captured.end.lsn)
        };
        let replayed = state.captures.iter().filter(behind).flat_map(|of| &of.captured.schema_replayed);
        let mut replayed: Vec<_> = replayed.cloned().collect();
        replayed.sort_by_key(|boundary| Reverse(boundary.xmax));
        replayed.truncate(REPLAYED_LOOKED_AT);
        let of_chain = || SchemaBoundary {
            at: begins.at,
            xmax: known.chain.snapshot_xmax,
            schema_fingerprint: known.chain.schema_fingerprint.clone(),
        };
        let policy = &state.runs[&execution].execution.policy;
        let told = |of: &&CatalogCapture| {
            of.chain == begins
                && of.captured.execution != execution
                && state.has_completed(of.captured.execution)
        };
        let told_to = state.captures.iter().filter(told).map(|of| of.captured.end.lsn).max();
        let is_news = |of: &CatalogCapture| {
            of.captured.execution == execution || told_to.is_none_or(|told| told < of.captured.end.lsn)
        };
        let asked = |run: &&CatalogRun| {
            run.kind == RunKind::Full && run.execution.policy == *policy && run.requested_by == "capture"
        };
        let mut begun: Vec<_> = state.runs.values().filter(asked).map(|run| run.started_at).collect();
        begun.sort_by_key(|at| Reverse(*at));
        begun.truncate(MOST_FULLS_AN_HOUR);
        Ok(CaptureFacts {
            gap: known.chain.gap.clone().filter(|_| told_to.is_none()),
            schema_changed: state.captures.iter().filter(changed).any(is_news),
            full: FullFacts {
                since: newest.and_then(|of| of.captured.schema_changed.clone()).unwrap_or_else(of_chain),
                replayed,
                fulls: state.fulls(lineage),
                newest_run: state.newest_full_run(policy),
                begun_for_changes: begun,
            },
        })
    }

    async fn note_slot(&self, source: SourceId, slot: &SlotRecord) -> Result<(), CatalogError> {
        self.state().slots.insert(source, slot.clone());
        Ok(())
    }

    async fn note_probe(
        &self,
        source: SourceId,
        location: LocationId,
        probe: &ProbeRecord,
    ) -> Result<(), CatalogError> {
        let mut state = self.state();
        let known = state.probes.entry((source, location)).or_insert(*probe);
        if known.probed_at <= probe.probed_at {
            *known = *probe;
        }
        Ok(())
    }

    async fn probed(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<ProbeRecord>, CatalogError> {
        Ok(self.state().probes.get(&(source, location)).copied())
    }

    async fn note_copy_failure(
        &self,
        source: SourceId,
        location: LocationId,
        failure: &FailureRecord,
    ) -> Result<(), CatalogError> {
        self.state().copy_failures.insert((source, location), failure.clone());
        Ok(())
    }
}
