use super::{Hold, MemoryCatalog, not_found, refused};
use async_trait::async_trait;
use keepsake_domain::{ExecutionRowId, Timestamp};
use keepsake_steps::ports::{CatalogError, Holds, LiveHold};
use std::time::Duration;

/// A holder that showed no life for longer is taken for dead, as the port says.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

#[async_trait]
impl Holds for MemoryCatalog {
    async fn publish(
        &self,
        execution: ExecutionRowId,
        _lane: &str,
        snapshot_name: &str,
        _backend_pid: i32,
        ends_at: Timestamp,
    ) -> Result<u32, CatalogError> {
        let heartbeat_at = self.clock.now();
        let mut state = self.state();
        let has_ended = state.run(execution)?.execution.status != "running";
        let run = state.holds.entry(execution).or_default();
        if run.is_released || has_ended {
            return Err(refused(format!("hold execution {execution}"), "it needs its snapshot no longer"));
        }
        run.holds.push(Hold {
            snapshot_name: snapshot_name.to_owned(),
            ends_at,
            heartbeat_at,
            has_ended: false,
        });
        Ok(u32::try_from(run.holds.len()).unwrap_or(u32::MAX))
    }

    async fn current(&self, execution: ExecutionRowId) -> Result<Option<LiveHold>, CatalogError> {
        let now = self.clock.now();
        let state = self.state();
        let holds = state.holds.get(&execution).map_or(&[][..], |run| &run.holds);
        let alive = |hold: &Hold| {
            let silent = now.duration_since(hold.heartbeat_at).unsigned_abs();
            !hold.has_ended && hold.ends_at > now && silent <= SIGN_OF_LIFE
        };
        let newest = (1u32..).zip(holds).filter(|(_, hold)| alive(hold)).last();
        Ok(newest.map(|(relay_number, hold)| LiveHold {
            relay_number,
            snapshot_name: hold.snapshot_name.clone(),
            ends_at: hold.ends_at,
        }))
    }

    async fn announced(&self, execution: ExecutionRowId) -> Result<u32, CatalogError> {
        let announced = self.state().holds.get(&execution).map_or(0, |run| run.holds.len());
        Ok(u32::try_from(announced).unwrap_or(u32::MAX))
    }

    async fn heartbeat(&self, execution: ExecutionRowId, relay_number: u32) -> Result<bool, CatalogError> {
        let now = self.clock.now();
        self.with_hold(execution, relay_number, |hold| hold.heartbeat_at = now)
    }

    async fn ended(&self, execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError> {
        self.with_hold(execution, relay_number, |hold| hold.has_ended = true).map(|_| ())
    }

    async fn release_all(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        self.state().holds.entry(execution).or_default().is_released = true;
        Ok(())
    }

    async fn is_released(&self, execution: ExecutionRowId) -> Result<bool, CatalogError> {
        Ok(self.state().holds.get(&execution).is_some_and(|run| run.is_released))
    }
}

impl MemoryCatalog {
    /// Changes one hold; answers whether its run was released.
    fn with_hold(
        &self,
        execution: ExecutionRowId,
        relay_number: u32,
        change: impl FnOnce(&mut Hold),
    ) -> Result<bool, CatalogError> {
        let mut state = self.state();
        let missing = || not_found("hold", format!("{relay_number} of {execution}"));
        let run = state.holds.get_mut(&execution).ok_or_else(missing)?;
        let index = (relay_number as usize).checked_sub(1).ok_or_else(missing)?;
        change(run.holds.get_mut(index).ok_or_else(missing)?);
        Ok(run.is_released)
    }
}
