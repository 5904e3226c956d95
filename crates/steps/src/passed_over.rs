//! Full backups that a restore would rather begin with, and whose manifests cannot be read: older rows must not be taken
//! for the newest that there are.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::list_changes::UnreadableManifest;
use crate::plan_recovery::RecoveryRoute;
use keepsake_domain::{BackupId, FailureClass, RecoveryPlan, Timestamp};

/// What a plan does without.
pub(crate) struct PassedOver {
    /// Oldest first.
    pub backups: Vec<BackupId>,
    /// Why they may hold something newer.
    pub older: Option<String>,
}

impl PassedOver {
    /// By a plan that begins with `base`. `all_captured` says that no table with rows in a full backup is known or thinkable whose changes are
    /// not captured.
    pub(crate) fn by(
        plan: &RecoveryPlan,
        unreadable: &[UnreadableManifest],
        base: &StandingBackup,
        all_captured: bool,
    ) -> Self {
        let backups: Vec<BackupId> = unreadable
            .iter()
            .filter_map(UnreadableManifest::backup_id)
            .filter(|backup| plan.passes_over(*backup))
            .collect();
        let ends_before = backups.iter().any(|backup| plan.may_end_before(*backup));
        let large_objects = base.manifest.blobs.as_ref().is_some_and(|blobs| blobs.count > 0);
        let older = match (backups.is_empty(), ends_before, all_captured && !large_objects) {
            (true, ..) | (false, false, true) => None,
            (false, true, _) => Some(format!("this restore ends at {} ({})", plan.ends.at, plan.ends.lsn)),
            (false, false, false) => Some(as_of(base.manifest.snapshot_at, all_captured)),
        };
        Self { backups, older }
    }
}

fn as_of(snapshot_at: Timestamp, all_captured: bool) -> String {
    let what = if all_captured { "large objects" } else { "tables whose changes are not captured" };
    format!("{what} come back as of {snapshot_at}")
}

impl RecoveryRoute {
    /// Refuses to pass over a full backup that may hold something newer than this route comes to. Whoever wants the older
    /// state names the full backup that it begins with: then no other is looked at.
    ///
    /// # Errors
    /// [`FailureClass::Integrity`], naming what cannot be read and the full backup that can.
    pub fn refuse_older(&self) -> Result<(), StepError> {
        let Some(older) = &self.older else { return Ok(()) };
        let is_passed_over = |one: &&UnreadableManifest| {
            one.backup_id().is_some_and(|backup| self.passed_over.contains(&backup))
        };
        let found = self.unreadable.iter().rfind(is_passed_over).map(|one| one.error.as_str());
        let base = self.backup.layout.backup_id;
        Err(StepError::found(
            FailureClass::Integrity,
            format!(
                "a newer full backup cannot be read, and may hold more than the older one that is left: {older}: {}",
                found.unwrap_or_default()
            ),
            "nothing was changed on the target; what was written later may stand in that full backup alone",
            format!(
                "restore from a copy, or put the manifest back from one (keepsake verify --repo <URL> on each); or, to take \
                 the older state, add --backup {base}"
            ),
        ))
    }
}
