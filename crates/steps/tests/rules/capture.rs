//! Rules 5 and 7 for captured changes: whatever fails and wherever a capture dies, no transaction is lost or doubled, and
//! the slot is never confirmed past what stands.

mod controls;
mod copied;
mod planned;

use crate::one_fault::Kind;
use keepsake_archive::{ChangesLayout, SegmentDecoder, SegmentManifest, SegmentRecord, open};
use keepsake_domain::{Classified, FailureClass, GapReason, Lsn};
use keepsake_steps::ports::{ChangeSource, KeyHolder, ProtectWishes, Repository};
use keepsake_steps::{
    Capture, CaptureSeen, Captured, ChangesManifest, Damage, Depth, LineageChanges, ProtectedSource,
    SegmentBounds, StandingChanges, StepError, Until, begin_anew, capture_changes, change_history,
    changes_keys, changes_of, lineage_changes, not_captured_at, open_backup, protect_source, verify_links,
    verify_segment,
};
use keepsake_testkit::{
    Fault, Faults, Faulty, FaultyRepository, Gate, MemoryChangeSource, MemoryKeyHolder, MemoryRepository,
    TestClock,
};
use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// Small, so that a run writes several segments.
const BOUNDS: SegmentBounds = SegmentBounds { bytes: 2_000, span: Duration::from_secs(10) };

pub(crate) struct Bench {
    clock: Arc<TestClock>,
    source: MemoryChangeSource,
    repository: Arc<MemoryRepository>,
    /// Confirmations that went past what stood.
    early: Arc<Mutex<Vec<Lsn>>>,
    /// Numbers of all transactions since the source was protected.
    committed: Mutex<Vec<u64>>,
}

/// The ports of one process, with their faults.
pub(crate) struct Process {
    source: Arc<dyn ChangeSource>,
    repository: Arc<dyn Repository>,
    key_holder: Arc<dyn KeyHolder>,
    clock: Arc<TestClock>,
}

impl Process {
    fn capture(&self) -> Capture<'_> {
        Capture {
            source: self.source.as_ref(),
            repository: self.repository.as_ref(),
            key_holder: self.key_holder.as_ref(),
            recovery: &[],
            clock: self.clock.as_ref(),
            name: "wedsync",
            wishes: ProtectWishes::default(),
            level: 1,
            parse_statement: keepsake_domain::no_plain_statement,
        }
    }

    async fn once(&self) -> Result<Captured, StepError> {
        capture_changes(&self.capture(), BOUNDS, Until::CaughtUp, &|_| {}).await
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(TestClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
        let source = MemoryChangeSource::new(clock.clone());
        let repository = Arc::new(MemoryRepository::new(&Uuid::now_v7().to_string()));
        let (early, committed) = (Arc::default(), Mutex::default());
        let bench = Self { clock, source, repository, early, committed };
        bench.watch_confirmations();
        bench
    }

    /// Rule 5: at each confirmation, what stands must reach that far.
    fn watch_confirmations(&self) {
        let (repository, early) = (self.repository.clone(), self.early.clone());
        self.source.on_confirm(move |lsn| {
            let (repository, early) = (repository.clone(), early.clone());
            Box::pin(async move {
                let keys = changes_keys(repository.as_ref(), "").await.unwrap();
                let layouts: Vec<ChangesLayout> = keys.into_iter().map(|(layout, _)| layout).collect();
                let newest = layouts.last().unwrap();
                let standing = lineage_changes(repository.as_ref(), newest).await.unwrap().standing;
                if !standing.iter().any(|one| one.boundary().position.lsn >= lsn) {
                    early.lock().unwrap().push(lsn);
                }
            })
        });
    }

    pub(crate) fn process(&self, faults: &Arc<Faults>) -> Process {
        let inner: Arc<dyn ChangeSource> = Arc::new(self.source.clone());
        let holder: Arc<dyn KeyHolder> = Arc::new(MemoryKeyHolder::new("k"));
        Process {
            source: Arc::new(Faulty::new(inner, faults)),
            repository: Arc::new(FaultyRepository::new(self.repository.clone(), faults.clone())),
            key_holder: Arc::new(Faulty::new(holder, faults)),
            clock: self.clock.clone(),
        }
    }

    async fn protect(&self) -> ProtectedSource {
        protect_source(&self.process(&Arc::default()).capture()).await.unwrap()
    }

    async fn once(&self) -> Captured {
        self.process(&Arc::default()).once().await.unwrap()
    }

    /// Transactions of different sizes: some end a segment, some do not.
    fn write(&self) {
        for rows in [1, 40, 3, 0, 30] {
            self.clock.advance(Duration::from_secs(1));
            self.committed.lock().unwrap().push(self.source.commit(rows, 100));
        }
    }

    async fn standing(&self) -> Vec<StandingChanges> {
        let keys = changes_keys(self.repository.as_ref(), "").await.unwrap();
        let mut layouts: Vec<ChangesLayout> = keys.into_iter().map(|(layout, _)| layout).collect();
        layouts.dedup();
        let mut all = Vec::new();
        for layout in layouts {
            all.extend(changes_of(self.repository.as_ref(), &layout).await.unwrap());
        }
        all
    }

    /// Everything that a segment holds, opened by the key holder.
    async fn records(&self, standing: &StandingChanges) -> Result<Vec<SegmentRecord>, String> {
        let holder = MemoryKeyHolder::new("k");
        let identity = open_backup(self.repository.as_ref(), standing, &[&holder]).await;
        let identity = identity.map_err(|error| error.to_string())?;
        let segment = standing.segment().unwrap();
        let stored = self.repository.get(&segment.object.key, 1 << 30).await.map_err(|e| e.to_string())?;
        let mut raw = Vec::new();
        let mut opened = open(Cursor::new(stored), &identity, &segment.object).map_err(|e| e.to_string())?;
        opened.read_to_end(&mut raw).map_err(|error| error.to_string())?;
        let (mut decoder, mut records) = (SegmentDecoder::new(&segment.object.key), Vec::new());
        decoder.feed(&raw);
        while let Some(record) = decoder.next_record().map_err(|error| error.to_string())? {
            records.push(record);
        }
        assert_eq!(decoder.finish().unwrap(), segment.holds);
        assert_eq!(raw.len() as u64, segment.raw_bytes);
        Ok(records)
    }

    /// Numbers of the transactions in all segments, in their order, each segment read as a stranger would.
    async fn captured(&self) -> Vec<u64> {
        let mut xids = Vec::new();
        for standing in self.standing().await.iter().filter(|one| one.segment().is_some()) {
            let mut is_described = false;
            for record in self.records(standing).await.unwrap() {
                let SegmentRecord::Message { payload, .. } = record else { continue };
                match payload[0] {
                    b'B' => xids.push(u64::from(u32::from_be_bytes(payload[17..21].try_into().unwrap()))),
                    b'R' => is_described = true,
                    b'I' => assert!(is_described, "a segment begins without the description of its table"),
                    _ => {}
                }
            }
        }
        xids
    }

    /// Everything that must hold after a good run.
    async fn check(&self, at: &str) {
        assert_eq!(*self.early.lock().unwrap(), Vec::<Lsn>::new(), "{at}: confirmed before it stood");
        assert_eq!(self.captured().await, *self.committed.lock().unwrap(), "{at}");
        let standing = self.standing().await;
        let end = standing.last().unwrap().boundary().position.lsn;
        assert_eq!(self.source.confirmed(), Some(end), "{at}");
        for pair in standing.windows(2) {
            assert_eq!(pair[1].previous(), Some(&pair[0].as_previous()), "{at}: the chain is not linked");
        }
    }
}

#[tokio::test]
async fn what_was_written_is_captured_once_and_confirmed_and_nothing_is_recorded_too() {
    let bench = Bench::new();
    bench.protect().await;
    bench.write();
    let first = bench.once().await;
    assert!(first.segments > 1 && first.transactions == 5 && first.changes == 74, "{first:?}");
    bench.check("after the first run").await;
    let idle = bench.once().await;
    assert_eq!((idle.segments, idle.transactions), (1, 0));
    bench.write();
    bench.once().await;
    bench.check("after the third run").await;
    let standing = bench.standing().await;
    let tables: u64 = standing
        .iter()
        .filter_map(StandingChanges::segment)
        .flat_map(|one| &one.tables)
        .map(|one| one.inserts)
        .sum();
    assert_eq!(tables, 148);
}

#[tokio::test]
async fn a_run_that_follows_ends_segments_by_time_also_when_nothing_happens() {
    let bench = Bench::new();
    bench.protect().await;
    let process = bench.process(&Arc::default());
    let until = Until::After(Duration::from_secs(35));
    let idle = capture_changes(&process.capture(), BOUNDS, until, &|_| {}).await.unwrap();
    assert_eq!((idle.segments, idle.transactions), (4, 0));
    let (source, committed, clock) =
        (bench.source.clone(), Arc::new(Mutex::new(Vec::new())), bench.clock.clone());
    let written = committed.clone();
    let write = move |_: CaptureSeen<'_>| {
        clock.advance(Duration::from_secs(1));
        written.lock().unwrap().push(source.commit(2, 50));
    };
    let busy = capture_changes(&process.capture(), BOUNDS, until, &write).await.unwrap();
    // What the last segment's observer wrote is left to the next run.
    assert_eq!(busy.transactions + 1, busy.segments);
    bench.once().await;
    *bench.committed.lock().unwrap() = committed.lock().unwrap().clone();
    bench.check("after the last run").await;
}

/// One call of a run: kind and number.
async fn calls(bench: &Bench) -> Vec<(String, usize)> {
    let faults = Arc::new(Faults::new());
    let process = bench.process(&faults);
    process.once().await.unwrap();
    let calls = faults.calls().into_iter();
    calls.flat_map(|(kind, count)| (0..count).map(move |number| (kind.clone(), number))).collect()
}

async fn ready() -> Bench {
    let bench = Bench::new();
    bench.protect().await;
    bench.write();
    bench
}

/// What protects a source and what captures its changes, by the operations of their ports.
pub(crate) async fn operations() -> BTreeSet<String> {
    let faults = Arc::new(Faults::new());
    let bench = Bench::new();
    let process = bench.process(&faults);
    protect_source(&process.capture()).await.unwrap();
    bench.write();
    process.once().await.unwrap();
    let repository = faults.calls().contains_key("list_after").then(|| "Repository.list_after".to_owned());
    let ports = faults.calls().into_keys().filter(|kind| kind.starts_with("Change"));
    ports.chain(repository).collect()
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_capture_and_a_death_at_any_converges_without_loss() {
    let all = calls(&ready().await).await;
    let mut failed = 0;
    for (kind, number) in &all {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let bench = ready().await;
            let faults = how.at(kind, *number);
            let faulty = bench.process(&faults);
            tokio::select! {
                biased;
                outcome = faulty.once() => assert!(outcome.is_err(), "{at}: a fault looks good"),
                () = how.dies(&faults, kind, *number) => {}
            }
            failed += 1;
            bench.write();
            bench.once().await;
            bench.check(&at).await;
        }
    }
    println!("capture: {} calls, {failed} runs that failed and were followed by one that went on", all.len());
    assert!(all.len() > 30, "{all:?}");
}

#[tokio::test]
async fn a_fault_while_a_source_is_protected_leaves_nothing_that_looks_protected_and_is_not() {
    let faults = Arc::new(Faults::new());
    let process = Bench::new().process(&faults);
    protect_source(&process.capture()).await.unwrap();
    let all = faults.calls();
    for (kind, number) in all.into_iter().flat_map(|(kind, count)| (0..count).map(move |n| (kind.clone(), n)))
    {
        for fault in [Fault::Refuse, Fault::DoAndReportFailure] {
            let bench = Bench::new();
            let faulty = bench.process(&Arc::new(Faults::new().at_call(&kind, number, fault)));
            let refused = protect_source(&faulty.capture()).await;
            assert!(refused.is_err(), "{kind} {number}");
            // Without a chain nothing is captured, and the answer says what to do.
            if bench.standing().await.is_empty() {
                let error = bench.process(&Arc::default()).once().await.unwrap_err();
                assert_eq!(error.class(), FailureClass::Permanent);
                assert!(error.explanation().next.contains("keepsake protect"), "{error}");
            }
            bench.protect().await;
            bench.write();
            assert_eq!(bench.once().await.gap, None, "{kind} {number}");
            bench.check(&format!("{kind} {number}")).await;
        }
    }
}

#[tokio::test]
async fn of_two_captures_that_race_one_wins_and_the_other_confirms_nothing() {
    let bench = ready().await;
    bench.source.share_slot();
    let gate = Gate::default();
    let faults = Arc::new(Faults::new().at_call("ChangeSource.boundary", 0, Fault::HoldAnswer(gate.clone())));
    let (slow, fast) = (bench.process(&faults), bench.process(&Arc::default()));
    let race = async {
        let captured = fast.once().await.unwrap();
        gate.open();
        captured
    };
    let (slow, fast) = tokio::join!(slow.once(), race);
    let error = slow.unwrap_err();
    assert_eq!(error.class(), FailureClass::Conflict, "{error}");
    // Where the chain began, before anything was captured.
    assert_eq!(faults.calls()["ChangeStream.confirm"], 1);
    assert!(fast.segments > 1);
    bench.check("after the race").await;
}

#[tokio::test]
async fn every_way_to_lose_the_slot_is_recorded_as_a_gap_and_capture_goes_on_behind_it() {
    type Loss = fn(&MemoryChangeSource);
    let losses: [(&str, Loss); 4] = [
        ("is gone", |source| source.drop_slot()),
        ("max_slot_wal_keep_size", |source| source.lose_slot("max_slot_wal_keep_size")),
        ("made anew", |source| source.advance_slot()),
        ("new lineage", |source| source.promote()),
    ];
    for (what, lose) in losses {
        let bench = ready().await;
        bench.once().await;
        bench.source.commit(7, 10);
        lose(&bench.source);
        bench.write();
        let captured = bench.once().await;
        assert!(captured.gap.as_ref().is_some_and(|gap| gap.contains(what)), "{what}: {:?}", captured.gap);
        let standing = bench.standing().await;
        let gaps = standing.iter().filter(|one| matches!(&one.manifest, ChangesManifest::Chain(_)));
        assert_eq!(gaps.count(), 2, "{what}");
        bench.write();
        assert_eq!(bench.once().await.gap, None, "{what}: the same gap twice");
        let standing = bench.standing().await;
        let history = change_history(&[], &LineageChanges { standing, ..LineageChanges::default() });
        assert_eq!(history.window().spans, vec![], "no full backup joins");
    }
}

#[tokio::test]
async fn a_source_that_was_given_free_is_not_protected_again_by_itself() {
    let bench = ready().await;
    bench.once().await;
    bench.source.unprotect().await.unwrap();
    let error = bench.process(&Arc::default()).once().await.unwrap_err();
    assert!(error.explanation().next.contains("keepsake protect"), "{error}");
    assert_eq!(bench.source.confirmed(), None);
    let again = bench.protect().await;
    let ChangesManifest::Chain(chain) = &again.chain.manifest else { panic!("a chain begins") };
    assert!(matches!(&chain.reason, keepsake_archive::ChainReason::Gap { .. }), "{:?}", chain.reason);
}

/// Two repositories would take the changes away from each other.
#[tokio::test]
async fn a_second_repository_does_not_take_over_unless_it_is_told_to() {
    let bench = ready().await;
    bench.once().await;
    let other = Bench { repository: Arc::new(MemoryRepository::new("other")), ..Bench::new() };
    let other = Bench { source: bench.source.clone(), ..other };
    let process = other.process(&Arc::default());
    let first = bench.repository.url();
    for refused in [protect_source(&process.capture()).await.err(), {
        // Also when the slot is gone: the publication names whose it is.
        bench.source.drop_slot();
        protect_source(&process.capture()).await.err()
    }] {
        let refused = refused.expect("a Conflict");
        assert_eq!(refused.class(), FailureClass::Conflict);
        assert!(refused.to_string().contains(&first), "{refused}");
        assert!(refused.explanation().next.contains("--begin-anew"), "{refused}");
    }
    assert_eq!(other.standing().await, vec![]);

    let taken = begin_anew(&process.capture(), "the first one is given up").await.unwrap();
    let ChangesManifest::Chain(chain) = &taken.chain.manifest else { panic!("a chain begins") };
    assert!(format!("{:?}", chain.reason).contains("the first one is given up"), "{:?}", chain.reason);
    // The first one does not take it back by itself.
    let refused = bench.process(&Arc::default()).once().await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
    other.source.commit(3, 10);
    assert_eq!(process.once().await.unwrap().changes, 3);
}

/// A disk that is not mounted leaves its mount point.
#[tokio::test]
async fn a_repository_that_is_empty_where_changes_went_is_not_begun_anew_unasked() {
    let bench = ready().await;
    bench.once().await;
    let name = bench.repository.url().rsplit('/').next().unwrap().to_owned();
    let empty = Bench { repository: Arc::new(MemoryRepository::new(&name)), ..Bench::new() };
    let empty = Bench { source: bench.source.clone(), ..empty };
    assert_eq!(empty.repository.url(), bench.repository.url());
    let process = empty.process(&Arc::default());
    for slot_is_gone in [false, true] {
        if slot_is_gone {
            bench.source.drop_slot();
        }
        for refused in [process.once().await.err(), protect_source(&process.capture()).await.err()] {
            let refused = refused.expect("nothing is there");
            assert_eq!(refused.class(), FailureClass::Permanent);
            assert!(refused.to_string().contains("nothing of them is there"), "{refused}");
        }
    }
    assert_eq!(empty.repository.list("").await.unwrap(), vec![]);
    // The one that was there goes on, and tells what the slot's end cost.
    assert!(bench.process(&Arc::default()).once().await.unwrap().gap.is_some());
}

/// As a whole, whatever was damaged.
#[tokio::test]
async fn a_chain_whose_newest_manifest_is_damaged_is_begun_anew_with_its_reason() {
    let bench = ready().await;
    bench.once().await;
    let newest = bench.standing().await.last().unwrap().manifest_key();
    // Who looks at each confirmation could not read what stands either.
    bench.source.on_confirm(|_| Box::pin(async {}));
    bench.repository.corrupt(&newest, |bytes| bytes[40] ^= 1);
    let process = bench.process(&Arc::default());
    for refused in [process.once().await.err(), protect_source(&process.capture()).await.err()] {
        assert_eq!(refused.expect("an Integrity error").class(), FailureClass::Integrity);
    }
    let anew = begin_anew(&process.capture(), "the newest manifest is damaged").await.unwrap();
    assert!(anew.is_new && anew.chain.previous().is_none());
    bench.source.commit(3, 10);
    let captured = process.once().await.unwrap();
    assert_eq!((captured.changes, captured.gap), (3, None));
    // Where it can be read it is linked to.
    let again = begin_anew(&process.capture(), "once more").await.unwrap();
    assert!(again.chain.previous().is_some());
}

#[tokio::test]
async fn a_source_that_was_set_back_under_its_lineage_is_refused() {
    let bench = ready().await;
    bench.once().await;
    bench.source.set_back(Lsn(0x15_0000_0000));
    let error = bench.process(&Arc::default()).once().await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.to_string().contains("15/0"), "{error}");
}

#[tokio::test]
async fn a_changed_schema_is_marked_in_the_segment_behind_it_and_ends_a_span() {
    let bench = ready().await;
    bench.once().await;
    bench.source.change_schema();
    bench.write();
    bench.once().await;
    let standing = bench.standing().await;
    let changed: Vec<bool> =
        standing.iter().filter_map(StandingChanges::segment).map(|one| one.schema_changed).collect();
    assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{changed:?}");
}

#[tokio::test]
async fn tables_that_are_not_captured_are_told_as_they_were_at_each_point() {
    let bench = ready().await;
    bench.once().await;
    let before = bench.standing().await.last().unwrap().boundary().position.lsn;
    bench.source.create_bare_table("made_later");
    bench.write();
    bench.once().await;
    bench.once().await;
    let standing = bench.standing().await;
    let told =
        |lsn| not_captured_at(&standing, lsn).iter().map(|one| one.table.to_string()).collect::<Vec<_>>();
    assert_eq!(told(before), Vec::<String>::new());
    assert_eq!(told(bench.source.lsn()), ["public.made_later"]);
    // Each run says it once, and not in each of its segments.
    let said = |one: &&StandingChanges| one.segment().is_some_and(|segment| segment.not_captured.is_some());
    assert_eq!(standing.iter().filter(said).count(), 3);
    assert!(standing.len() > 4);
    // Of an older program only the chain says it.
    let mut old = standing.clone();
    for one in &mut old {
        if let ChangesManifest::Segment(segment) = &mut one.manifest {
            segment.not_captured = None;
        }
    }
    assert_eq!(not_captured_at(&old, bench.source.lsn()), []);
}

#[tokio::test]
async fn a_missing_segment_leaves_a_named_gap() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let history = |standing: &[StandingChanges]| {
        let chain = standing[0].boundary();
        let base = keepsake_domain::BaseFacts {
            backup_id: keepsake_domain::BackupId(Uuid::from_u128(1)),
            snapshot: chain.snapshot,
            position: chain.position,
            schema_fingerprint: None,
        };
        keepsake_domain::ChangeHistory::new(
            vec![base],
            vec![keepsake_domain::ChainFacts { begins: standing[0].boundary(), gap: None }],
            standing[1..]
                .iter()
                .map(|one| keepsake_domain::SegmentFacts {
                    start: one.segment().unwrap().start_lsn,
                    ends: one.boundary(),
                    first_commit_at: one.segment().unwrap().first_commit_at,
                    last_commit_at: one.segment().unwrap().last_commit_at,
                    is_schema_replayable: one.segment().unwrap().schema_replayable,
                    follows: keepsake_domain::Follows::Segment(one.previous().unwrap().start_lsn),
                })
                .collect(),
        )
    };
    assert_eq!(history(&standing).window().gaps, vec![]);
    bench.repository.lose(&standing[1].manifest_key());
    let left = bench.standing().await;
    let window = history(&left).window();
    let start_lsn = standing[1].segment().unwrap().start_lsn;
    assert_eq!(window.gaps[0].reason, GapReason::SegmentMissing { start_lsn });
}

#[tokio::test]
async fn neither_rows_nor_keys_show_in_what_is_stored() {
    let bench = ready().await;
    bench.once().await;
    for object in bench.repository.list("").await.unwrap() {
        let bytes = bench.repository.get(&object.key, 1 << 30).await.unwrap();
        let shows = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(
            !shows(b"0000000000000000000000000000000000000000000000000000000000000000000000"),
            "{}",
            object.key
        );
        assert!(!shows(b"AGE-SECRET-KEY"), "{}", object.key);
    }
}

/// What a look at all segments finds, with the key.
async fn damages(bench: &Bench) -> Vec<Damage> {
    let (standing, holder) = (bench.standing().await, MemoryKeyHolder::new("k"));
    let mut damages = verify_links(&standing);
    for one in &standing {
        let identity = open_backup(bench.repository.as_ref(), one, &[&holder]).await.unwrap();
        damages.extend(verify_segment(bench.repository.as_ref(), one, Depth::Rows(&identity)).await.unwrap());
    }
    damages
}

#[tokio::test]
async fn a_segment_that_is_corrupt_missing_or_in_anothers_place_is_found_and_named() {
    type Harm = fn(&MemoryRepository, &SegmentManifest, &SegmentManifest);
    let harms: [(&str, Harm); 4] = [
        ("a flipped bit", |store, one, _| store.corrupt(&one.object.key, |bytes| bytes[300] ^= 1)),
        ("a cut off end", |store, one, _| store.corrupt(&one.object.key, |bytes| bytes.truncate(400))),
        ("a missing object", |store, one, _| store.lose(&one.object.key)),
        ("another segment's bytes", |store, one, other| {
            let mut others = Vec::new();
            store.corrupt(&other.object.key, |bytes| others.clone_from(bytes));
            store.corrupt(&one.object.key, |bytes| *bytes = others);
        }),
    ];
    for (what, harm) in harms {
        let bench = ready().await;
        bench.once().await;
        assert_eq!(damages(&bench).await, vec![], "{what}");
        let standing = bench.standing().await;
        let (one, other) = (standing[1].segment().unwrap(), standing[2].segment().unwrap());
        harm(&bench.repository, one, other);
        let found = damages(&bench).await;
        assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&one.object.key], "{what}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_missing_or_was_replaced_is_found_by_the_one_behind_it() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let key = standing[1].manifest_key();
    bench.repository.lose(&key);
    let found = verify_links(&bench.standing().await);
    assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&key]);
    // Whoever has the run's key and may write could put another one there; the next one still names the first.
    let mut forged = standing.clone();
    forged[1].manifest_sha256 = "00".repeat(32);
    let found = verify_links(&forged);
    assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&key]);
}

#[tokio::test]
async fn a_manifest_of_another_lineage_or_place_is_refused_by_name() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let [one, other] = [&standing[1], &standing[2]].map(StandingChanges::manifest_key);
    let bytes = bench.repository.get(&other, 1 << 20).await.unwrap();
    bench.repository.corrupt(&one, |stored| *stored = bytes.to_vec());
    let found = lineage_changes(bench.repository.as_ref(), &standing[1].layout).await.unwrap();
    let [unreadable] = found.unreadable.as_slice() else { panic!("one: {:?}", found.unreadable) };
    assert_eq!((&unreadable.key, unreadable.class), (&one, FailureClass::Integrity));
    assert!(unreadable.error.contains("belongs at"), "{unreadable:?}");
    assert_eq!(found.standing.len(), standing.len() - 1);
}
