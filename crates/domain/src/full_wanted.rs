//! Whether a full backup must begin now, so that captured changes can be restored to.

use crate::Timestamp;
use std::time::Duration;

/// Between two fulls that were begun for one reason: one that fails costs its source a dump, and people hear of each.
const AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// What decides it, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullFacts {
    /// The earliest boundary of the newest chain from which on the schema is what it is: the chain's beginning, or the end
    /// of the newest segment in which it changed.
    pub since: SchemaBoundary,
    /// The newest full backup of the chain's lineage that stands.
    pub newest_full: Option<FullFact>,
    /// The policy's newest run of a full backup, however it ended.
    pub newest_run: Option<FullRunFact>,
}

/// A boundary of a chain that a full backup can join at.
#[derive(Debug, Clone, PartialEq, Eq)]
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
/// again an hour later, and one that is running is waited for.
#[must_use]
pub fn full_wanted(facts: &FullFacts, now: Timestamp) -> bool {
    if facts.newest_full.as_ref().is_some_and(|full| is_continued(facts, full)) {
        return false;
    }
    match facts.newest_run {
        Some(run) if run.is_running => false,
        Some(run) => run.started_at < facts.since.at || run.started_at + AGAIN_AFTER <= now,
        None => true,
    }
}

/// Whether the changes to this day follow this backup: it sees everything of before a boundary that has its schema, and
/// the schema did not change behind that. The same rule as [`crate::ChangeHistory`]'s.
fn is_continued(facts: &FullFacts, full: &FullFact) -> bool {
    let schema = full.schema_fingerprint.as_ref();
    full.xmin >= facts.since.xmax && schema.is_none_or(|schema| *schema == facts.since.schema_fingerprint)
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
        FullFacts { since, newest_full: None, newest_run: None }
    }

    fn full(xmin: u64, fingerprint: &str) -> Option<FullFact> {
        Some(FullFact { xmin, schema_fingerprint: Some(fingerprint.to_owned()) })
    }

    fn run(minute: i64, is_running: bool) -> Option<FullRunFact> {
        Some(FullRunFact { started_at: at(minute), is_running })
    }

    #[test]
    fn a_chain_without_a_full_that_joins_it_wants_one() {
        assert!(full_wanted(&facts(), at(101)));
        assert!(full_wanted(&FullFacts { newest_full: full(999, "a"), ..facts() }, at(101)));
        let joined = FullFacts { newest_full: full(1000, "a"), newest_run: run(104, false), ..facts() };
        assert!(!full_wanted(&joined, at(110)));
    }

    #[test]
    fn a_changed_schema_wants_a_full_of_the_new_one_that_sees_all_of_before() {
        let since = SchemaBoundary { at: at(120), xmax: 1200, schema_fingerprint: "b".to_owned() };
        let changed = |newest_full| {
            let newest_run = run(104, false);
            full_wanted(&FullFacts { since: since.clone(), newest_full, newest_run }, at(121))
        };
        assert!(changed(full(1300, "a")));
        assert!(changed(full(1199, "b")), "made between the change and the end of the segment that notes it");
        assert!(!changed(full(1200, "b")));
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
