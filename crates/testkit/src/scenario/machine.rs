//! One state of a machine: timeout, retries, and a step that goes on although nobody waits for it.

use super::Scenario;
use keepsake_domain::{Classified, FailureClass, chain};
use keepsake_steps::StepError;
use keepsake_steps::ports::FailureRecord;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// As `TimeoutSeconds` of the longest states.
const TASK_TIMEOUT: Duration = Duration::from_secs(930);
/// Steps that make what only the failure path takes away, a lease and an instance. A function's own timeout is shorter
/// than its state's, so these cannot go on behind it; the others are let, which is the harder case.
const MAKERS: [&str; 2] = ["Begin", "ProvisionInstance"];
/// Retries of `Keepsake.Transient`; fewer than the machines', so that the sweep is the harder one.
const RETRIES: u32 = 3;
/// Longer than any step can go on by itself.
const SETTLE: Duration = Duration::from_secs(3 * 60 * 60);

/// Why a run ended badly: the first failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The state.
    pub state: &'static str,
    /// The class.
    pub class: FailureClass,
    /// Error and causes.
    pub text: String,
}

impl Failed {
    pub(super) fn of(state: &'static str, error: &StepError) -> Self {
        Self { state, class: error.class(), text: chain(error) }
    }

    pub(super) fn new(state: &'static str, class: FailureClass, text: &str) -> Self {
        Self { state, class, text: text.to_owned() }
    }
}

impl Scenario {
    /// Runs one task state. A step that does not answer in time is given up, and goes on all the same, as a function
    /// does whose answer nobody waits for.
    pub(super) async fn task<T, F>(
        self: &Arc<Self>,
        state: &'static str,
        step: impl Fn(Arc<Self>) -> F + Send,
    ) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        let (mut retries, mut repeats) = (0, u32::from(self.repeats_steps));
        loop {
            let live = Living::new(self);
            let future = step(Arc::clone(self));
            let running = tokio::spawn(async move {
                let _live = live;
                future.await
            });
            let stop = running.abort_handle();
            match tokio::time::timeout(TASK_TIMEOUT, running).await {
                Err(_) if MAKERS.contains(&state) => {
                    stop.abort();
                    return Err(Failed::new(state, FailureClass::Transient, "States.Timeout"));
                }
                Err(_) => return Err(Failed::new(state, FailureClass::Transient, "States.Timeout")),
                Ok(Err(died)) => std::panic::resume_unwind(died.into_panic()),
                Ok(Ok(Ok(_))) if repeats > 0 => repeats -= 1,
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err(error))) if error.class() == FailureClass::Transient && retries < RETRIES => {
                    retries += 1;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Ok(Ok(Err(error))) => return Err(Failed::of(state, &error)),
            }
        }
    }

    /// Opens the gate and waits until every step ended, also those that were given up.
    ///
    /// # Panics
    /// When one never ends.
    pub async fn settle(&self) {
        self.gate.open();
        let began = tokio::time::Instant::now();
        while self.live.load(Ordering::SeqCst) > 0 {
            assert!(began.elapsed() < SETTLE, "a step never ended");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub(super) fn record(&self, failed: &Failed) -> FailureRecord {
        use keepsake_steps::ports::Clock;
        FailureRecord {
            class: failed.class,
            message: failed.text.clone(),
            state: Some(failed.state.to_owned()),
            failed_at: self.clock.now(),
        }
    }
}

/// Counted while it lives.
pub(super) struct Living(Arc<std::sync::atomic::AtomicUsize>);

impl Living {
    pub(super) fn new(scenario: &Scenario) -> Self {
        scenario.live.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&scenario.live))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
