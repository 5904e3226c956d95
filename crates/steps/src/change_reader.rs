//! From the messages of segments to batches of net changes: skips what the full backup sees and what stands already, and
//! ends where the target says. Pure.

#[cfg(test)]
mod tests;

use crate::StepError;
use crate::net_changes::{NetChanges, Share};
use crate::ports::{ChangeBatch, ChangePosition};
use crate::row_layout::{Destinations, RowLayout};
use bytes::Bytes;
use keepsake_archive::ReachedTransaction;
use keepsake_archive::pgoutput::{Begin, Message, Relation};
use keepsake_domain::{
    Bound, FailureClass, Lsn, RecoveryTarget, SchemaEffect, TableName, Timestamp, TransactionSnapshot,
    widen_xid,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A batch is closed when it takes this much memory: some 200,000 small rows. The more changes of a row fall into one batch,
/// the fewer reach the server (docs/performance.md has what that is worth). One is gathered while one waits and one is
/// applied, so a replay takes up to 300 MiB.
pub const BATCH_BYTES: usize = 96 << 20;

/// The first batch is smaller by this power of two, and each one behind it twice as large, up to the whole: so the server
/// has work soon, and not only when the first whole batch is gathered.
const FIRST_SHIFT: u32 = 3;

/// What a replay is told before it begins.
#[derive(Debug)]
pub struct ReplayRules {
    /// Where rows go.
    pub destinations: Destinations,
    /// What the full backup sees.
    pub base: TransactionSnapshot,
    /// Where it ends.
    pub target: RecoveryTarget,
    /// What stands in the target of an earlier call.
    pub standing: ChangePosition,
    /// Bytes of memory at which a batch is closed.
    pub batch_bytes: usize,
}

/// The last transaction that was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastTransaction {
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// When it committed, by the source's clock.
    pub committed_at: Timestamp,
    /// Its number.
    pub xid: u64,
}

impl From<ReachedTransaction> for LastTransaction {
    fn from(reached: ReachedTransaction) -> Self {
        Self { lsn: reached.lsn, committed_at: reached.committed_at, xid: reached.xid }
    }
}

/// Reads messages and gathers batches. Once it refused a message it must not be used.
#[derive(Debug)]
pub struct ChangeReader {
    rules: ReplayRules,
    /// Bytes of memory at which the batch that is being gathered is closed.
    bound: usize,
    /// Of the segment that is being read, by object id.
    relations: HashMap<u32, (Relation, Option<Arc<RowLayout>>)>,
    /// A number of the time of this segment, to widen the others by.
    near_xid: u64,
    open: Option<Open>,
    net: NetChanges,
    /// Where the batch that is being gathered begins.
    from: ChangePosition,
    /// Behind the last message that was taken.
    position: ChangePosition,
    transactions: u64,
    last: Option<LastTransaction>,
    has_ended: bool,
    /// Whether changes are looked at and not gathered.
    only_looks: bool,
}

#[derive(Debug)]
struct Open {
    begin: Begin,
    xid: u64,
    is_in_base: bool,
}

impl ChangeReader {
    /// Before the first segment.
    #[must_use]
    pub fn new(rules: ReplayRules) -> Self {
        let from = rules.standing;
        let bound = (rules.batch_bytes >> FIRST_SHIFT).max(1);
        Self {
            rules,
            bound,
            relations: HashMap::new(),
            near_xid: 0,
            open: None,
            net: NetChanges::default(),
            from,
            position: ChangePosition::default(),
            transactions: 0,
            last: None,
            has_ended: false,
            only_looks: false,
        }
    }

    /// As [`Self::new`], to find what a replay would be refused for: it gathers nothing and answers no rows.
    #[must_use]
    pub fn looking(rules: ReplayRules) -> Self {
        Self { only_looks: true, ..Self::new(rules) }
    }

    /// As [`Self::new`], of a share of the changes.
    pub(crate) fn sharing(rules: ReplayRules, share: Share) -> Self {
        Self { bound: rules.batch_bytes, net: NetChanges::of(share), ..Self::new(rules) }
    }

    /// Begins behind a position that changes were brought to in another way.
    pub(crate) fn behind(mut self, position: ChangePosition) -> Self {
        (self.from, self.position) = (self.from.max(position), position);
        self.rules.standing = self.rules.standing.max(position);
        self
    }

    /// Which changes were gathered.
    pub(crate) fn share(&self) -> &Share {
        self.net.share()
    }

    /// Begins a segment, which describes its relations anew.
    pub fn begin_segment(&mut self, snapshot: &TransactionSnapshot) {
        self.relations.clear();
        self.near_xid = snapshot.xmax;
    }

    /// Whether what comes now is neither in the full backup nor behind the target.
    pub(crate) fn is_replaying(&self) -> bool {
        !self.has_ended && self.open.as_ref().is_some_and(|open| !open.is_in_base)
    }

    /// The schema is changed by what was read last.
    ///
    /// # Errors
    /// As [`Destinations::define`].
    pub(crate) fn define(&mut self, effect: &SchemaEffect) -> Result<(), StepError> {
        self.rules.destinations.define(effect)
    }

    /// Whether the target is reached.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Transactions that were replayed, and the last one.
    #[must_use]
    pub fn replayed(&self) -> (u64, Option<LastTransaction>) {
        (self.transactions, self.last)
    }

    /// Whether the changes that stand in the target end where this reader came to.
    ///
    /// # Errors
    /// [`FailureClass::Conflict`] when another restore went on in the target meanwhile: it holds another point then.
    pub(crate) fn is_at(&self, stands: ChangePosition) -> Result<(), StepError> {
        if stands == self.position { Ok(()) } else { Err(too_far(stands, self.position)) }
    }

    /// The next message of a segment. Answers a batch when one is full.
    ///
    /// # Errors
    /// [`FailureClass::Integrity`] when the message is none, out of order, or cannot follow those before it.
    pub fn message(&mut self, lsn: Lsn, payload: &Bytes) -> Result<Option<ChangeBatch>, StepError> {
        if self.has_ended {
            return Ok(None);
        }
        let message = Message::parse(payload).map_err(|error| strange(lsn, &error.to_string()))?;
        match message {
            Message::Begin(begin) => self.begin(begin).map(|()| None),
            Message::Commit { lsn: commit, .. } => self.commit(commit).map(|()| None),
            Message::Relation(relation) => {
                self.relations.insert(relation.oid, (relation, None));
                Ok(None)
            }
            Message::Type { .. } | Message::Origin { .. } | Message::Logical { .. } => Ok(None),
            change => self.change(lsn, &change),
        }
    }

    /// The last batch, behind the last segment; `None` when nothing is left to apply.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] when the target is a transaction that did not come; [`FailureClass::Conflict`] when the
    /// database stands behind the target already.
    pub fn finish(&mut self) -> Result<Option<ChangeBatch>, StepError> {
        if self.open.is_some() {
            return Err(strange(self.position.transaction, "the segments end within a transaction"));
        }
        if let (RecoveryTarget::Xid { xid, .. }, false) = (self.rules.target, self.has_ended) {
            return Err(not_found(xid));
        }
        if self.position < self.rules.standing {
            return Err(too_far(self.rules.standing, self.position));
        }
        Ok((self.from < self.position).then(|| self.close()))
    }

    fn begin(&mut self, begin: Begin) -> Result<(), StepError> {
        if self.open.is_some() || begin.final_lsn <= self.position.transaction {
            return Err(strange(begin.final_lsn, "a transaction is out of order"));
        }
        let xid = widen_xid(begin.xid, self.near_xid);
        let is_in_base = self.rules.base.sees(xid);
        self.has_ended = ends_before(&self.rules.target, &begin, xid);
        if !self.has_ended {
            self.open = Some(Open { begin, xid, is_in_base });
            self.position = ChangePosition { transaction: begin.final_lsn, messages: 0 };
            return Ok(());
        }
        if is_in_base {
            let what = format!("the full backup sees transaction {xid}, which lies behind the target");
            return Err(strange(begin.final_lsn, &what));
        }
        Ok(())
    }

    fn commit(&mut self, commit: Lsn) -> Result<(), StepError> {
        let open = self.open.take().filter(|open| open.begin.final_lsn == commit);
        let Open { begin, xid, is_in_base } =
            open.ok_or_else(|| strange(commit, "a commit of another transaction"))?;
        if !is_in_base {
            self.transactions += 1;
            self.last = Some(LastTransaction { lsn: begin.final_lsn, committed_at: begin.commit_at, xid });
        }
        if let RecoveryTarget::Xid { xid: wanted, bound: Bound::Inclusive } = self.rules.target {
            self.has_ended = xid == wanted;
        }
        Ok(())
    }

    fn change(&mut self, lsn: Lsn, change: &Message) -> Result<Option<ChangeBatch>, StepError> {
        let open = self.open.as_ref().ok_or_else(|| strange(lsn, "a change outside of a transaction"))?;
        let is_in_base = open.is_in_base;
        let before = self.position;
        self.position.messages += 1;
        if is_in_base || self.position <= self.rules.standing {
            return Ok(None);
        }
        if let Message::Truncate { relations, .. } = change {
            return self.truncate(lsn, relations);
        }
        let (Message::Insert { relation, .. }
        | Message::Update { relation, .. }
        | Message::Delete { relation, .. }) = change
        else {
            return Err(strange(lsn, "a message of no known kind"));
        };
        let layout = self.layout(*relation, lsn)?;
        if self.only_looks {
            return Ok(None);
        }
        let full = (!self.net.takes(&layout)).then(|| self.close_at(before));
        match change {
            Message::Insert { new, .. } => self.net.insert(&layout, new, lsn)?,
            Message::Update { old, new, .. } => self.net.update(&layout, old.as_ref(), new, lsn)?,
            Message::Delete { old, .. } => self.net.delete(&layout, old, lsn)?,
            _ => {}
        }
        let is_full = full.is_none() && self.net.bytes() >= self.bound;
        Ok(if is_full { Some(self.close()) } else { full })
    }

    /// Empties the tables at once. The rows of a partition that this server may have put into others cannot be told from
    /// theirs, so they are emptied together or not at all.
    fn truncate(&mut self, lsn: Lsn, relations: &[u32]) -> Result<Option<ChangeBatch>, StepError> {
        let mut emptied: BTreeMap<Arc<TableName>, (Arc<RowLayout>, usize)> = BTreeMap::new();
        for relation in relations {
            let layout = self.layout(*relation, lsn)?;
            emptied.entry(Arc::clone(layout.table())).or_insert_with(|| (layout, 0)).1 += 1;
        }
        for (table, (_, parts)) in &emptied {
            if *parts != self.rules.destinations.parts_of(table) {
                return Err(partly_emptied(table, lsn));
            }
        }
        if self.only_looks {
            return Ok(None);
        }
        // What an earlier key gathered of these tables is gone with their rows.
        emptied.values().for_each(|(layout, _)| self.net.truncate(layout));
        Ok(None)
    }

    fn layout(&mut self, relation: u32, lsn: Lsn) -> Result<Arc<RowLayout>, StepError> {
        let known = self.relations.get_mut(&relation);
        let (relation, layout) =
            known.ok_or_else(|| strange(lsn, "a change of a table that was not described"))?;
        match layout {
            Some(layout) => Ok(Arc::clone(layout)),
            None => Ok(Arc::clone(layout.insert(Arc::new(self.rules.destinations.layout(relation)?)))),
        }
    }

    fn close(&mut self) -> ChangeBatch {
        self.close_at(self.position)
    }

    fn close_at(&mut self, to: ChangePosition) -> ChangeBatch {
        self.bound = self.rules.batch_bytes.min(self.bound.saturating_mul(2));
        let from = std::mem::replace(&mut self.from, to);
        self.net.take().into_batch(from, to)
    }
}

/// As Postgres decides it at each commit record: by its time, by where it begins, or by whose it is.
/// Source: `recoveryStopsBefore` and `recoveryStopsAfter` in PostgreSQL's `access/transam/xlogrecovery.c`, read 2026-11-21.
fn ends_before(target: &RecoveryTarget, begin: &Begin, begun: u64) -> bool {
    match *target {
        RecoveryTarget::Latest | RecoveryTarget::Xid { bound: Bound::Inclusive, .. } => false,
        RecoveryTarget::Xid { xid, bound: Bound::Exclusive } => begun == xid,
        RecoveryTarget::Time { at, bound: Bound::Inclusive } => begin.commit_at > at,
        RecoveryTarget::Time { at, bound: Bound::Exclusive } => begin.commit_at >= at,
        RecoveryTarget::Lsn { lsn, bound: Bound::Inclusive } => begin.final_lsn > lsn,
        RecoveryTarget::Lsn { lsn, bound: Bound::Exclusive } => begin.final_lsn >= lsn,
    }
}

const AT_RISK: &str = "the backup is untouched; the target is not a complete restore";

fn strange(lsn: Lsn, what: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("the changes at {lsn} are not what a source wrote: {what}"),
        AT_RISK,
        "restore from a copy, or to a point before this position",
    )
}

fn not_found(xid: u64) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!(
            "transaction {xid} is not among the changes: it was rolled back, or changed nothing that is captured"
        ),
        "nothing was changed on the target",
        "restore to a time or a WAL position: keepsake window --repo <URL> shows those that can be restored",
    )
}

fn too_far(stands: ChangePosition, reached: ChangePosition) -> StepError {
    StepError::found(
        FailureClass::Conflict,
        format!(
            "another restore brought the target to {}, and this one ends at {}",
            stands.transaction, reached.transaction
        ),
        AT_RISK,
        "restore into a new empty database",
    )
}

fn partly_emptied(table: &TableName, lsn: Lsn) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!(
            "at {lsn} single partitions of table {table} were emptied, and this server may hold their rows in others"
        ),
        AT_RISK,
        "restore to a point before this position, or from a full backup behind it",
    )
}
