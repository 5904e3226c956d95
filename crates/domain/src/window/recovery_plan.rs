//! Which full backup and which segments bring a restore to its target.

use super::{BaseFacts, BoundaryFacts, ChangeHistory, GapReason, Position, Reach, Run, SegmentFacts};
use crate::{BackupId, Bound, Lsn, RecoveryTarget, Timestamp, widen_xid};
use std::fmt;

/// What is restored for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The full backup.
    pub base: BackupId,
    /// What it holds already.
    pub base_position: Position,
    /// Where the segments begin that are replayed behind it, in their order. Transactions that the backup sees are skipped,
    /// and the replay stops at the target, which may lie in any of the last ones.
    pub segments: Vec<Lsn>,
    /// Where the last of them ends, or the backup's own position.
    pub ends: Position,
    /// Why [`RecoveryTarget::Latest`] is not the end of what was captured; `None` where it is, and for other targets.
    pub stopped_by: Option<GapReason>,
    /// What was asked for, with a transaction's number in 64 bits.
    pub target: RecoveryTarget,
}

/// The target cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unreachable {
    /// What was asked for.
    pub target: RecoveryTarget,
    /// Why not.
    pub why: String,
    /// The nearest point before it that can be.
    pub before: Option<Position>,
    /// The nearest point behind it that can be.
    pub after: Option<Position>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be restored: {}", self.target, self.why)?;
        let mut point = |side: &str, point: &Option<Position>| match point {
            Some(point) => write!(f, "; the nearest point {side} it is {} at {}", point.at, point.lsn),
            None => write!(f, "; there is no point {side} it"),
        };
        point("before", &self.before)?;
        point("behind", &self.after)
    }
}

impl ChangeHistory {
    /// Plans a restore: the latest full backup from which the target can be reached, and the segments behind it.
    ///
    /// # Errors
    /// [`Unreachable`], naming the nearest points on both sides.
    pub fn plan(&self, target: RecoveryTarget) -> Result<RecoveryPlan, Unreachable> {
        let target = self.widened(target);
        let reaches: Vec<(&BaseFacts, Reach)> =
            self.bases.iter().map(|base| (base, self.reach(base))).collect();
        let newest = reaches.iter().map(|(_, reach)| reach.newest.lsn).max();
        let fits = |(base, reach): &&(&BaseFacts, Reach)| {
            base.is_before(&target)
                && Some(reach.newest.lsn) >= newest.filter(|_| target == RecoveryTarget::Latest)
                && self.covers(reach, &target)
        };
        match reaches.iter().rev().find(fits) {
            Some((base, reach)) => Ok(self.plan_from(base, reach, target)),
            None => Err(self.unreachable(&reaches, target)),
        }
    }

    /// A number of 32 bits becomes the nearest one to what was captured.
    fn widened(&self, target: RecoveryTarget) -> RecoveryTarget {
        let near = self.boundaries().map(|boundary| boundary.snapshot.xmax).max();
        let near = near.or_else(|| self.bases.iter().map(|base| base.snapshot.xmax).max());
        match (target, near) {
            (RecoveryTarget::Xid { xid, bound }, Some(near)) => {
                let xid = u32::try_from(xid).map_or(xid, |short| widen_xid(short, near));
                RecoveryTarget::Xid { xid, bound }
            }
            (other, _) => other,
        }
    }

    /// Whether the target lies no further than the backup can be brought.
    fn covers(&self, reach: &Reach, target: &RecoveryTarget) -> bool {
        match target {
            RecoveryTarget::Latest => true,
            RecoveryTarget::Time { at, .. } => *at <= reach.newest.at,
            RecoveryTarget::Lsn { lsn, .. } => *lsn <= reach.newest.lsn,
            RecoveryTarget::Xid { xid, .. } => self.end_of(reach).is_some_and(|end| end.snapshot.sees(*xid)),
        }
    }

    fn end_of(&self, reach: &Reach) -> Option<&BoundaryFacts> {
        reach.join.map(|(run, _)| &self.runs[run].boundaries[reach.end])
    }

    fn plan_from(&self, base: &BaseFacts, reach: &Reach, target: RecoveryTarget) -> RecoveryPlan {
        let (segments, starts) = match reach.join {
            Some((run, join)) => {
                let run = &self.runs[run];
                (&run.segments[join..reach.end], &run.boundaries[join..reach.end])
            }
            None => (&[][..], &[][..]),
        };
        let behind = |segment: &SegmentFacts| segment.ends.position.lsn > base.position.lsn;
        let last = segments.iter().position(|segment| behind(segment) && segment.holds_end_of(&target));
        let segments = &segments[..last.map_or(segments.len(), |last| last + 1)];
        // None of the last ones is read that lie behind the target as a whole: they may be damaged, and it need not be known.
        let reaches =
            |(start, segment): (&BoundaryFacts, &SegmentFacts)| !segment.lies_behind(&target, start);
        let needed = starts.iter().zip(segments).map(reaches).collect::<Vec<_>>();
        let segments = &segments[..needed.iter().rposition(|needed| *needed).map_or(0, |last| last + 1)];
        // Nothing of segments that all end before the backup is missing in it.
        let segments = if segments.iter().any(behind) { segments } else { &[] };
        RecoveryPlan {
            base: base.backup_id,
            base_position: base.position,
            segments: segments.iter().map(|segment| segment.start).collect(),
            ends: segments.last().map_or(base.position, |segment| segment.ends.position),
            stopped_by: self.stopped_by(reach, &target),
            target,
        }
    }

    fn stopped_by(&self, reach: &Reach, target: &RecoveryTarget) -> Option<GapReason> {
        let captured = self.runs.last().map_or(reach.newest, Run::end);
        let is_short = |reason: &GapReason| reason.is_behind(reach.newest, captured);
        reach.stopped_by.clone().filter(|reason| *target == RecoveryTarget::Latest && is_short(reason))
    }

    fn unreachable(&self, reaches: &[(&BaseFacts, Reach)], target: RecoveryTarget) -> Unreachable {
        let window = self.window();
        let is_before = |point: &Position| match target {
            RecoveryTarget::Latest => true,
            RecoveryTarget::Time { at, .. } => point.at < at,
            RecoveryTarget::Lsn { lsn, .. } => point.lsn < lsn,
            RecoveryTarget::Xid { xid, .. } => {
                let snapshots = self.boundaries().map(|boundary| (boundary.position, &boundary.snapshot));
                let bases = self.bases.iter().map(|base| (base.position, &base.snapshot));
                let mut at = snapshots.chain(bases).filter(|(position, _)| position == point);
                at.any(|(_, snapshot)| !snapshot.sees(xid))
            }
        };
        let before = window.spans.iter().map(|span| span.newest).rfind(&is_before);
        let after = window.spans.iter().map(|span| span.oldest).find(|point| !is_before(point));
        let gap = window.gaps.iter().find(|gap| Some(gap.after) == before);
        let why = match (gap, reaches.is_empty(), before) {
            (Some(gap), ..) => gap.reason.to_string(),
            (None, true, _) => "no full backup stands".to_owned(),
            (None, false, None) => "it lies before the oldest full backup".to_owned(),
            (None, false, Some(_)) => "nothing was captured that far".to_owned(),
        };
        Unreachable { target, why, before, after }
    }
}

impl BaseFacts {
    /// Whether it holds nothing that lies behind the target.
    fn is_before(&self, target: &RecoveryTarget) -> bool {
        match target {
            RecoveryTarget::Latest => true,
            RecoveryTarget::Time { at, bound: Bound::Inclusive } => self.position.at <= *at,
            RecoveryTarget::Time { at, bound: Bound::Exclusive } => self.position.at < *at,
            RecoveryTarget::Lsn { lsn, .. } => self.position.lsn <= *lsn,
            RecoveryTarget::Xid { xid, .. } => !self.snapshot.sees(*xid),
        }
    }
}

impl SegmentFacts {
    /// Whether neither a transaction of the target nor the time of the target itself is in it: sequences at its end are
    /// needed by who asks for a time before that end, also where no transaction is.
    fn lies_behind(&self, target: &RecoveryTarget, start: &BoundaryFacts) -> bool {
        let RecoveryTarget::Time { at, bound } = target else { return false };
        let is_later = |first: Timestamp| first > *at || (first == *at && *bound == Bound::Exclusive);
        start.position.at >= *at && self.first_commit_at.is_none_or(is_later)
    }

    /// Whether the replay stops in it at the latest.
    fn holds_end_of(&self, target: &RecoveryTarget) -> bool {
        match target {
            // Where a transaction's commit record lies is only known by reading.
            RecoveryTarget::Latest | RecoveryTarget::Xid { .. } => false,
            RecoveryTarget::Time { at, bound: Bound::Inclusive } => self.last_commit_at > Some(*at),
            RecoveryTarget::Time { at, bound: Bound::Exclusive } => self.last_commit_at >= Some(*at),
            RecoveryTarget::Lsn { lsn, .. } => self.ends.position.lsn > *lsn,
        }
    }
}
