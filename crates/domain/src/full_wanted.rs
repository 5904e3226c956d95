//! Whether a full backup must begin now, so that captured changes can be restored to.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two fulls that were begun for one reason: one that fails costs its source a dump, and people hear of each.
const AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Fulls that changes begin within an hour, at most. The first ones begin at once, as a gap and a changed schema need it; where
/// the schema changes every minute, or the slot is lost again and again, the source pays for no more dumps than these.
pub const MOST_FULLS_AN_HOUR: usize = 4;

/// The span that [`MOST_FULLS_AN_HOUR`] counts in.
const AN_HOUR: Duration = Duration::from_secs(60 * 60);

/// Full backups that are looked at, the newest: those of a month, where one is made every night. Older ones ended before
/// whatever ended all of these.
pub const FULLS_LOOKED_AT: usize = 32;

/// Changes of the schema that a restore runs again, and that are looked at, the newest: more than a source has in a month. A full
/// whose schema is that of one before them is not taken for continued, and another one is made.
pub const REPLAYED_LOOKED_AT: usize = 256;

/// What decides it, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullFacts {
    /// The earliest boundary of the newest chain from which on the schema is what it is, but for changes that a restore runs
    /// again: the chain's beginning, or the end of the newest segment in which it changed otherwise.
    pub since: SchemaBoundary,
    /// The ends of segments behind it in which it changed so that a restore runs that again: the newest
    /// [`REPLAYED_LOOKED_AT`], in any order.
    pub replayed: Vec<SchemaBoundary>,
    /// Full backups of the chain's lineage that stand and that nobody found damaged: the newest [`FULLS_LOOKED_AT`], in any order.
    pub fulls: Vec<FullFact>,
    /// The policy's newest run of a full backup, however it ended.
    pub newest_run: Option<FullRunFact>,
    /// When the newest runs began that captures asked for, however they ended: [`MOST_FULLS_AN_HOUR`] of them, if there were.
    pub begun_for_changes: Vec<Timestamp>,
}

/// A boundary of a chain that a full backup can join at. JSON shape: these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaBoundary {
    /// The source's clock.
    pub at: Timestamp,
    /// `xmax` of the snapshot taken there.
    pub xmax: u64,
    /// Of the schema.
    pub schema_fingerprint: String,
}

/// A full backup that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullFact {
    /// `xmin` of its snapshot.
    pub xmin: u64,
    /// Of its schema; `None` in backups of older programs.
    pub schema_fingerprint: Option<String>,
}

/// A run of a full backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullRunFact {
    /// When it began.
    pub started_at: Timestamp,
    /// Whether it goes on.
    pub is_running: bool,
}

/// Whether the newest changes cannot be restored to without another full backup, and it is time to begin one.
///
/// Not a question of what one run saw: a full that failed, or that did not join because a transaction was open, is wanted
/// again an hour later, one that is running is waited for, and no more than [`MOST_FULLS_AN_HOUR`] are begun within an hour.
#[must_use]
pub fn full_wanted(facts: &FullFacts, now: Timestamp) -> bool {
    if facts.fulls.iter().any(|full| is_continued(facts, full)) {
        return false;
    }
    let lately = facts.begun_for_changes.iter().filter(|begun| **begun + AN_HOUR > now).count();
    if lately >= MOST_FULLS_AN_HOUR {
        return false;
    }
    match facts.newest_run {
        Some(run) if run.is_running => false,
        Some(run) => run.started_at < facts.since.at || run.started_at + AGAIN_AFTER <= now,
        None => true,
    }
}

/// Whether the changes to this day follow this backup: it sees everything of before a boundary that has its schema, and
/// behind that a restore runs every change of the schema again. The same rule as [`crate::ChangeHistory`]'s.
fn is_continued(facts: &FullFacts, full: &FullFact) -> bool {
    let schema = full.schema_fingerprint.as_ref();
    let joins = |boundary: &SchemaBoundary| {
        full.xmin >= boundary.xmax && schema.is_none_or(|schema| *schema == boundary.schema_fingerprint)
    };
    joins(&facts.since) || facts.replayed.iter().any(joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + minutes * 60).expect("within the calendar")
    }

    /// A chain of schema `a` that began at minute 100 with `xmax` 1000.
    fn facts() -> FullFacts {
        let since = SchemaBoundary { at: at(100), xmax: 1000, schema_fingerprint: "a".to_owned() };
        FullFacts {
            since,
            replayed: Vec::new(),
            fulls: Vec::new(),
            newest_run: None,
            begun_for_changes: Vec::new(),
        }
    }

    fn full(xmin: u64, fingerprint: &str) -> Vec<FullFact> {
        vec![FullFact { xmin, schema_fingerprint: Some(fingerprint.to_owned()) }]
    }

    fn run(minute: i64, is_running: bool) -> Option<FullRunFact> {
        Some(FullRunFact { started_at: at(minute), is_running })
    }

    #[test]
    fn a_chain_without_a_full_that_joins_it_wants_one() {
        assert!(full_wanted(&facts(), at(101)));
        assert!(full_wanted(&FullFacts { fulls: full(999, "a"), ..facts() }, at(101)));
        let joined = FullFacts { fulls: full(1000, "a"), newest_run: run(104, false), ..facts() };
        assert!(!full_wanted(&joined, at(110)));
    }

    #[test]
    fn an_older_full_that_joins_counts_whatever_was_made_since() {
        let fulls = [full(1100, "made while the schema was another"), full(1000, "a")].concat();
        let facts = FullFacts { fulls, newest_run: run(104, false), ..facts() };
        assert!(!full_wanted(&facts, at(104 + 600)));
    }

    #[test]
    fn changes_begin_so_many_fulls_an_hour_and_the_next_one_waits_for_the_first_of_them_to_be_an_hour_old() {
        let begun = |minutes: &[i64]| minutes.iter().map(|minute| at(*minute)).collect::<Vec<_>>();
        let after = |begun_for_changes, now| {
            let since = SchemaBoundary { at: at(now), xmax: 1200, schema_fingerprint: "z".to_owned() };
            full_wanted(
                &FullFacts { since, newest_run: run(now - 1, false), begun_for_changes, ..facts() },
                at(now),
            )
        };
        assert!(after(begun(&[130, 120, 110]), 131), "each at once, as long as they are few");
        assert!(!after(begun(&[130, 120, 110, 101]), 131));
        assert!(!after(begun(&[130, 120, 110, 101]), 160));
        assert!(after(begun(&[130, 120, 110, 101]), 161));
    }

    #[test]
    fn a_changed_schema_wants_a_full_of_the_new_one_that_sees_all_of_before() {
        let since = SchemaBoundary { at: at(120), xmax: 1200, schema_fingerprint: "b".to_owned() };
        let changed = |fulls| {
            let (since, newest_run) = (since.clone(), run(104, false));
            full_wanted(&FullFacts { since, fulls, newest_run, ..facts() }, at(121))
        };
        assert!(changed(full(1300, "a")));
        assert!(changed(full(1199, "b")), "made between the change and the end of the segment that notes it");
        assert!(!changed(full(1200, "b")));
    }

    #[test]
    fn a_change_of_the_schema_that_a_restore_runs_again_wants_no_full_whichever_schema_the_full_has() {
        let replayed = vec![
            SchemaBoundary { at: at(110), xmax: 1100, schema_fingerprint: "b".to_owned() },
            SchemaBoundary { at: at(120), xmax: 1200, schema_fingerprint: "c".to_owned() },
        ];
        let wanted = |fulls| {
            let newest_run = run(104, false);
            full_wanted(&FullFacts { replayed: replayed.clone(), fulls, newest_run, ..facts() }, at(170))
        };
        assert!(!wanted(full(1050, "a")), "made before all of them");
        assert!(!wanted(full(1150, "b")));
        assert!(!wanted(full(1300, "c")));
        assert!(wanted(full(1150, "c")), "made between the change and the end of the segment that notes it");
        assert!(wanted(full(1300, "d")), "of a schema that nobody noted");
    }

    #[test]
    fn a_full_that_runs_is_waited_for_and_one_that_failed_is_tried_again_after_an_hour() {
        let after = |newest_run, now| full_wanted(&FullFacts { newest_run, ..facts() }, at(now));
        assert!(!after(run(99, true), 101), "it began before the chain: the next capture looks again");
        assert!(after(run(99, false), 102), "that one was no try to join this chain");
        assert!(!after(run(101, false), 160));
        assert!(after(run(101, false), 161));
    }
}
