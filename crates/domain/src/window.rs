//! Which points of a source's history can be restored: the full backups, the chains of captured changes, and how they
//! join.
//!
//! A full backup with snapshot S joins the changes behind the latest boundary G (a chain's beginning or a segment's end)
//! with `E(G).xmax <= S.xmin`, where E(G) was taken after everything up to G had been received, and after a number had
//! been drawn. Every transaction that had begun by then has a smaller number, so S sees it if it committed: what S does not
//! see began later, and its commit record lies behind G. From there all segments are replayed, and what S sees is skipped.

mod gap_reason;
mod passed_over;
mod recovery_plan;

pub use gap_reason::{GapReason, UnreadableFacts};
pub use recovery_plan::{RecoveryPlan, Unreachable};

use crate::{BackupId, Lsn, Timestamp, TransactionSnapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A position in the log, and the source's clock there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Position.
    pub lsn: Lsn,
    /// Clock.
    pub at: Timestamp,
}

/// What a full backup is to the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFacts {
    /// The backup.
    pub backup_id: BackupId,
    /// What it sees.
    pub snapshot: TransactionSnapshot,
    /// Position and clock, read after the snapshot was taken.
    pub position: Position,
    /// Of the schema; `None` in backups of older programs.
    pub schema_fingerprint: Option<String>,
}

/// The source at one position of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundaryFacts {
    /// Everything before had been received; the clock was read after that.
    pub position: Position,
    /// Taken after that.
    pub snapshot: TransactionSnapshot,
    /// Of the schema, taken after that.
    pub schema_fingerprint: String,
}

/// Where a chain begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFacts {
    /// The beginning.
    pub begins: BoundaryFacts,
    /// What was lost before; `None` for a source's first chain.
    pub gap: Option<String>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Where it begins.
    pub start: Lsn,
    /// Its end.
    pub ends: BoundaryFacts,
    /// The earliest time of a commit in it; `None` without transactions.
    pub first_commit_at: Option<Timestamp>,
    /// The latest.
    pub last_commit_at: Option<Timestamp>,
    /// Whether a restore repeats everything that changed the schema in it.
    pub is_schema_replayable: bool,
    /// What it follows.
    pub follows: Follows,
}

/// The manifest that a segment names as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The beginning of a chain, where the segment begins.
    Chain,
    /// A segment, and where that begins.
    Segment(Lsn),
}

/// A span of which every point can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first.
    pub oldest: Position,
    /// The last.
    pub newest: Position,
    /// Full backups in it, oldest first.
    pub bases: Vec<BackupId>,
}

/// Between two spans, or behind the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last point that can be restored before.
    pub after: Position,
    /// The first one behind; `None` while no full backup was made since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Position>,
    /// Why.
    #[serde(flatten)]
    pub reason: GapReason,
}

/// What can be restored of one lineage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Window {
    /// Oldest first.
    pub spans: Vec<Span>,
    /// Between and behind them.
    pub gaps: Vec<Gap>,
    /// How far changes were captured; a span may end before.
    pub captured: Option<Position>,
}

/// Everything about one lineage that decides what can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeHistory {
    /// By position.
    bases: Vec<BaseFacts>,
    /// By position.
    runs: Vec<Run>,
    /// By position.
    unreadable: Vec<UnreadableFacts>,
}

/// Segments that follow each other without a hole. Segment `n` leads from boundary `n` to boundary `n + 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    boundaries: Vec<BoundaryFacts>,
    segments: Vec<SegmentFacts>,
    /// What lies between the run before and this one.
    gap: Option<GapReason>,
}

impl Run {
    fn begin(begins: BoundaryFacts, gap: Option<GapReason>) -> Self {
        Self { boundaries: vec![begins], segments: Vec::new(), gap }
    }

    fn start(&self) -> Lsn {
        self.boundaries[0].position.lsn
    }

    fn end(&self) -> Position {
        self.boundaries[self.segments.len()].position
    }

    /// The schema of a backup made at `lsn`, if it did not change until the boundary behind.
    fn schema_at(&self, lsn: Lsn) -> &str {
        let before = self.boundaries.iter().rev().find(|boundary| boundary.position.lsn <= lsn);
        &before.unwrap_or(&self.boundaries[0]).schema_fingerprint
    }

    fn schema_of<'a>(&'a self, base: &'a BaseFacts) -> &'a str {
        base.schema_fingerprint.as_deref().unwrap_or_else(|| self.schema_at(base.position.lsn))
    }

    /// Which segment behind a boundary changes the schema in a way that a restore cannot repeat, if it ends behind `lsn`.
    fn ends_schema<'a>(&'a self, join: usize, mut schema: &'a str, lsn: Lsn) -> Option<usize> {
        self.segments[join..].iter().enumerate().position(move |(index, segment)| {
            let after = segment.ends.schema_fingerprint.as_str();
            let is_replayable =
                segment.is_schema_replayable && self.boundaries[join + index].schema_fingerprint == schema;
            if is_replayable {
                schema = after;
            }
            segment.ends.position.lsn > lsn && after != schema
        })
    }

    fn follow(&mut self, segments: &mut BTreeMap<Lsn, SegmentFacts>) {
        while let Some(next) = segments.remove(&self.end().lsn) {
            self.boundaries.push(next.ends.clone());
            self.segments.push(next);
        }
    }
}

/// How far one full backup can be brought.
struct Reach {
    /// Run and boundary behind which its changes are replayed.
    join: Option<(usize, usize)>,
    /// The boundary that it can be brought to; not before `join`.
    end: usize,
    newest: Position,
    /// Why not further.
    stopped_by: Option<GapReason>,
}

impl ChangeHistory {
    /// Puts the pieces of one lineage together, in whatever order they come.
    #[must_use]
    pub fn new(mut bases: Vec<BaseFacts>, mut chains: Vec<ChainFacts>, segments: Vec<SegmentFacts>) -> Self {
        bases.sort_by_key(|base| base.position.lsn);
        chains.sort_by_key(|chain| chain.begins.position.lsn);
        let mut segments: BTreeMap<Lsn, SegmentFacts> =
            segments.into_iter().map(|segment| (segment.start, segment)).collect();
        let mut runs: Vec<Run> = Vec::new();
        for chain in chains {
            let mut run = Run::begin(chain.begins, chain.gap.map(|what| GapReason::Lost { what }));
            run.follow(&mut segments);
            runs.push(run);
        }
        // What no chain leads to lies behind a hole: of its first segment only the end is known.
        while let Some((_, first)) = segments.pop_first() {
            let before = runs.iter().map(|run| run.end().lsn).filter(|end| *end <= first.start).max();
            let missing = match first.follows {
                Follows::Chain => GapReason::ChainMissing { start_lsn: first.start },
                Follows::Segment(start) => GapReason::SegmentMissing { start_lsn: before.unwrap_or(start) },
            };
            let mut run = Run::begin(first.ends, Some(missing));
            run.follow(&mut segments);
            runs.push(run);
        }
        runs.sort_by_key(Run::start);
        Self { bases, runs, unreadable: Vec::new() }
    }

    /// The same, knowing of manifests that cannot be read: each is a hole, as if it were missing, and is named.
    #[must_use]
    pub fn with_unreadable(mut self, mut unreadable: Vec<UnreadableFacts>) -> Self {
        unreadable.sort_by_key(|one| one.start);
        self.unreadable = unreadable;
        self
    }

    /// What can be restored.
    #[must_use]
    pub fn window(&self) -> Window {
        let captured = self.runs.last().map(Run::end);
        let mut window = Window { captured, ..Window::default() };
        let mut stopped_by = None;
        for base in &self.bases {
            let reach = self.reach(base);
            match window.spans.last_mut() {
                Some(span) if base.position.lsn <= span.newest.lsn => {
                    span.bases.push(base.backup_id);
                    if reach.newest.lsn < span.newest.lsn {
                        continue;
                    }
                    span.newest = reach.newest;
                }
                last => {
                    let after = last.map(|span| span.newest);
                    window.gaps.extend(after.map(|after| Gap {
                        after,
                        before: Some(base.position),
                        reason: stopped_by.take().unwrap_or(GapReason::NotCaptured),
                    }));
                    let (oldest, newest) = (base.position, reach.newest);
                    window.spans.push(Span { oldest, newest, bases: vec![base.backup_id] });
                }
            }
            stopped_by = reach.stopped_by;
        }
        // Changes that no full backup can be brought to.
        if let Some(span) = window.spans.last()
            && let Some(reason) =
                stopped_by.filter(|reason| reason.is_behind(span.newest, captured.unwrap_or(span.newest)))
        {
            window.gaps.push(Gap { after: span.newest, before: None, reason });
        }
        window
    }

    /// The full backups, oldest first.
    #[must_use]
    pub fn bases(&self) -> &[BaseFacts] {
        &self.bases
    }

    /// The latest boundary of the backup's schema behind which everything lies that the backup does not see.
    fn join(&self, base: &BaseFacts) -> Option<(usize, usize)> {
        // A standby's snapshot names no transaction that runs on its primary: which of them the backup sees cannot be told.
        if base.snapshot.xip.is_empty() && base.snapshot.xmin < base.snapshot.xmax {
            return None;
        }
        let of_run = |(index, run): (usize, &Run)| {
            let schema = run.schema_of(base);
            let fits = |boundary: &BoundaryFacts| {
                boundary.snapshot.xmax <= base.snapshot.xmin && boundary.schema_fingerprint == schema
            };
            Some((index, run.boundaries.iter().rposition(fits)?))
        };
        self.runs.iter().enumerate().rev().find_map(of_run)
    }

    /// Why what a run holds does not go on: the first manifest behind it that cannot be read, or what the next run says.
    fn ended_by(&self, index: usize) -> Option<GapReason> {
        let (end, next) = (self.runs[index].end().lsn, self.runs.get(index + 1));
        let is_between =
            |one: &&UnreadableFacts| one.start >= end && next.is_none_or(|next| one.start < next.start());
        let unreadable = self.unreadable.iter().find(is_between).map(UnreadableFacts::reason);
        unreadable.or_else(|| next.and_then(|next| next.gap.clone()))
    }

    /// The hole that a position lies in, with what is missing there.
    fn hole_at(&self, lsn: Lsn) -> Option<&GapReason> {
        let behind = self.runs.iter().position(|run| run.start() > lsn)?;
        let end = behind.checked_sub(1).map(|before| self.runs[before].end().lsn);
        self.runs[behind].gap.as_ref().filter(|reason| match reason {
            GapReason::ChainMissing { start_lsn } => *start_lsn <= lsn,
            GapReason::SegmentMissing { .. } => end.is_none_or(|end| end <= lsn),
            _ => false,
        })
    }

    /// Why a backup joins nothing: what it would have to join may be what cannot be read, or is missing.
    fn not_joined(&self, base: &BaseFacts) -> GapReason {
        let lsn = base.position.lsn;
        let before = self.boundaries().map(|boundary| boundary.position.lsn).filter(|end| *end <= lsn).max();
        let is_nearer =
            |one: &&UnreadableFacts| one.start <= lsn && before.is_none_or(|end| end <= one.start);
        match (self.unreadable.iter().rfind(is_nearer), self.hole_at(lsn)) {
            (Some(unreadable), _) => unreadable.reason(),
            (None, Some(missing)) => missing.clone(),
            (None, None) if self.runs.is_empty() => GapReason::NotCaptured,
            (None, None) => GapReason::NotJoined { backup_id: base.backup_id },
        }
    }

    /// Whether a full backup joins the changes; `None` where the boundary that would tell lies before all that are known here.
    #[must_use]
    pub fn joins(&self, backup_id: BackupId) -> Option<bool> {
        let base = self.bases.iter().find(|base| base.backup_id == backup_id)?;
        if self.reach(base).join.is_some() {
            return Some(true);
        }
        // Older ones are of older schemas.
        let fits = |boundary: &BoundaryFacts| boundary.snapshot.xmax <= base.snapshot.xmin;
        self.boundaries().any(fits).then_some(false)
    }

    fn boundaries(&self) -> impl Iterator<Item = &BoundaryFacts> {
        self.runs.iter().flat_map(|run| &run.boundaries)
    }

    fn reach(&self, base: &BaseFacts) -> Reach {
        let point = |join, end, stopped_by| Reach { join, end, newest: base.position, stopped_by };
        let Some((index, join)) = self.join(base) else {
            return point(None, 0, Some(self.not_joined(base)));
        };
        let (run, lsn) = (&self.runs[index], base.position.lsn);
        let next = self.runs.get(index + 1);
        // A later chain that had begun when the backup was made is the one that it would have to join.
        if run.end().lsn <= lsn && next.is_some_and(|next| next.start() <= lsn) {
            return point(None, 0, Some(self.not_joined(base)));
        }
        let changed = run.ends_schema(join, run.schema_of(base), lsn);
        let end = changed.map_or(run.segments.len(), |segments| join + segments);
        let stopped_by = match changed {
            Some(_) => Some(GapReason::SchemaChanged),
            None => self.ended_by(index),
        };
        let newest = run.boundaries[end].position;
        let newest = if newest.lsn > lsn { newest } else { base.position };
        Reach { join: Some((index, join)), end, newest, stopped_by }
    }
}

#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod tests;
