//! The twin of a source whose changes are captured: a write-ahead log in memory with one slot.

mod messages;
mod stream;

use async_trait::async_trait;
use futures::future::BoxFuture;
use keepsake_domain::{
    DDL_MESSAGE_FORMAT, Lineage, Lsn, NotCaptured, NotCapturedReason, SequenceName, SequenceValue, TableName,
    Timestamp, TransactionSnapshot,
};
use keepsake_steps::ports::{
    Boundary, CaptureState, ChangeSource, ChangeStream, Clock, Mark, ProtectWishes, Protection, SlotState,
    SourceError, Unprotected,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::MemoryStream;
use tokio::sync::Notify;

/// Of its slot and its publication.
const SLOT: &str = "keepsake_wedsync";
const PLACE: &str = "memory:5432/wedsync";

/// Bytes of the log that each record of the twin takes.
const RECORD_BYTES: u64 = 64;

/// Called with each position that is confirmed.
type OnConfirm = Arc<dyn Fn(Lsn) -> BoxFuture<'static, ()> + Send + Sync>;

/// One record that a stream carries.
#[derive(Debug, Clone)]
struct Record {
    start: Lsn,
    end: Lsn,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// A commit of so many inserted rows of so many bytes.
    Commit {
        xid: u64,
        at: Timestamp,
        rows: u32,
        row_bytes: usize,
    },
    Mark {
        at: Timestamp,
    },
    /// A commit of a statement that defined something, and what watches the schema told of it.
    Definition {
        xid: u64,
        at: Timestamp,
        told: String,
    },
}

#[derive(Debug, Clone)]
struct Slot {
    confirmed: Lsn,
    lost: Option<String>,
}

/// What an older copy of a source holds.
pub struct SourceCopy {
    lsn: Lsn,
    next_xid: u64,
    log: Vec<Record>,
    slot: Option<Slot>,
}

struct State {
    lineage: Lineage,
    lsn: Lsn,
    next_xid: u64,
    log: Vec<Record>,
    slot: Option<Slot>,
    is_published: bool,
    holder: Option<String>,
    schema: u32,
    not_captured: Vec<NotCaptured>,
    /// The session that streams now.
    session: u64,
    shares_slot: bool,
    on_confirm: Option<OnConfirm>,
}

impl State {
    fn write(&mut self, what: What) -> Lsn {
        let start = self.lsn;
        self.lsn = Lsn(start.0 + RECORD_BYTES);
        self.log.push(Record { start, end: self.lsn, what });
        self.lsn
    }

    /// As the port asks for it: a number is drawn and given up, then the snapshot is taken.
    fn boundary(&mut self, at: Timestamp) -> Boundary {
        self.next_xid += 1;
        self.lsn = Lsn(self.lsn.0 + RECORD_BYTES);
        let (xmin, xmax) = (self.next_xid, self.next_xid);
        let sequence = SequenceName { schema: "public".to_owned(), name: "guests_id_seq".to_owned() };
        let last_value = i64::try_from(self.log.len()).unwrap_or(i64::MAX);
        Boundary {
            snapshot: TransactionSnapshot { xmin, xmax, xip: Vec::new() },
            at,
            sequences: vec![SequenceValue { sequence, last_value, is_called: true }],
            schema_fingerprint: fingerprint(self.schema),
            not_captured: self.not_captured.clone(),
        }
    }
}

/// A source of changes, in memory. For unit tests only.
#[derive(Clone)]
pub struct MemoryChangeSource {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    written: Arc<Notify>,
}

impl MemoryChangeSource {
    /// A source that is not protected yet; its time is the clock's.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            lineage: Lineage { system_identifier: 7_298_304, timeline: 1, database_oid: 16_384 },
            lsn: Lsn(0x16_0000_0000),
            next_xid: 1000,
            log: Vec::new(),
            slot: None,
            is_published: false,
            holder: None,
            schema: 0,
            not_captured: Vec::new(),
            session: 0,
            shares_slot: false,
            on_confirm: None,
        };
        Self { clock, state: Arc::new(Mutex::new(state)), written: Arc::default() }
    }

    /// A transaction that inserts so many rows of so many bytes, and its number.
    pub fn commit(&self, rows: u32, row_bytes: usize) -> u64 {
        let (mut state, at) = (self.lock(), self.clock.now());
        state.next_xid += 1;
        let xid = state.next_xid;
        state.write(What::Commit { xid, at, rows, row_bytes });
        drop(state);
        self.written.notify_waiters();
        xid
    }

    /// Somebody changes the schema, and nobody tells of it.
    pub fn change_schema(&self) {
        self.lock().schema += 1;
    }

    /// Somebody gives the table a column by itself, and what watches the schema tells of it with this text.
    pub fn add_column(&self, statement: &str) {
        let (mut state, at) = (self.lock(), self.clock.now());
        let before = fingerprint(state.schema);
        state.schema += 1;
        let told = serde_json::json!({
            "command": "ALTER TABLE", "objects": ["table public.guests"], "objects_total": 1, "statement": statement,
            "search_path": "public", "role": "app", "format": DDL_MESSAGE_FORMAT, "before": before, "after": fingerprint(state.schema),
        });
        state.next_xid += 1;
        let xid = state.next_xid;
        state.write(What::Definition { xid, at, told: told.to_string() });
        drop(state);
        self.written.notify_waiters();
    }

    /// Somebody makes a table without a key.
    pub fn create_bare_table(&self, name: &str) {
        self.create_not_captured(name, NotCapturedReason::NoReplicaIdentity);
    }

    /// Somebody makes a table whose changes are not captured.
    pub fn create_not_captured(&self, name: &str, reason: NotCapturedReason) {
        let mut state = self.lock();
        state.schema += 1;
        let table = TableName { schema: "public".to_owned(), name: name.to_owned() };
        state.not_captured.push(NotCaptured { table, reason });
    }

    /// Somebody drops the slot.
    pub fn drop_slot(&self) {
        self.lock().slot = None;
    }

    /// The server invalidates the slot.
    pub fn lose_slot(&self, how: &str) {
        if let Some(slot) = &mut self.lock().slot {
            slot.lost = Some(how.to_owned());
        }
    }

    /// Somebody else reads the slot to the log's end, or makes it anew there.
    pub fn advance_slot(&self) {
        let mut state = self.lock();
        let lsn = state.lsn;
        if let Some(slot) = &mut state.slot {
            slot.confirmed = lsn;
        }
    }

    /// Another server takes over: a new timeline, without the slot.
    pub fn promote(&self) {
        let mut state = self.lock();
        state.lineage.timeline += 1;
        state.slot = None;
    }

    /// The source is set back to an older state of the same lineage.
    pub fn set_back(&self, lsn: Lsn) {
        self.lock().lsn = lsn;
    }

    /// The server crashed before its slot's last positions were on its disk.
    pub fn forget_confirmations(&self, confirmed: Lsn) {
        if let Some(slot) = &mut self.lock().slot {
            slot.confirmed = confirmed;
        }
    }

    /// The source as it is now, to be brought back by [`Self::bring_back`].
    #[must_use]
    pub fn copy(&self) -> SourceCopy {
        let state = self.lock();
        SourceCopy {
            lsn: state.lsn,
            next_xid: state.next_xid,
            log: state.log.clone(),
            slot: state.slot.clone(),
        }
    }

    /// An older copy of the source takes its place, under its own lineage.
    pub fn bring_back(&self, copy: SourceCopy) {
        let mut state = self.lock();
        let SourceCopy { lsn, next_xid, log, slot } = copy;
        (state.lsn, state.next_xid, state.log, state.slot) = (lsn, next_xid, log, slot);
    }

    /// Lets several sessions stream at once, as a server never does: for captures that race.
    pub fn share_slot(&self) {
        self.lock().shares_slot = true;
    }

    /// Called before each confirmation counts.
    pub fn on_confirm(&self, act: impl Fn(Lsn) -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        self.lock().on_confirm = Some(Arc::new(act));
    }

    /// Where the slot stands; `None` without one.
    #[must_use]
    pub fn confirmed(&self) -> Option<Lsn> {
        self.lock().slot.as_ref().map(|slot| slot.confirmed)
    }

    /// The log's end.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lock().lsn
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(schema: u32) -> String {
    format!("{schema:064x}")
}

fn published() -> Vec<TableName> {
    vec![TableName { schema: "public".to_owned(), name: "guests".to_owned() }]
}

fn unreachable(why: &str) -> SourceError {
    SourceError::Unreachable { place: PLACE.to_owned(), cause: why.to_owned().into() }
}

#[async_trait]
impl ChangeSource for MemoryChangeSource {
    async fn capture_state(&self) -> Result<CaptureState, SourceError> {
        let state = self.lock();
        let slot = state.slot.as_ref().map(|slot| SlotState {
            name: SLOT.to_owned(),
            confirmed_lsn: slot.confirmed,
            restart_lsn: slot.lost.is_none().then_some(slot.confirmed),
            active_pid: None,
            lost: slot.lost.clone(),
            retained_bytes: state.lsn.0 - slot.confirmed.0.min(state.lsn.0),
            safe_bytes: None,
        });
        Ok(CaptureState {
            lineage: state.lineage.clone(),
            database: "wedsync".to_owned(),
            server_version: 150_018,
            slot,
            is_wanted: state.is_published,
            holder: state.holder.clone(),
            published: if state.is_published { published() } else { Vec::new() },
            wal_lsn: state.lsn,
        })
    }

    async fn protect(&self, wishes: &ProtectWishes) -> Result<Protection, SourceError> {
        let at = self.clock.now();
        let mut state = self.lock();
        if wishes.only_if_wanted && !state.is_published {
            return Err(unreachable("the source was given free"));
        }
        let is_new = !state.is_published
            || wishes.slot_anew
            || state.slot.as_ref().is_none_or(|slot| slot.lost.is_some());
        state.is_published = true;
        state.holder = wishes.holder.clone().or(state.holder.take());
        if is_new {
            state.lsn = Lsn(state.lsn.0 + RECORD_BYTES);
            state.slot = Some(Slot { confirmed: state.lsn, lost: None });
        }
        let lsn = state.slot.as_ref().map_or(state.lsn, |slot| slot.confirmed);
        let (slot, publication) = (SLOT.to_owned(), SLOT.to_owned());
        let boundary = state.boundary(at);
        let (published, not_captured) = (published(), boundary.not_captured.clone());
        let not_watched = None;
        Ok(Protection { slot, publication, is_new, lsn, boundary, published, not_captured, not_watched })
    }

    async fn unprotect(&self) -> Result<Unprotected, SourceError> {
        let mut state = self.lock();
        let removed = state.slot.take().map(|_| format!("slot {SLOT}"));
        state.is_published = false;
        state.holder = None;
        Ok(Unprotected { removed: removed.into_iter().collect() })
    }

    async fn stream(&self, from: Lsn) -> Result<Box<dyn ChangeStream>, SourceError> {
        let mut state = self.lock();
        let Some(slot) = state.slot.clone().filter(|slot| slot.lost.is_none()) else {
            return Err(unreachable("the slot is gone"));
        };
        state.session += 1;
        let from = from.max(slot.confirmed);
        Ok(Box::new(MemoryStream::begin(self.clone(), state.session, from)))
    }

    async fn mark(&self) -> Result<Mark, SourceError> {
        let at = self.clock.now();
        let lsn = self.lock().write(What::Mark { at });
        self.written.notify_waiters();
        Ok(Mark { lsn, at })
    }

    async fn boundary(&self) -> Result<Boundary, SourceError> {
        let at = self.clock.now();
        Ok(self.lock().boundary(at))
    }
}
