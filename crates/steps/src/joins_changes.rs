//! Whether a full backup joins the changes that are captured of its source, from as few manifests as tell it.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::list_changes::{LineageChanges, change_history, read_all_changes};
use crate::newest_changes::{FIRST_STEP, keys_between};
use crate::ports::Repository;
use keepsake_archive::{ArchiveLayout, ChangesLayout};
use keepsake_domain::Lsn;

/// Whether a restore of this backup can go on over captured changes; `None` where none of its lineage stand. Changes nothing.
///
/// # Errors
/// When the repository did not answer.
pub async fn joins_changes(
    repository: &dyn Repository,
    backup: &StandingBackup,
) -> Result<Option<bool>, StepError> {
    let mut near = NearChanges::of(&backup.layout);
    let joins = near.joins(repository, backup).await?;
    let stands = !near.changes.standing.is_empty() || !near.changes.unreadable.is_empty();
    Ok(joins.or(stands.then_some(false)))
}

/// A lineage's changes from some position on.
pub(crate) struct NearChanges {
    layout: ChangesLayout,
    /// All that was read.
    pub changes: LineageChanges,
    /// Everything from here on was.
    from: Lsn,
}

impl NearChanges {
    /// Nothing of a backup's lineage yet.
    pub(crate) fn of(backup: &ArchiveLayout) -> Self {
        let layout = ChangesLayout { source: backup.source.clone(), lineage: backup.lineage.clone() };
        Self { layout, changes: LineageChanges::default(), from: Lsn(u64::MAX) }
    }

    /// Whether a backup joins; `None` where nothing tells it. Manifests are read from a little before the backup on, and from
    /// further back while they do not tell: the transaction that the backup waits for is as old as that.
    pub(crate) async fn joins(
        &mut self,
        repository: &dyn Repository,
        backup: &StandingBackup,
    ) -> Result<Option<bool>, StepError> {
        let mut step = FIRST_STEP;
        // Ends: at position 0 at the latest, which sixteen steps of sixteen times the length reach.
        loop {
            self.read_from(repository, Lsn(backup.manifest.lsn.0.saturating_sub(step))).await?;
            let history = change_history(std::slice::from_ref(backup), &self.changes);
            let joins = history.joins(backup.layout.backup_id);
            if joins.is_some() || self.from == Lsn(0) {
                return Ok(joins);
            }
            step = step.saturating_mul(16);
        }
    }

    async fn read_from(&mut self, repository: &dyn Repository, from: Lsn) -> Result<(), StepError> {
        if from < self.from {
            let keys = keys_between(repository, &self.layout, from, self.from).await?;
            self.changes.prepend(read_all_changes(repository, keys).await?);
            self.from = from;
        }
        Ok(())
    }
}
