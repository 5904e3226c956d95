use async_trait::async_trait;
use keepsake_domain::Timestamp;
use std::time::Duration;

/// Time, so that a test can hold it still.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
    /// Waits; a test's clock only moves its hands.
    async fn sleep(&self, span: Duration);
}
