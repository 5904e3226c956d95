//! Random histories of transactions, cut at random positions: whatever a backup sees and whatever is replayed behind it
//! are together every transaction exactly once.
//!
//! The server is modelled where it is subtle. A transaction draws its number, writes its commit record, and only then,
//! maybe much later (synchronous replication), leaves the list of running ones. A snapshot's xmax is not the next number
//! but the highest that is over, plus one. Tables are published while transactions run, and what these wrote to them before
//! is in no segment.

use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{BTreeMap, BTreeSet};
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
    /// One more table is published, which changes the schema's fingerprint.
    Publish,
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
        1 => Just(Event::Publish),
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
    /// How many tables are published.
    published: u32,
    /// And how many were when each transaction began.
    published_before: BTreeMap<u64, u32>,
    committed: Vec<Commit>,
}

/// A commit record.
#[derive(Debug, Clone, Copy)]
struct Commit {
    xid: u64,
    lsn: Lsn,
    /// So many tables were published when it began: of others, segments may lack rows of it.
    published_before: u32,
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
        self.published_before.insert(self.next_xid, self.published);
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
        BoundaryFacts { position, snapshot: self.snapshot(), schema_fingerprint: self.published.to_string() }
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
                    let published_before = self.published_before[&xid];
                    self.committed.push(Commit { xid, lsn: Lsn(self.lsn), published_before });
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
            Event::Publish => self.published += 1,
            Event::Cut | Event::Full => {}
        }
    }
}

/// What happened: the history as the window sees it, and every transaction that was captured.
struct Captured {
    history: ChangeHistory,
    committed: Vec<Commit>,
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
                segments.push(SegmentFacts {
                    start,
                    ends,
                    first_commit_at: None,
                    last_commit_at: None,
                    is_schema_replayable: false,
                    follows: Follows::Chain,
                });
                start = end;
            }
            Event::Full => bases.push(BaseFacts {
                backup_id: BackupId(Uuid::from_u128(number as u128)),
                snapshot: server.snapshot(),
                position: server.position(),
                schema_fingerprint: Some(server.published.to_string()),
            }),
            _ => {}
        }
    }
    let history = ChangeHistory::new(bases, chain.into_iter().collect(), segments);
    Captured { history, committed: server.committed }
}

/// Where the replay behind a backup begins, and how far it goes.
#[derive(Debug, Clone, Copy)]
struct Way {
    join: Lsn,
    end: Lsn,
}

/// Transactions that a restore of `base` by its way would lose, bring twice, or bring without some of their rows.
fn wrong(captured: &Captured, base: &BaseFacts, way: Way) -> Vec<u64> {
    let published = base.schema_fingerprint.as_ref().map_or(0, |schema| schema.parse().expect("a number"));
    let before_end = captured.committed.iter().filter(|commit| commit.lsn <= way.end);
    before_end
        .filter(|commit| {
            let is_replayed = commit.lsn > way.join && !base.snapshot.sees(commit.xid);
            base.snapshot.sees(commit.xid) == is_replayed
                || is_replayed && commit.published_before < published
        })
        .map(|commit| commit.xid)
        .collect()
}

/// The backups that can be brought further than they are, as far as that is.
fn joined(captured: &Captured) -> Vec<(&BaseFacts, Way)> {
    let history = &captured.history;
    let way = |base| {
        let reach = history.reach(base);
        let (run, boundary) = reach.join?;
        let lsn = |boundary: usize| history.runs[run].boundaries[boundary].position.lsn;
        (reach.newest.lsn > base.position.lsn).then(|| Way { join: lsn(boundary), end: lsn(reach.end) })
    };
    history.bases.iter().filter_map(|base| Some((base, way(base)?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_transaction_is_once_in_the_backup_or_in_what_is_replayed_behind_it(events in events()) {
        let captured = captured(&events, true);
        for (base, way) in joined(&captured) {
            prop_assert_eq!(wrong(&captured, base, way), Vec::<u64>::new());
        }
    }
}

/// Whether a rule is found wrong within many histories.
fn is_found_wrong(draws: bool, rule: impl Fn(&Captured) -> Vec<(BaseFacts, Way)>) -> bool {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..2_000).any(|_| {
        let events = events().new_tree(&mut runner).expect("a history").current();
        let captured = captured(&events, draws);
        rule(&captured).iter().any(|(base, way)| !wrong(&captured, base, *way).is_empty())
    })
}

/// A rule that takes the latest boundary that `fits`, and goes as far as ours.
fn by(fits: impl Fn(&BaseFacts, &BoundaryFacts) -> bool) -> impl Fn(&Captured) -> Vec<(BaseFacts, Way)> {
    move |captured: &Captured| {
        let boundaries: Vec<&BoundaryFacts> =
            captured.history.runs.iter().flat_map(|run| &run.boundaries).collect();
        let way = |base: &BaseFacts| {
            let join = boundaries.iter().rev().find(|boundary| fits(base, boundary))?.position.lsn;
            let mut end = base.position.lsn;
            for boundary in boundaries.iter().filter(|boundary| boundary.position.lsn > base.position.lsn) {
                if Some(&boundary.schema_fingerprint) != base.schema_fingerprint.as_ref() {
                    break;
                }
                end = boundary.position.lsn;
            }
            (end > base.position.lsn).then_some(Way { join, end })
        };
        captured.history.bases.iter().filter_map(|base| Some((base.clone(), way(base)?))).collect()
    }
}

#[test]
fn a_rule_that_leaves_one_of_its_parts_out_is_found_wrong() {
    let is_before = |base: &BaseFacts, boundary: &BoundaryFacts| boundary.position.lsn <= base.position.lsn;
    let is_over = |base: &BaseFacts, boundary: &BoundaryFacts| boundary.snapshot.xmax <= base.snapshot.xmin;
    let is_of_schema = |base: &BaseFacts, boundary: &BoundaryFacts| {
        Some(&boundary.schema_fingerprint) == base.schema_fingerprint.as_ref()
    };
    let whole = move |base: &BaseFacts, boundary: &BoundaryFacts| {
        is_over(base, boundary) && is_of_schema(base, boundary)
    };
    assert!(!is_found_wrong(true, by(whole)), "the whole rule");
    assert!(
        is_found_wrong(true, by(move |base, at| is_before(base, at) && is_of_schema(base, at))),
        "by position"
    );
    assert!(is_found_wrong(true, by(is_over)), "whatever is published");
    assert!(is_found_wrong(false, by(whole)), "without a drawn number");
}
