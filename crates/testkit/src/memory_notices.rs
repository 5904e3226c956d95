use async_trait::async_trait;
use keepsake_domain::Notice;
use keepsake_steps::ports::{Notices, NoticesError};
use std::sync::{Mutex, PoisonError};

/// The twin of a topic: it keeps what was published.
#[derive(Debug, Default)]
pub struct MemoryNotices {
    published: Mutex<Vec<Notice>>,
}

impl MemoryNotices {
    /// A topic without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was published, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Notice> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Notices for MemoryNotices {
    async fn publish(&self, notice: &Notice) -> Result<String, NoticesError> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.push(notice.clone());
        Ok(format!("message-{}", published.len()))
    }
}
