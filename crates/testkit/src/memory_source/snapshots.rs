//! A snapshot lives as long as one transaction that holds it.

use super::{MemoryDatabase, State};
use async_trait::async_trait;
use keepsake_domain::{Lsn, Timestamp, TransactionSnapshot};
use keepsake_steps::ports::{GiveWay, HeldSnapshot, SourceError, Strain, Waiting};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all holders of one snapshot see.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: TransactionSnapshot,
    pub(super) database: MemoryDatabase,
}

pub(super) struct Held {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) name: String,
    pub(super) view: Arc<View>,
    pub(super) lsn: Lsn,
    pub(super) taken_at: Timestamp,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state().held.remove(&self.name);
    }
}

#[async_trait]
impl HeldSnapshot for Held {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> &TransactionSnapshot {
        &self.view.snapshot
    }

    fn lsn(&self) -> Lsn {
        self.lsn
    }

    fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    fn backend_pid(&self) -> i32 {
        4711
    }

    async fn check(&self, patience: Duration) -> Result<Strain, SourceError> {
        let state = self.state();
        if !state.held.contains_key(&self.name) {
            return Err(SourceError::SnapshotLost { name: self.name.clone() });
        }
        let waiting = state.waiting.iter().filter(|waiting| waiting.waited >= patience).cloned().collect();
        Ok(Strain { transactions: state.next_xid - self.view.snapshot.xmin, waiting })
    }

    async fn give_way(&self, waiting: &Waiting, how: GiveWay) -> Result<(), SourceError> {
        let mut state = self.state();
        state.waiting.retain(|other| other != waiting);
        state.gave_way.push((waiting.reader_pid, how));
        Ok(())
    }

    async fn end_readers(&self) -> Result<(), SourceError> {
        self.state().readers_ended += 1;
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}
