//! Random histories of transactions, cut at random positions: whatever a backup sees and whatever is replayed behind it
//! are together every transaction exactly once.
//!
//! The server is modelled where it is subtle. A transaction draws its number, writes its commit record, and only then,
//! maybe much later (synchronous replication), leaves the list of running ones. A snapshot's xmax is not the next number
//! but the highest that is over, plus one.

use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What a random history is made of. Indexes choose among what is possible.
#[derive(Debug, Clone)]
enum Event {
    /// Somebody draws a number.
    Begin,
    /// One of those who run writes its commit record.
    Commit(prop::sample::Index),
    /// One of those leaves the list of running ones.
    Leave(prop::sample::Index),
    /// One of those who run gives up.
    Abort(prop::sample::Index),
    /// A segment ends.
    Cut,
    /// A full backup is made.
    Full,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<prop::sample::Index>;
    let event = prop_oneof![
        6 => Just(Event::Begin),
        5 => index().prop_map(Event::Commit),
        5 => index().prop_map(Event::Leave),
        1 => index().prop_map(Event::Abort),
        2 => Just(Event::Cut),
        1 => Just(Event::Full),
    ];
    prop::collection::vec(event, 1..120)
}

#[derive(Debug, Default)]
struct Server {
    lsn: u64,
    next_xid: u64,
    latest_over: u64,
    running: BTreeSet<u64>,
    /// Their commit record is written; others still take them for running.
    leaving: BTreeSet<u64>,
    /// Number and position of each commit record.
    committed: Vec<(u64, Lsn)>,
}

impl Server {
    fn snapshot(&self) -> TransactionSnapshot {
        let xmax = self.latest_over + 1;
        let active = self.running.union(&self.leaving).copied();
        let xip: Vec<u64> = active.filter(|xid| *xid < xmax).collect();
        TransactionSnapshot { xmin: xip.first().copied().unwrap_or(xmax), xmax, xip }
    }

    fn begin(&mut self) -> u64 {
        self.next_xid += 1;
        self.running.insert(self.next_xid);
        self.next_xid
    }

    fn over(&mut self, xid: u64) {
        self.running.remove(&xid);
        self.leaving.remove(&xid);
        self.latest_over = self.latest_over.max(xid);
    }

    fn position(&self) -> Position {
        Position { lsn: Lsn(self.lsn), at: Timestamp::UNIX_EPOCH }
    }

    /// As a capture takes it: behind the end of the segment somebody draws a number and gives it up, then looks.
    fn boundary(&mut self, draws: bool) -> BoundaryFacts {
        let position = self.position();
        if draws {
            let drawn = self.begin();
            self.over(drawn);
        }
        BoundaryFacts { position, snapshot: self.snapshot(), schema_fingerprint: String::new() }
    }

    fn step(&mut self, event: &Event) {
        self.lsn += 8;
        let chosen = |among: &BTreeSet<u64>, index: &prop::sample::Index| {
            let all: Vec<u64> = among.iter().copied().collect();
            (!all.is_empty()).then(|| all[index.index(all.len())])
        };
        match event {
            Event::Begin => drop(self.begin()),
            Event::Commit(index) => {
                if let Some(xid) = chosen(&self.running, index) {
                    self.running.remove(&xid);
                    self.leaving.insert(xid);
                    self.committed.push((xid, Lsn(self.lsn)));
                }
            }
            Event::Leave(index) => {
                if let Some(xid) = chosen(&self.leaving, index) {
                    self.over(xid);
                }
            }
            Event::Abort(index) => {
                if let Some(xid) = chosen(&self.running, index) {
                    self.over(xid);
                }
            }
            Event::Cut | Event::Full => {}
        }
    }
}

/// What happened: the history as the window sees it, and every transaction that was captured.
struct Captured {
    history: ChangeHistory,
    committed: Vec<(u64, Lsn)>,
    end: Lsn,
}

fn captured(events: &[Event], draws: bool) -> Captured {
    let mut server = Server { lsn: 1000, next_xid: 100, latest_over: 100, ..Server::default() };
    // What runs before the chain begins.
    let before: BTreeSet<u64> = (0..3).map(|_| server.begin()).collect();
    let mut chain = None;
    let (mut segments, mut bases): (Vec<SegmentFacts>, Vec<BaseFacts>) = (Vec::new(), Vec::new());
    let mut start = Lsn(0);
    for (number, event) in events.iter().enumerate() {
        server.step(event);
        // A slot begins when all that ran before have written their end; they may still be on their way out.
        if chain.is_none() && server.running.is_disjoint(&before) {
            start = server.position().lsn;
            chain = Some(ChainFacts { begins: server.boundary(draws), gap: None });
            continue;
        }
        match event {
            Event::Cut if chain.is_some() => {
                let ends = server.boundary(draws);
                let end = ends.position.lsn;
                segments.push(SegmentFacts { start, ends, last_commit_at: None });
                start = end;
            }
            Event::Full => bases.push(BaseFacts {
                backup_id: BackupId(Uuid::from_u128(number as u128)),
                snapshot: server.snapshot(),
                position: server.position(),
                schema_fingerprint: None,
            }),
            _ => {}
        }
    }
    let history = ChangeHistory::new(bases, chain.into_iter().collect(), segments);
    Captured { history, committed: server.committed, end: start }
}

/// Transactions that a restore of `base` through all segments behind `join` would lose or bring twice.
fn wrong(captured: &Captured, base: &BaseFacts, join: Lsn) -> Vec<u64> {
    let behind_chain = captured.committed.iter().filter(|(_, lsn)| *lsn <= captured.end);
    behind_chain
        .filter(|(xid, lsn)| {
            let is_replayed = *lsn > join && !base.snapshot.sees(*xid);
            base.snapshot.sees(*xid) == is_replayed
        })
        .map(|(xid, _)| *xid)
        .collect()
}

fn joined(captured: &Captured) -> Vec<(&BaseFacts, Lsn)> {
    let history = &captured.history;
    let bases = history.bases.iter().filter(|base| base.position.lsn <= captured.end);
    bases
        .filter_map(|base| {
            let (run, boundary) = history.join(base)?;
            Some((base, history.runs[run].boundaries[boundary].position.lsn))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_transaction_is_once_in_the_backup_or_in_what_is_replayed_behind_it(events in events()) {
        let captured = captured(&events, true);
        for (base, join) in joined(&captured) {
            prop_assert_eq!(wrong(&captured, base, join), Vec::<u64>::new());
        }
    }
}

/// Whether a rule is found wrong within many histories.
fn is_found_wrong(draws: bool, rule: impl Fn(&Captured) -> Vec<(BaseFacts, Lsn)>) -> bool {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..2_000).any(|_| {
        let events = events().new_tree(&mut runner).expect("a history").current();
        let captured = captured(&events, draws);
        rule(&captured).iter().any(|(base, join)| !wrong(&captured, base, *join).is_empty())
    })
}

fn owned(found: Vec<(&BaseFacts, Lsn)>) -> Vec<(BaseFacts, Lsn)> {
    found.into_iter().map(|(base, join)| (base.clone(), join)).collect()
}

#[test]
fn a_rule_by_position_alone_is_found_wrong_and_so_is_a_boundary_without_a_drawn_number() {
    let by_position = |captured: &Captured| {
        let boundaries = captured.history.boundaries_before();
        let bases = captured.history.bases.iter().filter(|base| base.position.lsn <= captured.end);
        let latest =
            |base: &BaseFacts| boundaries.iter().rev().find(|lsn| **lsn <= base.position.lsn).copied();
        bases.filter_map(|base| Some((base.clone(), latest(base)?))).collect()
    };
    assert!(is_found_wrong(true, by_position), "by position alone");
    assert!(is_found_wrong(false, |captured| owned(joined(captured))), "without a drawn number");
}

impl ChangeHistory {
    fn boundaries_before(&self) -> Vec<Lsn> {
        self.runs.iter().flat_map(|run| &run.boundaries).map(|boundary| boundary.position.lsn).collect()
    }
}
