//! What stands in for the catalog when there is none: one process is the whole run, so its memory is enough.
//!
//! Nothing is leased. Two backups of one source at the same time are safe: each has its own id, its own folder and its
//! own key pair, and neither writes where the other does. What they share is the load on the source.

use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{ExecutionRowId, FencingToken, Lineage, Timestamp};
use keepsake_steps::ports::{
    CatalogError, Clock, CompletedBackup, Execution, Executions, FailureRecord, Holds, Lease, Leases,
    LiveHold, NewExecution,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The token of a run that holds no lease; those of the catalog begin at 1.
pub const NO_LEASE: FencingToken = FencingToken(0);

/// The clock of the machine.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Snapshot holders of one run, all of them tasks of this process.
#[derive(Default)]
pub struct OwnHolds {
    state: Mutex<HoldsState>,
}

#[derive(Default)]
struct HoldsState {
    holders: Vec<(LiveHold, HolderState)>,
    released: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HolderState {
    Holding,
    Ended,
}

impl OwnHolds {
    fn state(&self) -> MutexGuard<'_, HoldsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Holds for OwnHolds {
    async fn publish(
        &self,
        _execution: ExecutionRowId,
        _lane: &str,
        snapshot_name: &str,
        _backend_pid: i32,
        ends_at: Timestamp,
    ) -> Result<u32, CatalogError> {
        let mut state = self.state();
        let relay_number = u32::try_from(state.holders.len() + 1).unwrap_or(u32::MAX);
        let hold = LiveHold { relay_number, snapshot_name: snapshot_name.to_owned(), ends_at };
        state.holders.push((hold, HolderState::Holding));
        Ok(relay_number)
    }

    async fn current(&self, _execution: ExecutionRowId) -> Result<Option<LiveHold>, CatalogError> {
        let state = self.state();
        let holding = state.holders.iter().rev().find(|(_, holder)| *holder == HolderState::Holding);
        Ok(holding.map(|(hold, _)| hold.clone()))
    }

    async fn announced(&self, _execution: ExecutionRowId) -> Result<u32, CatalogError> {
        Ok(u32::try_from(self.state().holders.len()).unwrap_or(u32::MAX))
    }

    async fn heartbeat(&self, _execution: ExecutionRowId, _relay_number: u32) -> Result<bool, CatalogError> {
        Ok(self.state().released)
    }

    async fn ended(&self, _execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError> {
        let mut state = self.state();
        for (_, holder) in state.holders.iter_mut().filter(|(hold, _)| hold.relay_number == relay_number) {
            *holder = HolderState::Ended;
        }
        Ok(())
    }

    async fn release_all(&self, _execution: ExecutionRowId) -> Result<(), CatalogError> {
        self.state().released = true;
        Ok(())
    }

    async fn is_released(&self, _execution: ExecutionRowId) -> Result<bool, CatalogError> {
        Ok(self.state().released)
    }
}

/// Leases of a run that needs none: every call gets [`NO_LEASE`].
pub struct NoLeases;

#[async_trait]
impl Leases for NoLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, CatalogError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Ok(Lease { name, holder, token: NO_LEASE, expires_at: Timestamp::now() + ttl })
    }

    async fn renew(&self, _lease: &Lease, _ttl: Duration) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn release(&self, _name: &str, _holder: &str, _token: FencingToken) -> Result<(), CatalogError> {
        Ok(())
    }
}

/// Runs that are recorded nowhere but in their manifest.
pub struct NoExecutions;

#[async_trait]
impl Executions for NoExecutions {
    async fn open(&self, new: &NewExecution) -> Result<Execution, CatalogError> {
        Err(CatalogError::NotFound { what: format!("execution {}", new.execution_id) })
    }

    async fn note_lineage(&self, _execution: ExecutionRowId, _lineage: &Lineage) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn find(&self, _execution_id: &str) -> Result<Option<Execution>, CatalogError> {
        Ok(None)
    }

    async fn sealed(
        &self,
        _execution: ExecutionRowId,
        _manifest: &Manifest,
        _manifest_key: &str,
        _manifest_sha256: &str,
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn complete(
        &self,
        _execution: ExecutionRowId,
        _done: &CompletedBackup,
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn fail(&self, _execution: ExecutionRowId, _failure: &FailureRecord) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn count_retry(&self, _execution: ExecutionRowId) -> Result<(), CatalogError> {
        Ok(())
    }
}
