//! Repositories by URL, and the AWS clients behind them, made only when something needs them.

use crate::failure::Failure;
use crate::secret_text::SecretText;
use keepsake_aws::{Clients, KmsKeyHolder, S3Repository};
use keepsake_folder::FolderRepository;
use keepsake_steps::ports::Repository;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Opens what URLs and key ids name.
#[derive(Default)]
pub struct Places {
    clients: OnceCell<Clients>,
}

impl Places {
    async fn clients(&self) -> &Clients {
        self.clients.get_or_init(Clients::load).await
    }

    /// Opens a repository, which must exist. `option` names the argument for people.
    ///
    /// # Errors
    /// When the URL is none of ours, or bucket or folder cannot be reached.
    pub async fn repository(&self, option: &str, url: &SecretText) -> Result<Arc<dyn Repository>, Failure> {
        let url = url.expose();
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3") => Ok(Arc::new(S3Repository::open(self.clients().await, url, None).await?)),
            Some("file") => Ok(Arc::new(FolderRepository::from_url(url)?)),
            _ => Err(Failure::usage(
                format!("{option} is no repository"),
                "give s3://bucket/prefix or file:///folder",
            )),
        }
    }

    /// A KMS key that wraps new keys.
    pub async fn kms_key(&self, key_id: &str) -> KmsKeyHolder {
        KmsKeyHolder::new(self.clients().await, key_id)
    }

    /// Whichever KMS key wrapped a backup's key.
    pub async fn any_kms_key(&self) -> KmsKeyHolder {
        KmsKeyHolder::for_reading(self.clients().await)
    }
}
