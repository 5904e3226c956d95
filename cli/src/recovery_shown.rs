//! The way to a point in time, as a restore's plan shows it.

use crate::text;
use keepsake_domain::{
    BackupId, GapReason, NotCaptured, Position, RecoveryTarget, SchemaChange, TableName, Timestamp,
};
use keepsake_steps::{RecoveryRoute, StandingChanges, StandingDifferential, UnreadableManifest};
use serde::Serialize;
use std::fmt;

/// So many unreadable manifests show what is wrong.
const SHOWN_UNREADABLE: usize = 5;

/// JSON shape: these fields, in snake case.
#[derive(Debug, Serialize)]
pub struct RecoveryShown {
    /// What was asked for.
    target: RecoveryTarget,
    /// What is applied instead of the first segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    differential: Option<DifferentialShown>,
    /// Segments that are read.
    segments: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    /// Transactions in them: those that the backup sees, and those behind the target in the last of them, are skipped.
    transactions: u64,
    changes: u64,
    /// Where the last of the segments ends.
    ends: Position,
    /// How far changes were captured.
    captured: Option<Position>,
    /// Transactions in segments that are not read, since they lie behind the target.
    transactions_left_out: u64,
    /// Whether these are all: not where a manifest behind the target is missing or cannot be read, or changes are lost.
    left_out_known: bool,
    /// Why the newest point is not the end of what was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<GapReason>,
    /// Changes of the schema in these segments, the first of each: those up to the target are run again.
    schema_changes: Vec<SchemaChange>,
    /// Tables whose changes are not captured: they hold the full backup's rows, whatever the target.
    not_captured: Vec<NotCaptured>,
    /// Those of them that the full backup does not hold: they are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_held: Vec<TableName>,
    /// Whether these are all: not where a manifest before the target is missing or cannot be read.
    not_captured_known: bool,
    /// Manifests of the lineage that cannot be read; none of them is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableManifest>,
    /// Full backups among these that would have been taken instead of the older one that is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<BackupId>,
    /// Why they may hold something newer: the restore is refused then.
    #[serde(skip_serializing_if = "Option::is_none")]
    older: Option<String>,
}

/// A differential on the way to the point.
#[derive(Debug, Serialize)]
struct DifferentialShown {
    /// Where it ends.
    ends: Position,
    /// Segments that are not read for it.
    spares_segments: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    transactions: u64,
    /// Rows deleted, changed and inserted.
    changes: u64,
}

impl DifferentialShown {
    fn new(standing: &StandingDifferential, spares_segments: u64) -> Self {
        let (manifest, holds) = (&standing.manifest, standing.manifest.holds);
        Self {
            ends: Position { lsn: manifest.end_lsn, at: manifest.ended_at },
            spares_segments,
            stored_bytes: manifest.object.stored_bytes,
            raw_bytes: manifest.raw_bytes,
            transactions: manifest.transactions,
            changes: holds.deletions + holds.updates + holds.insertions,
        }
    }
}

impl RecoveryShown {
    /// From what the route's manifests say.
    #[must_use]
    pub fn new(route: &RecoveryRoute) -> Self {
        let manifests = || route.segments.iter().filter_map(StandingChanges::segment);
        Self {
            target: route.plan.target,
            differential: route
                .differential
                .as_ref()
                .map(|standing| DifferentialShown::new(standing, route.spared_segments)),
            segments: route.segments.len() as u64,
            stored_bytes: manifests().map(|segment| segment.object.stored_bytes).sum(),
            raw_bytes: manifests().map(|segment| segment.raw_bytes).sum(),
            transactions: manifests().map(|segment| segment.holds.transactions).sum(),
            changes: manifests().map(|segment| segment.holds.changes).sum(),
            ends: route.plan.ends,
            captured: route.captured,
            transactions_left_out: route.transactions_behind,
            left_out_known: route.is_behind_known,
            stopped_by: route.plan.stopped_by.clone(),
            schema_changes: manifests()
                .filter(|segment| segment.schema_replayable)
                .flat_map(|segment| segment.schema_changes.iter().cloned())
                .collect(),
            not_captured: route.not_captured.clone(),
            not_held: route.not_held.clone(),
            not_captured_known: route.is_not_captured_known,
            unreadable: route.unreadable.clone(),
            passed_over: route.passed_over.clone(),
            older: route.older.clone(),
        }
    }

    /// Lines of the plan.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn write(&self, f: &mut fmt::Formatter<'_>, now: Timestamp) -> fmt::Result {
        let at = match self.target {
            RecoveryTarget::Time { at, .. } => format!(" ({})", text::instant(at, now)),
            _ => String::new(),
        };
        writeln!(f, "  point      {}{at}", self.target)?;
        if let Some(one) = &self.differential {
            writeln!(
                f,
                "  applies    a differential instead of {} segments, {} stored, {} raw; {} rows that {} transactions came to, up to \
                 {} at {}",
                text::count(one.spares_segments),
                text::size(one.stored_bytes),
                text::size(one.raw_bytes),
                text::count(one.changes),
                text::count(one.transactions),
                text::instant(one.ends.at, now),
                one.ends.lsn
            )?;
        }
        writeln!(
            f,
            "  replays    {} segments, {} stored, {} raw; {} transactions with {} changes at most, up to {} at {}",
            text::count(self.segments),
            text::size(self.stored_bytes),
            text::size(self.raw_bytes),
            text::count(self.transactions),
            text::count(self.changes),
            text::instant(self.ends.at, now),
            self.ends.lsn
        )?;
        if let Some(captured) = self.captured.filter(|captured| captured.lsn > self.ends.lsn) {
            writeln!(
                f,
                "  leaves out what was captured behind that, until {} at {}: {}{} transactions",
                text::instant(captured.at, now),
                captured.lsn,
                if self.left_out_known { "" } else { "at least " },
                text::count(self.transactions_left_out)
            )?;
        }
        for one in &self.schema_changes {
            writeln!(f, "  schema     {one} is run again, if it is not behind the point")?;
        }
        if let Some(reason) = &self.stopped_by {
            writeln!(f, "  NOT FURTHER {reason}")?;
        }
        for one in &self.not_captured {
            writeln!(
                f,
                "  NOT CAPTURED {}: {} ({})",
                one.table,
                if self.not_held.contains(&one.table) {
                    "the full backup does not hold it, so it does not come back"
                } else {
                    "it comes back as the full backup held it"
                },
                one.reason.advice()
            )?;
        }
        if !self.not_captured_known {
            writeln!(
                f,
                "  NOT KNOWN  which other tables were not captured: a manifest before the point is missing or cannot be read"
            )?;
        }
        self.write_unreadable(f)?;
        if !self.not_captured.is_empty() {
            writeln!(
                f,
                "  foreign keys between these and other tables are made without validation where their rows do not fit"
            )?;
        }
        Ok(())
    }

    /// What cannot be read, the newest full backups first: they would have been taken.
    fn write_unreadable(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_passed_over = |one: &UnreadableManifest| {
            one.backup_id().is_some_and(|backup| self.passed_over.contains(&backup))
        };
        let (passed_over, others): (Vec<_>, Vec<_>) =
            self.unreadable.iter().partition(|one| is_passed_over(one));
        let then = match &self.older {
            None => "more changes lead to the same point from the older full backup above".to_owned(),
            Some(older) => format!("it may hold something newer: {older}"),
        };
        for one in passed_over.iter().rev().take(SHOWN_UNREADABLE) {
            writeln!(f, "  PASSED OVER {}; {then}", one.error)?;
        }
        for one in others.iter().take(SHOWN_UNREADABLE) {
            writeln!(f, "  UNREADABLE {}; this restore does not need it", one.error)?;
        }
        let shown = passed_over.len().min(SHOWN_UNREADABLE) + others.len().min(SHOWN_UNREADABLE);
        if shown < self.unreadable.len() {
            let more = self.unreadable.len() - shown;
            writeln!(f, "  UNREADABLE {more} more; keepsake verify --repo <URL> names them all")?;
        }
        Ok(())
    }
}
