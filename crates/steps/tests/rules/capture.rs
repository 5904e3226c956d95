//! Rules 5 and 7 for captured changes: whatever fails and wherever a capture dies, no transaction is lost or doubled, and
//! the slot is never confirmed past what stands.

mod chains;
mod controls;
mod copied;
mod damage;
mod manifests;
mod planned;
mod runs;

use keepsake_archive::{ChangesLayout, SegmentDecoder, SegmentRecord, open};
use keepsake_domain::Lsn;
use keepsake_steps::ports::{ChangeSource, KeyHolder, ProtectWishes, Repository};
use keepsake_steps::{
    Capture, Captured, ProtectedSource, SegmentBounds, StandingChanges, StepError, Until, capture_changes,
    changes_keys, changes_of, lineage_changes, open_backup, protect_source,
};
use keepsake_testkit::{
    Faults, Faulty, FaultyRepository, MemoryChangeSource, MemoryKeyHolder, MemoryRepository, TestClock,
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
