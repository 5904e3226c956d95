use async_trait::async_trait;
use keepsake_domain::Timestamp;
use keepsake_steps::ports::Clock;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A clock whose hands move only when someone sleeps or [`TestClock::advance`] is called; no test waits for it.
#[derive(Debug)]
pub struct TestClock {
    now: Mutex<Timestamp>,
}

impl TestClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: Mutex::new(now) }
    }

    /// Moves the hands.
    pub fn advance(&self, span: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(span).expect("tests stay within the calendar");
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sleep(&self, span: Duration) {
        self.advance(span);
        // Whoever shares this thread gets its turn, as it would while we really slept.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_moves_the_hands_by_exactly_that_much() {
        let start: Timestamp = "2026-11-21T01:00:00Z".parse().expect("valid");
        let clock = TestClock::at(start);
        clock.sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), "2026-11-21T01:01:30Z".parse::<Timestamp>().expect("valid"));
    }
}
