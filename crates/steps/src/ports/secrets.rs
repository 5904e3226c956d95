use async_trait::async_trait;
use keepsake_domain::{Classified, ConnectionUrl, Explanation, FailureClass};

/// Where connection URLs are kept; the catalog holds only references.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The connection URL behind a reference: the secret's text is a `postgres://` URL, or JSON with `username`, `password`, `host`,
    /// `port`, `dbname` as RDS and its rotation write it.
    ///
    /// # Errors
    /// [`SecretsError`], never with the secret's content.
    async fn connection(&self, reference: &str) -> Result<ConnectionUrl, SecretsError>;
}

/// Why a secret could not be read. Carries the reference, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// No such secret, or no right to read it.
    #[error("secret {reference} cannot be read")]
    Denied {
        /// The reference.
        reference: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It may pass.
    #[error("secret {reference} did not come")]
    Unavailable {
        /// The reference.
        reference: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Read, and not a connection.
    #[error("secret {reference} holds no connection URL and no RDS secret")]
    NotAConnection {
        /// The reference.
        reference: String,
    },
}

impl Classified for SecretsError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::Denied { .. } | Self::NotAConnection { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        Explanation {
            at_risk: "no new recovery point was made; older backups stand".to_owned(),
            next: "correct the secret or the role's right to read it, then run again".to_owned(),
        }
    }
}
