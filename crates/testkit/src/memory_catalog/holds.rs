use super::{Hold, MemoryCatalog, State, not_found};
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
        state.run(execution)?;
        let is_over = state.needs_no_snapshot(execution);
        let holds = &mut state.holds.entry(execution).or_default().holds;
        let number = u32::try_from(holds.len() + 1).unwrap_or(u32::MAX);
        if !is_over {
            let snapshot_name = snapshot_name.to_owned();
            holds.push(Hold { snapshot_name, ends_at, heartbeat_at, has_ended: false });
        }
        Ok(number)
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
        let mut state = self.state();
        let is_over = state.needs_no_snapshot(execution);
        match state.hold(execution, relay_number) {
            Some(hold) => hold.heartbeat_at = now,
            None if is_over => {}
            None => return Err(not_found("hold", format!("{relay_number} of {execution}"))),
        }
        Ok(is_over)
    }

    async fn ended(&self, execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError> {
        if let Some(hold) = self.state().hold(execution, relay_number) {
            hold.has_ended = true;
        }
        Ok(())
    }

    async fn release_all(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        self.state().holds.entry(execution).or_default().is_released = true;
        Ok(())
    }

    async fn is_released(&self, execution: ExecutionRowId) -> Result<bool, CatalogError> {
        Ok(self.state().needs_no_snapshot(execution))
    }
}

impl State {
    /// Released, or the run is over.
    fn needs_no_snapshot(&self, execution: ExecutionRowId) -> bool {
        let is_over = |run: &super::CatalogRun| run.execution.status != "running";
        self.holds.get(&execution).is_some_and(|run| run.is_released)
            || self.runs.get(&execution).is_some_and(is_over)
    }

    fn hold(&mut self, execution: ExecutionRowId, relay_number: u32) -> Option<&mut Hold> {
        let index = (relay_number as usize).checked_sub(1)?;
        self.holds.get_mut(&execution)?.holds.get_mut(index)
    }
}
