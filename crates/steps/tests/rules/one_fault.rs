//! One fault at one call of a step, as every sweep over all calls makes it.

use keepsake_testkit::{Fault, Faults, Gate};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Refused,
    DoneAndReportedAsFailed,
    /// The process dies: the call was made, and nothing after it.
    Dead,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Refused, Self::DoneAndReportedAsFailed, Self::Dead];

    /// The script with this fault at that call.
    pub fn at(self, call: &str, number: usize) -> Arc<Faults> {
        let fault = match self {
            Self::Refused => Fault::Refuse,
            Self::DoneAndReportedAsFailed => Fault::DoAndReportFailure,
            Self::Dead => Fault::HoldAnswer(Gate::default()),
        };
        Arc::new(Faults::new().at_call(call, number, fault))
    }

    /// Ends when the process dies of it, and never for the other kinds.
    pub async fn dies(self, faults: &Faults, call: &str, number: usize) {
        if self != Self::Dead {
            std::future::pending::<()>().await;
        }
        made(faults, call, number).await;
    }
}

/// Waits until that call was made, and those who wait for its answer had their turn.
async fn made(faults: &Faults, call: &str, number: usize) {
    while faults.calls().get(call).is_none_or(|made| *made <= number) {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
