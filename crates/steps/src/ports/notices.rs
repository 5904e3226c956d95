use async_trait::async_trait;
use keepsake_domain::{Classified, Explanation, FailureClass, Notice};

/// Where people and machines are told.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Hands a notice over for delivery; returns the service's message id. A second call sends it again.
    ///
    /// # Errors
    /// [`NoticesError`]: a notice that could not be handed over is itself a failure.
    async fn publish(&self, notice: &Notice) -> Result<String, NoticesError>;
}

/// Why a notice was not handed over.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish to {topic}")]
pub struct NoticesError {
    /// The topic.
    pub topic: String,
    /// Whether it may pass by itself.
    pub transient: bool,
    /// What was seen.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Classified for NoticesError {
    fn class(&self) -> FailureClass {
        if self.transient { FailureClass::Transient } else { FailureClass::Permanent }
    }

    fn explanation(&self) -> Explanation {
        Explanation {
            at_risk: "nobody was told about this run".to_owned(),
            next: format!("check topic {} and the role's right to publish", self.topic),
        }
    }
}
