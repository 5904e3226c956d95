//! Full backups that a plan passes over, because nothing but their ids can be read.

use super::RecoveryPlan;
use crate::{BackupId, RecoveryTarget};
use std::time::Duration;

/// A backup's id is drawn before its snapshot is taken: in the step before, and a step has 15 minutes. The clocks of the
/// source and of who makes its backups differ by less.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(15 * 60);

impl RecoveryPlan {
    /// Whether a full backup that cannot be read would have been taken instead, as far as its id tells: it is newer than the
    /// one that is taken, and was begun before the target.
    #[must_use]
    pub fn passes_over(&self, unreadable: BackupId) -> bool {
        let end = match self.target {
            RecoveryTarget::Latest => None,
            RecoveryTarget::Time { at, .. } => Some(at),
            RecoveryTarget::Lsn { .. } | RecoveryTarget::Xid { .. } => Some(self.ends.at),
        };
        let begun = unreadable.drawn_at();
        unreadable > self.base && end.is_none_or(|end| begun.is_none_or(|begun| begun <= end))
    }

    /// Whether such a one may hold what this plan does not come to, also where nothing is captured behind it. Only the newest
    /// point can lie further: every other is what was asked for.
    #[must_use]
    pub fn may_end_before(&self, unreadable: BackupId) -> bool {
        let is_newer = || unreadable.drawn_at().is_none_or(|begun| begun + SNAPSHOT_WITHIN > self.ends.at);
        self.target == RecoveryTarget::Latest && self.passes_over(unreadable) && is_newer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bound, Lsn, Position, Timestamp};
    use uuid::{NoContext, Uuid};

    fn at(minute: u64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute.cast_signed()).expect("in range")
    }

    fn begun(minute: u64) -> BackupId {
        let time = uuid::Timestamp::from_unix(NoContext, 1_800_000_000 + 60 * minute, 0);
        BackupId(Uuid::new_v7(time))
    }

    /// From a full backup of minute 10 to the end of what was captured, in minute 100.
    fn plan(target: RecoveryTarget) -> RecoveryPlan {
        let position = |minute| Position { lsn: Lsn(minute), at: at(minute) };
        RecoveryPlan {
            base: begun(10),
            base_position: position(11),
            segments: vec![Lsn(11)],
            ends: position(100),
            stopped_by: None,
            target,
        }
    }

    #[test]
    fn a_newer_full_backup_is_passed_over_unless_it_was_begun_behind_the_target() {
        let passes = |target, minute| plan(target).passes_over(begun(minute));
        let time = |minute| RecoveryTarget::Time { at: at(minute), bound: Bound::Inclusive };
        assert!(!passes(RecoveryTarget::Latest, 9) && passes(RecoveryTarget::Latest, 200));
        assert!(!passes(time(50), 9) && passes(time(50), 49) && !passes(time(50), 51));
        let lsn = RecoveryTarget::Lsn { lsn: Lsn(50), bound: Bound::Inclusive };
        assert!(passes(lsn, 99) && !passes(lsn, 101));
    }

    #[test]
    fn only_the_newest_point_may_lie_further_and_only_where_nothing_was_captured_long_behind_the_full_backup()
    {
        let is_older = |target, minute| plan(target).may_end_before(begun(minute));
        assert!(!is_older(RecoveryTarget::Latest, 9), "it is older itself");
        assert!(!is_older(RecoveryTarget::Latest, 84), "its snapshot was taken long before minute 100");
        assert!(is_older(RecoveryTarget::Latest, 86) && is_older(RecoveryTarget::Latest, 200));
        let time = RecoveryTarget::Time { at: at(100), bound: Bound::Inclusive };
        assert!(!is_older(time, 99), "the point is what was asked for");
    }
}
