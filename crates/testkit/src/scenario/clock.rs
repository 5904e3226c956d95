use async_trait::async_trait;
use keepsake_domain::Timestamp;
use keepsake_steps::ports::Clock;
use std::time::Duration;
use tokio::time::Instant;

/// Tokio's clock, which a test can pause: then time goes on only when every task waits for it.
#[derive(Debug)]
pub struct TokioClock {
    base: Timestamp,
    began: Instant,
}

impl TokioClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { base: now, began: Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base.checked_add(self.began.elapsed()).expect("tests stay within the calendar")
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
