//! Whether a full backup that was just made joins the changes that are captured of its source.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::list_changes::{LineageChanges, change_history, read_all_changes};
use crate::newest_changes::{FIRST_STEP, keys_between};
use crate::ports::Repository;
use keepsake_archive::ChangesLayout;
use keepsake_domain::Lsn;

/// Whether a restore of this backup can go on over captured changes; `None` where none of its lineage stand. Manifests are read
/// from a little before the backup on, and from further back while they do not decide it. Changes nothing.
///
/// # Errors
/// When the repository did not answer.
pub async fn joins_changes(
    repository: &dyn Repository,
    backup: &StandingBackup,
) -> Result<Option<bool>, StepError> {
    let layout =
        ChangesLayout { source: backup.layout.source.clone(), lineage: backup.layout.lineage.clone() };
    let (mut changes, mut before, mut step) = (LineageChanges::default(), Lsn(u64::MAX), FIRST_STEP);
    // Ends: at position 0 at the latest, which sixteen steps of sixteen times the length reach.
    loop {
        let from = Lsn(backup.manifest.lsn.0.saturating_sub(step));
        let keys = keys_between(repository, &layout, from, before).await?;
        changes.prepend(read_all_changes(repository, keys).await?);
        let joins = change_history(std::slice::from_ref(backup), &changes).joins(backup.layout.backup_id);
        if joins.is_some() {
            return Ok(joins);
        }
        if from == Lsn(0) {
            let stands = !changes.standing.is_empty() || !changes.unreadable.is_empty();
            return Ok(stands.then_some(false));
        }
        (before, step) = (from, step.saturating_mul(16));
    }
}
