//! A snapshot lives as long as one transaction that holds it.

use super::{MemoryDatabase, State};
use async_trait::async_trait;
use keepsake_domain::{Lsn, Timestamp, TransactionSnapshot};
use keepsake_steps::ports::{HeldSnapshot, SourceError};
use std::sync::{Arc, Mutex, PoisonError};

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

impl Drop for Held {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&self.name);
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

    async fn check(&self) -> Result<(), SourceError> {
        let lives = self.state.lock().unwrap_or_else(PoisonError::into_inner).held.contains_key(&self.name);
        if lives { Ok(()) } else { Err(SourceError::SnapshotLost { name: self.name.clone() }) }
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}
