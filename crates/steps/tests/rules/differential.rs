//! A differential exists only if its manifest stands, whatever fails while it is made, and a second call converges.

use crate::one_fault::Kind;
use keepsake_archive::{
    ArchiveLayout, Attempt, CopyText, FORMAT_VERSION, Manifest, Part, SealKey, ServerFacts, StoredObject,
    ToolVersions,
};
use keepsake_domain::{BackupId, Coverage, FencingToken, TableName, TransactionSnapshot};
use keepsake_steps::ports::{KeyHolder, ProtectWishes, Repository};
use keepsake_steps::{
    Capture, Depth, MadeDifferential, Making, OpenedSegment, SegmentBounds, StandingBackup, StandingChanges,
    StepError, Until, capture_changes, changes_of, differential_keys, make_differential, open_backup,
    protect_source, read_differential, verify_differential,
};
use keepsake_testkit::{
    Faults, Faulty, FaultyRepository, MemoryChangeSource, MemoryKeyHolder, MemoryRepository, TestClock,
};
use std::sync::Arc;
use uuid::Uuid;

/// Rows that the first transaction inserts.
pub(crate) const ROWS: u32 = 40;

/// A repository with a full backup of an empty table and one segment behind it.
pub(crate) struct Bench {
    pub repository: Arc<MemoryRepository>,
    clock: Arc<TestClock>,
    source: MemoryChangeSource,
    pub backup: StandingBackup,
    pub segments: Vec<OpenedSegment>,
}

impl Bench {
    pub async fn new() -> Self {
        let clock = Arc::new(TestClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
        let source = MemoryChangeSource::new(clock.clone());
        let repository = Arc::new(MemoryRepository::new(&Uuid::now_v7().to_string()));
        let chain = capturing(&source, &repository, &clock, async |capture| {
            protect_source(&capture).await.unwrap().chain
        });
        let backup = backup(&chain.await);
        let mut bench = Self { repository, clock, source, backup, segments: Vec::new() };
        bench.commit(ROWS, 100).await;
        bench
    }

    /// A transaction of so many rows of so many bytes, and a segment of it.
    pub async fn commit(&mut self, rows: u32, row_bytes: usize) {
        self.source.commit(rows, row_bytes);
        let captured = capturing(&self.source, &self.repository, &self.clock, async |capture| {
            capture_changes(&capture, SegmentBounds::default(), Until::CaughtUp, &|_| {}).await.unwrap()
        });
        let standing = changes_of(self.repository.as_ref(), &captured.await.layout).await.unwrap();
        let newest = standing.into_iter().next_back().unwrap();
        let holder = MemoryKeyHolder::new("k");
        let identity = open_backup(self.repository.as_ref(), &newest, &[&holder]).await.unwrap();
        self.segments.push(OpenedSegment { standing: newest, identity });
    }

    pub async fn make(&self, faults: &Arc<Faults>) -> Result<MadeDifferential, StepError> {
        let holder: Arc<dyn KeyHolder> = Arc::new(MemoryKeyHolder::new("k"));
        let holder = Faulty::new(holder, faults);
        let repository = FaultyRepository::new(self.repository.clone(), faults.clone());
        let making = Making {
            repository: &repository,
            key_holder: &holder,
            recovery: &[],
            clock: self.clock.as_ref(),
            level: 1,
            // A few rows: the segments are read many times.
            fold_bytes: 3_000,
        };
        make_differential(&making, &self.backup, &self.segments, &|_| {}).await
    }

    /// Every differential that stands is whole, and there is one at most.
    async fn check(&self, at: &str) -> usize {
        let keys = differential_keys(self.repository.as_ref(), "").await.unwrap();
        for (layout, end, base) in &keys {
            let standing = read_differential(self.repository.as_ref(), layout, *end, *base).await.unwrap();
            let holder = MemoryKeyHolder::new("k");
            let identity = open_backup(self.repository.as_ref(), &standing, &[&holder]).await.unwrap();
            let found =
                verify_differential(self.repository.as_ref(), &standing, Depth::Rows(&identity)).await;
            assert_eq!(found.unwrap(), None, "{at}");
            let holds = standing.manifest.holds;
            assert_eq!((holds.insertions, holds.deletions, holds.updates), (u64::from(ROWS), 0, 0), "{at}");
            assert!(holds.batches > 3, "{at}: {holds:?}");
            assert_eq!((standing.manifest.transactions, standing.manifest.segments), (1, 1), "{at}");
        }
        assert!(keys.len() <= 1, "{at}");
        keys.len()
    }
}

/// What captures from the source into the repository.
async fn capturing<T>(
    source: &MemoryChangeSource,
    repository: &Arc<MemoryRepository>,
    clock: &Arc<TestClock>,
    act: impl AsyncFnOnce(Capture<'_>) -> T,
) -> T {
    let holder = MemoryKeyHolder::new("k");
    let capture = Capture {
        source,
        repository: repository.as_ref(),
        key_holder: &holder,
        recovery: &[],
        clock: clock.as_ref(),
        name: "wedsync",
        wishes: ProtectWishes::default(),
        level: 1,
        parse_statement: keepsake_domain::no_plain_statement,
    };
    act(capture).await
}

/// A full backup made when the chain began.
fn backup(chain: &StandingChanges) -> StandingBackup {
    let backup_id = BackupId(Uuid::from_u128(7));
    let layout = ArchiveLayout::new("wedsync", chain.layout.lineage.clone(), backup_id).unwrap();
    let manifest = manifest(&layout, chain, "age1suite".to_owned());
    let json = manifest.to_json(&SealKey::try_from("07".repeat(32)).unwrap()).unwrap();
    let (manifest, seal) = Manifest::parse_sealed(&layout.manifest(), &json).unwrap();
    StandingBackup { layout, manifest, manifest_sha256: "00".repeat(32), seal }
}

/// Of a full backup that was made where these changes end.
pub(crate) fn manifest(layout: &ArchiveLayout, at: &StandingChanges, recipient: String) -> Manifest {
    let (backup_id, boundary) = (layout.backup_id, at.boundary());
    let attempt = Attempt(backup_id.0);
    let object = |key: String| StoredObject { key, stored_bytes: 1, sha256: "00".repeat(32), crc32: 7 };
    let part = Part {
        number: 1,
        table: TableName { schema: "public".to_owned(), name: "guests".to_owned() },
        columns: vec!["id".to_owned()],
        range: None,
        filter: String::new(),
        root: None,
        content: CopyText::default(),
        object: object(layout.part(1, attempt)),
    };
    let xmax = boundary.snapshot.xmax;
    Manifest {
        format_version: FORMAT_VERSION,
        backup_id,
        source: "wedsync".to_owned(),
        lineage: layout.lineage.clone(),
        database: "wedsync".to_owned(),
        fencing_token: FencingToken(1),
        server: ServerFacts {
            server_version: 150_018,
            encoding: "UTF8".to_owned(),
            collation: "C".to_owned(),
            ctype: "C".to_owned(),
            locale_provider: "libc".to_owned(),
            extensions: std::collections::BTreeMap::new(),
        },
        snapshot: TransactionSnapshot { xmin: xmax, xmax, xip: Vec::new() },
        lsn: boundary.position.lsn,
        started_at: boundary.position.at,
        snapshot_at: boundary.position.at,
        sealed_at: boundary.position.at,
        schema: object(layout.schema(attempt)),
        schema_raw_bytes: 1,
        schema_objects: Vec::new(),
        schema_fingerprint: Some(boundary.schema_fingerprint),
        globals: object(layout.globals(attempt)),
        readme: object(layout.readme()),
        parts: vec![part],
        sequences: Vec::new(),
        blobs: None,
        coverage: Coverage::default(),
        recipient,
        key_holders: Vec::new(),
        tools: ToolVersions { keepsake: "0.1.0".to_owned(), pg_dump: "pg_dump (PostgreSQL) 15".to_owned() },
        previous_manifest: None,
    }
}

#[tokio::test]
async fn a_fault_at_any_call_while_a_differential_is_made_leaves_none_or_a_whole_one_and_a_second_call_converges()
 {
    let faults = Arc::new(Faults::new());
    let bench = Bench::new().await;
    assert!(bench.make(&faults).await.unwrap().is_new);
    assert_eq!(bench.check("without a fault").await, 1);
    assert!(!bench.make(&Arc::default()).await.unwrap().is_new);
    let calls = faults.calls().into_iter();
    let all: Vec<(String, usize)> =
        calls.flat_map(|(kind, count)| (0..count).map(move |number| (kind.clone(), number))).collect();
    assert!(all.len() > 10, "{all:?}");
    for (kind, number) in &all {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let bench = Bench::new().await;
            let faults = how.at(kind, *number);
            tokio::select! {
                biased;
                outcome = bench.make(&faults) => assert!(outcome.is_err(), "{at}: a fault looks good"),
                () = how.dies(&faults, kind, *number) => {}
            }
            bench.check(&at).await;
            bench.make(&Arc::default()).await.unwrap();
            assert_eq!(bench.check(&at).await, 1, "{at}");
        }
    }
}

#[tokio::test]
async fn of_two_that_make_a_differential_at_once_one_wins_and_both_have_it() {
    let bench = Bench::new().await;
    let none = Arc::default();
    let (one, other) = tokio::join!(bench.make(&none), bench.make(&none));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.standing, other.standing);
    assert!(one.is_new != other.is_new);
    assert_eq!(bench.check("two at once").await, 1);
}

#[tokio::test]
async fn a_differential_of_damaged_segments_is_not_made() {
    let bench = Bench::new().await;
    let segment = bench.segments[0].standing.segment().unwrap();
    let mut bytes = bench.repository.get(&segment.object.key, 1 << 30).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.repository.lose(&segment.object.key);
    bench.repository.put_new(&segment.object.key, bytes.into()).await.unwrap();
    let refused = bench.make(&Arc::default()).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be restored"), "{refused}");
    assert_eq!(bench.check("damaged").await, 0);
}
