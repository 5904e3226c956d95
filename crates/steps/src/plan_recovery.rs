//! Which full backup and which segments bring a restore to a point in time. Reads manifests only.

use crate::StepError;
use crate::differential::StandingDifferential;
use crate::list_backups::{StandingBackup, find_layout, manifest_keys, read_backup};
use crate::list_changes::{
    LineageChanges, StandingChanges, UnreadableManifest, change_history, lineage_changes, not_captured_at,
    said_not_captured,
};
use crate::passed_over::PassedOver;
use crate::ports::Repository;
use futures::stream::{self, StreamExt};
use keepsake_archive::{ArchiveLayout, ChangesLayout};
use keepsake_domain::{
    BackupId, BackupIdPrefix, FailureClass, Lsn, NotCaptured, NotCapturedReason, Position, RecoveryPlan,
    RecoveryTarget, TableName, Unreachable,
};
use std::collections::HashMap;

/// Manifests that are read at a time: each is a small request whose answer takes some milliseconds to begin.
const READS_IN_FLIGHT: usize = 16;

/// The way to a point in time.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryRoute {
    /// The plan.
    pub plan: RecoveryPlan,
    /// The full backup that it begins with.
    pub backup: StandingBackup,
    /// What the changes behind it come to, up to the first of the segments; see [`crate::take_differential`].
    pub differential: Option<StandingDifferential>,
    /// Segments that it spares.
    pub spared_segments: u64,
    /// The segments behind them, in their order.
    pub segments: Vec<StandingChanges>,
    /// Tables whose changes are not captured: they hold the full backup's rows, whatever the target.
    pub not_captured: Vec<NotCaptured>,
    /// Those of them that the full backup does not hold: they are missing behind the restore.
    pub not_held: Vec<TableName>,
    /// Whether these are all: not where a manifest is missing or cannot be read between the one that says it and the target.
    pub is_not_captured_known: bool,
    /// How far changes were captured; everything behind the target is left out.
    pub captured: Option<Position>,
    /// Transactions in segments that lie behind the target as a whole.
    pub transactions_behind: u64,
    /// Whether these are all: not where a manifest behind the target is missing or cannot be read, changes are lost, or the
    /// full backup that is taken lies within a segment.
    pub is_behind_known: bool,
    /// Manifests of the lineage that cannot be read; none of them is needed.
    pub unreadable: Vec<UnreadableManifest>,
    /// Full backups among these that would have been taken instead of this one.
    pub passed_over: Vec<BackupId>,
    /// Why what they hold may be newer than what this route comes to; see [`RecoveryRoute::refuse_older`].
    pub older: Option<String>,
}

/// What stands of the lineage that a restore is planned in.
#[derive(Default)]
pub(crate) struct LineageStanding {
    pub backups: Vec<StandingBackup>,
    /// Full backups that cannot be read.
    pub unreadable: Vec<UnreadableManifest>,
    pub changes: LineageChanges,
}

impl LineageStanding {
    /// Of one backup's lineage. Where that backup alone is `wanted`, no other is looked at.
    async fn read(
        repository: &dyn Repository,
        newest: ArchiveLayout,
        wanted: Option<&BackupIdPrefix>,
    ) -> Result<Self, StepError> {
        let layout = ChangesLayout { source: newest.source.clone(), lineage: newest.lineage.clone() };
        let mut standing = match wanted {
            Some(_) => {
                let backups = vec![read_backup(repository, newest).await?];
                Self { backups, unreadable: Vec::new(), changes: LineageChanges::default() }
            }
            None => Self::without_changes(repository, &newest).await?,
        };
        standing.changes = lineage_changes(repository, &layout).await?;
        Ok(standing)
    }

    /// All full backups of a backup's lineage. An older one and more changes lead to the same points as one that cannot be
    /// read.
    async fn without_changes(repository: &dyn Repository, newest: &ArchiveLayout) -> Result<Self, StepError> {
        let read =
            |layout: ArchiveLayout| async move { (layout.manifest(), read_backup(repository, layout).await) };
        let fulls = fulls_of(repository, newest).await?;
        let found: Vec<_> = stream::iter(fulls).map(read).buffered(READS_IN_FLIGHT).collect().await;
        let is_one_readable = found.iter().any(|(_, found)| found.is_ok());
        let (mut backups, mut unreadable) = (Vec::with_capacity(found.len()), Vec::new());
        for (key, found) in found {
            match found {
                Ok(backup) => backups.push(backup),
                Err(error) if !is_one_readable => return Err(error),
                Err(error) => unreadable.push(UnreadableManifest::aside(key, error)?),
            }
        }
        Ok(Self { backups, unreadable, changes: LineageChanges::default() })
    }

    /// The way to a target.
    pub(crate) fn route(&self, target: RecoveryTarget) -> Result<RecoveryRoute, StepError> {
        let plan = change_history(&self.backups, &self.changes).plan(target);
        let plan = plan.map_err(|why| self.unreachable(&why))?;
        let backup = self.backups.iter().find(|backup| backup.layout.backup_id == plan.base);
        let backup = backup.cloned().ok_or_else(|| not_planned(&plan.base.to_string()))?;
        let LineageChanges { standing, unreadable } = &self.changes;
        let starts = |standing: &&StandingChanges| {
            standing.segment().is_some_and(|segment| plan.segments.contains(&segment.start_lsn))
        };
        let segments: Vec<StandingChanges> = standing.iter().filter(starts).cloned().collect();
        if segments.len() != plan.segments.len() {
            return Err(not_planned("a segment"));
        }
        let positions = standing.iter().map(|standing| standing.boundary().position);
        let captured = positions.max_by_key(|position| position.lsn);
        let said = said_not_captured(standing, plan.ends.lsn);
        let is_said = |(said, _): (Lsn, _)| leads_to(standing, said, plan.ends.lsn);
        let is_unreadable_behind = unreadable.iter().any(|one| one.start() >= Some(plan.ends.lsn));
        let is_not_captured_known = plan.segments.is_empty() || said.is_some_and(is_said);
        let not_captured = not_captured_at(standing, plan.ends.lsn).to_vec();
        let PassedOver { backups: passed_over, older } = PassedOver::by(
            &plan,
            &self.unreadable,
            &backup,
            is_not_captured_known && !not_captured.iter().any(may_hold_newer),
        );
        Ok(RecoveryRoute {
            is_not_captured_known,
            not_held: not_held(&not_captured, Some(&backup)),
            not_captured,
            transactions_behind: transactions_behind(standing, &plan),
            is_behind_known: !is_unreadable_behind
                && captured.is_none_or(|captured| leads_to(standing, plan.ends.lsn, captured.lsn)),
            captured,
            plan,
            backup,
            differential: None,
            spared_segments: 0,
            segments,
            unreadable: [self.unreadable.as_slice(), unreadable.as_slice()].concat(),
            passed_over,
            older,
        })
    }

    /// No full backup that can be read leads there; one that cannot might.
    fn unreachable(&self, why: &Unreachable) -> StepError {
        let unread = self.unreadable.last().map_or_else(String::new, |one| {
            format!("; a full backup that might reach it cannot be read: {}", one.error)
        });
        StepError::found(
            FailureClass::Permanent,
            format!("{why}{unread}"),
            "nothing was changed",
            "choose a point that can be restored: keepsake window --repo <URL> shows all of them",
        )
    }
}

/// Whether a newer full backup may hold newer rows of it: of a foreign table none holds any.
fn may_hold_newer(one: &NotCaptured) -> bool {
    one.reason != NotCapturedReason::Foreign
}

/// Tables whose changes are not captured and that a full backup does not hold, so that no restore from it has them.
#[must_use]
pub fn not_held(not_captured: &[NotCaptured], backup: Option<&StandingBackup>) -> Vec<TableName> {
    let is_held = |table: &TableName| backup.is_some_and(|backup| backup.manifest.holds(table));
    let missing = not_captured.iter().filter(|one| one.is_missing_without_rows() && !is_held(&one.table));
    missing.map(|one| one.table.clone()).collect()
}

/// Plans a restore to a point in time: of the lineage of one backup, or of the newest backup.
///
/// # Errors
/// [`FailureClass::Permanent`] when the target cannot be restored, with the nearest points that can; as [`find_layout`] when
/// there is no backup, or the repository holds several sources and none was named.
pub async fn plan_recovery(
    repository: &dyn Repository,
    wanted: Option<&BackupIdPrefix>,
    target: RecoveryTarget,
) -> Result<RecoveryRoute, StepError> {
    let newest = find_layout(repository, wanted).await?;
    LineageStanding::read(repository, newest, wanted).await?.route(target)
}

pub(crate) async fn fulls_of(
    repository: &dyn Repository,
    newest: &ArchiveLayout,
) -> Result<Vec<ArchiveLayout>, StepError> {
    let prefix = format!("{}/{}/full/", newest.source, newest.lineage);
    manifest_keys(repository, &prefix).await
}

/// Whether segments follow each other without a hole from one position to another.
fn leads_to(standing: &[StandingChanges], from: Lsn, to: Lsn) -> bool {
    let segments = standing.iter().filter_map(StandingChanges::segment);
    let ends: HashMap<Lsn, Lsn> = segments.map(|segment| (segment.start_lsn, segment.end_lsn)).collect();
    // Ends: each segment ends behind its beginning.
    let mut at = from;
    while let Some(end) = ends.get(&at).filter(|end| **end > at) {
        at = *end;
    }
    at >= to
}

fn transactions_behind(changes: &[StandingChanges], plan: &RecoveryPlan) -> u64 {
    let segments = changes.iter().filter_map(StandingChanges::segment);
    segments
        .filter(|segment| segment.start_lsn >= plan.ends.lsn)
        .map(|segment| segment.holds.transactions)
        .sum()
}

fn not_planned(what: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("{what} that the plan names is not in the repository"),
        "nothing was changed",
        "run the same command again; if it fails again, restore from a copy",
    )
}
