//! The twin of a source: a database in memory with snapshots that live as long as one of their holders.

mod database;
mod faults;
mod reader;
mod snapshots;

pub use database::{MemoryDatabase, MemoryTable, ROWS_PER_BLOCK, SchemaDump};
pub use faults::{Break, SourceFault};
pub(crate) use reader::DatabaseReader;

use async_trait::async_trait;
use bytes::Bytes;
use faults::Script;
use futures::future::BoxFuture;
use keepsake_archive::ServerFacts;
use keepsake_domain::{Lineage, Lsn, TransactionSnapshot};
use keepsake_steps::ports::{
    Chunk, ChunkSender, Clock, DatabaseShape, GiveWay, HeldSnapshot, RowReader, Source, SourceError,
    SourceFacts, Waiting,
};
use reader::Between;
use snapshots::{Held, View};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What errors call the twin.
pub(crate) const PLACE: &str = "memory:5432/wedsync";

#[derive(Debug)]
struct State {
    database: MemoryDatabase,
    /// The next transaction's id; each write takes one.
    next_xid: u64,
    exported: u32,
    /// Exported names and what their holders see.
    held: BTreeMap<String, Arc<View>>,
    taken: Vec<Arc<View>>,
    waiting: Vec<Waiting>,
    gave_way: Vec<(i32, GiveWay)>,
    readers_ended: usize,
    script: Script,
}

/// A database under protection, in memory. For unit tests only.
pub struct MemorySource {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    between: Arc<Mutex<Option<Between>>>,
}

impl MemorySource {
    /// A source that holds `database`; its time is the clock's.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, database: MemoryDatabase) -> Self {
        let state = State {
            database,
            next_xid: 100,
            exported: 0,
            held: BTreeMap::new(),
            taken: Vec::new(),
            waiting: Vec::new(),
            gave_way: Vec::new(),
            readers_ended: 0,
            script: Script::default(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)), between: Arc::default() }
    }

    /// One committed transaction of someone else.
    pub fn write(&self, change: impl FnOnce(&mut MemoryDatabase)) {
        let mut state = self.lock();
        change(&mut state.database);
        state.next_xid += 1;
    }

    /// Adds a fault; those of one kind happen one after another.
    pub fn fail_with(&self, fault: SourceFault) {
        self.lock().script.add(fault);
    }

    /// Called before each table is read: for write load, and for time that a read takes.
    pub fn between_reads(&self, act: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        *self.between.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(act));
    }

    /// Somebody waits behind a reader, until a holder gives way.
    pub fn wait_behind(&self, waiting: Waiting) {
        self.lock().waiting.push(waiting);
    }

    /// Which readers gave way, and how.
    #[must_use]
    pub fn gave_way(&self) -> Vec<(i32, GiveWay)> {
        self.lock().gave_way.clone()
    }

    /// How often a holder ended all readers.
    #[must_use]
    pub fn readers_ended(&self) -> usize {
        self.lock().readers_ended
    }

    /// Ends all holding transactions, as a restart of the server does.
    pub fn lose_snapshots(&self) {
        self.lock().held.clear();
    }

    /// What the database holds now.
    #[must_use]
    pub fn database(&self) -> MemoryDatabase {
        self.lock().database.clone()
    }

    /// Transactions that hold a snapshot now.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.lock().held.len()
    }

    /// New snapshots that were ever taken; a relay takes none.
    #[must_use]
    pub fn snapshots_taken(&self) -> usize {
        self.lock().taken.len()
    }

    /// What a snapshot of this source sees.
    #[must_use]
    pub fn seen_by(&self, snapshot: &TransactionSnapshot) -> Option<MemoryDatabase> {
        self.lock().taken.iter().find(|view| view.snapshot == *snapshot).map(|view| view.database.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, name: &str) -> Result<Arc<View>, SourceError> {
        let lost = || SourceError::SnapshotLost { name: name.to_owned() };
        self.lock().held.get(name).cloned().ok_or_else(lost)
    }

    fn hold(&self, view: Arc<View>) -> Box<dyn HeldSnapshot> {
        let mut state = self.lock();
        state.exported += 1;
        let name = format!("00000003-0000001B-{}", state.exported);
        state.held.insert(name.clone(), Arc::clone(&view));
        let (lsn, taken_at) = (Lsn(state.next_xid << 8), self.clock.now());
        Box::new(Held { state: Arc::clone(&self.state), name, view, lsn, taken_at })
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn preflight(&self, _connections: u32) -> Result<SourceFacts, SourceError> {
        Ok(SourceFacts {
            database: "wedsync".to_owned(),
            lineage: Lineage { system_identifier: 7_298_304, timeline: 1, database_oid: 16_384 },
            server: server_facts(),
            pg_dump: "pg_dump (PostgreSQL) 15.18".to_owned(),
        })
    }

    async fn take_snapshot(&self) -> Result<Box<dyn HeldSnapshot>, SourceError> {
        let view = {
            let mut state = self.lock();
            let xid = state.next_xid;
            let snapshot = TransactionSnapshot { xmin: xid, xmax: xid, xip: Vec::new() };
            let view = Arc::new(View { snapshot, database: state.database.clone() });
            state.taken.push(Arc::clone(&view));
            view
        };
        Ok(self.hold(view))
    }

    async fn take_over_snapshot(&self, name: &str) -> Result<Box<dyn HeldSnapshot>, SourceError> {
        let view = self.view(name)?;
        Ok(self.hold(view))
    }

    async fn shape(&self, snapshot_name: &str) -> Result<DatabaseShape, SourceError> {
        Ok(self.view(snapshot_name)?.database.shape())
    }

    async fn dump_schema(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError> {
        let archive = self.view(snapshot_name)?.database.schema().to_archive();
        if self.lock().script.next_dump_gives_way() {
            return Err(SourceError::GaveWay { what: "the schema".to_owned(), place: PLACE.to_owned() });
        }
        let fault = self.lock().script.next_dump();
        send_dump(archive, fault, to).await
    }

    async fn dump_large_objects(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError> {
        let archive = self.view(snapshot_name)?.database.large_objects_archive();
        send_dump(archive, None, to).await
    }

    async fn reader(&self, snapshot_name: &str) -> Result<Box<dyn RowReader>, SourceError> {
        let view = self.view(snapshot_name)?;
        let state = Arc::clone(&self.state);
        let between = self.between.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(DatabaseReader::of_source(view.database.clone(), state, between)))
    }
}

/// What both twins say about their server.
pub(crate) fn server_facts() -> ServerFacts {
    ServerFacts {
        server_version: 150_018,
        encoding: "UTF8".to_owned(),
        collation: "C.UTF-8".to_owned(),
        ctype: "C.UTF-8".to_owned(),
        locale_provider: "libc".to_owned(),
        extensions: BTreeMap::new(),
    }
}

async fn send_dump(archive: Bytes, fault: Option<Break>, to: &ChunkSender) -> Result<(), SourceError> {
    let gone = || SourceError::ReceiverGone { what: "the archive".to_owned() };
    let Some(fault) = fault else {
        to.send(Chunk::Data(archive)).await.map_err(|_| gone())?;
        return to.send(Chunk::End).await.map_err(|_| gone());
    };
    let some = archive.slice(..archive.len().min(fault.after_bytes));
    to.send(Chunk::Data(some)).await.map_err(|_| gone())?;
    if fault.is_silent {
        return Ok(());
    }
    let (program, said) = ("pg_dump".to_owned(), "error: query failed: server closed".to_owned());
    Err(SourceError::ClientFailed { program, said })
}

#[cfg(test)]
#[path = "memory_source/tests.rs"]
mod tests;
