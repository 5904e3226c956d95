use async_trait::async_trait;
use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::{Secrets, SecretsError};
use std::collections::BTreeMap;

/// The twin of a secrets store.
#[derive(Debug, Default)]
pub struct MemorySecrets {
    secrets: BTreeMap<String, ConnectionUrl>,
}

impl MemorySecrets {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret.
    #[must_use]
    pub fn with(mut self, reference: &str, url: ConnectionUrl) -> Self {
        self.secrets.insert(reference.to_owned(), url);
        self
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn connection(&self, reference: &str) -> Result<ConnectionUrl, SecretsError> {
        self.secrets.get(reference).cloned().ok_or_else(|| SecretsError::Denied {
            reference: reference.to_owned(),
            cause: "no such secret".into(),
        })
    }
}
