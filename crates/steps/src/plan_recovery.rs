//! Which full backup and which segments bring a restore to a point in time. Reads manifests only.

use crate::StepError;
use crate::differential::StandingDifferential;
use crate::list_backups::{StandingBackup, find_layout, manifest_keys, read_backup};
use crate::list_changes::{StandingChanges, change_history, changes_of, not_captured_at};
use crate::ports::Repository;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{ArchiveLayout, ChangesLayout};
use keepsake_domain::{
    BackupIdPrefix, FailureClass, NotCaptured, Position, RecoveryPlan, RecoveryTarget, Unreachable,
};

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
    /// How far changes were captured; everything behind the target is left out.
    pub captured: Option<Position>,
    /// Transactions in segments that lie behind the target as a whole.
    pub transactions_behind: u64,
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
    let layouts = match wanted {
        Some(_) => vec![newest.clone()],
        None => fulls_of(repository, &newest).await?,
    };
    let backups = read_all(repository, layouts).await?;
    let layout = ChangesLayout { source: newest.source, lineage: newest.lineage };
    let changes = changes_of(repository, &layout).await?;
    let plan = change_history(&backups, &changes).plan(target).map_err(|why| unreachable(&why))?;
    let backup = backups.into_iter().find(|backup| backup.layout.backup_id == plan.base);
    let backup = backup.ok_or_else(|| not_planned(&plan.base.to_string()))?;
    let starts = |standing: &&StandingChanges| {
        standing.segment().is_some_and(|segment| plan.segments.contains(&segment.start_lsn))
    };
    let segments: Vec<StandingChanges> = changes.iter().filter(starts).cloned().collect();
    if segments.len() != plan.segments.len() {
        return Err(not_planned("a segment"));
    }
    Ok(RecoveryRoute {
        not_captured: not_captured_at(&changes, plan.ends.lsn).to_vec(),
        captured: changes
            .iter()
            .map(|standing| standing.boundary().position)
            .max_by_key(|position| position.lsn),
        transactions_behind: transactions_behind(&changes, &plan),
        plan,
        backup,
        differential: None,
        spared_segments: 0,
        segments,
    })
}

async fn fulls_of(
    repository: &dyn Repository,
    newest: &ArchiveLayout,
) -> Result<Vec<ArchiveLayout>, StepError> {
    let prefix = format!("{}/{}/full/", newest.source, newest.lineage);
    manifest_keys(repository, &prefix).await
}

async fn read_all(
    repository: &dyn Repository,
    layouts: Vec<ArchiveLayout>,
) -> Result<Vec<StandingBackup>, StepError> {
    let read = |layout| read_backup(repository, layout);
    stream::iter(layouts).map(read).buffered(READS_IN_FLIGHT).try_collect().await
}

fn transactions_behind(changes: &[StandingChanges], plan: &RecoveryPlan) -> u64 {
    let segments = changes.iter().filter_map(StandingChanges::segment);
    segments
        .filter(|segment| segment.start_lsn >= plan.ends.lsn)
        .map(|segment| segment.holds.transactions)
        .sum()
}

fn unreachable(why: &Unreachable) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        why.to_string(),
        "nothing was changed",
        "choose a point that can be restored: keepsake window --repo <URL> shows all of them",
    )
}

fn not_planned(what: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("{what} that the plan names is not in the repository"),
        "nothing was changed",
        "run the same command again; if it fails again, restore from a copy",
    )
}
