//! The snapshot's holders as tasks of this process: one for the whole run, or two lanes that relay.

use crate::failure::Failure;
use crate::without_catalog::NoLeases;
use keepsake_domain::ExecutionRowId;
use keepsake_steps::ports::Holds;
use keepsake_steps::{Dumper, Holder, Lane, Run, StepError, hold_snapshot, release_snapshot};
use std::future::Future;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};

/// Running holders. Dropping this ends them, and with them the transaction.
pub struct HeldByUs {
    lanes: JoinSet<Result<(), StepError>>,
}

impl HeldByUs {
    /// Begins to hold; with `relay_seconds` in two lanes.
    pub fn hold(dumper: &Dumper, run: &Run, relay_seconds: Option<u32>) -> Self {
        let mut lanes = JoinSet::new();
        lanes.spawn(lane(dumper.clone(), run.clone(), Lane::First, Duration::ZERO));
        if let Some(seconds) = relay_seconds {
            let half = Duration::from_secs(u64::from(seconds)) / 2;
            lanes.spawn(lane(dumper.clone(), run.clone(), Lane::Second, half));
        }
        Self { lanes }
    }

    /// Does the work while the snapshot is held.
    ///
    /// # Errors
    /// The work's failure; or the holder's, as soon as it fails.
    pub async fn during<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            Some(ended) = self.lanes.join_next() => {
                lane_outcome(ended)?;
                // Holders only end well after the release, which comes after the work.
                Err(StepError::WorkerDied { what: "the snapshot's holder".to_owned() }.into())
            }
        }
    }

    /// Lets the snapshot go and waits until its holders ended.
    ///
    /// # Errors
    /// When one of them had lost it.
    pub async fn release(mut self, holds: &dyn Holds, execution: ExecutionRowId) -> Result<(), Failure> {
        release_snapshot(holds, execution).await?;
        while let Some(ended) = self.lanes.join_next().await {
            lane_outcome(ended)?;
        }
        Ok(())
    }
}

fn lane_outcome(ended: Result<Result<(), StepError>, JoinError>) -> Result<(), Failure> {
    let died = |_| StepError::WorkerDied { what: "the snapshot's holder".to_owned() };
    Ok(ended.map_err(died)??)
}

/// Holds again and again until the run lets go; each turn is bounded by the relay's period and its grace.
async fn lane(dumper: Dumper, run: Run, lane: Lane, delay: Duration) -> Result<(), StepError> {
    dumper.clock.sleep(delay).await;
    let holder = Holder {
        source: dumper.source.as_ref(),
        holds: dumper.holds.as_ref(),
        leases: &NoLeases,
        work: &dumper.work,
        clock: dumper.clock.as_ref(),
    };
    while !hold_snapshot(&holder, &run, lane).await? {}
    Ok(())
}
