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
    async fn clients(&self) -> Result<&Clients, Failure> {
        let checked = async {
            let clients = Clients::load().await;
            clients.check().await?;
            Ok(clients)
        };
        self.clients.get_or_try_init(|| checked).await
    }

    /// Opens a repository, which must exist. `option` names the argument for people.
    ///
    /// # Errors
    /// When the URL is none of ours, or bucket or folder cannot be reached.
    pub async fn repository(&self, option: &str, url: &SecretText) -> Result<Arc<dyn Repository>, Failure> {
        let url = url.expose();
        if S3Repository::is_url(url) {
            return Ok(Arc::new(S3Repository::open(self.clients().await?, url, None).await?));
        }
        if FolderRepository::is_url(url) {
            return Ok(Arc::new(FolderRepository::from_url(url)?));
        }
        Err(Failure::usage(
            format!("{option} is no repository"),
            "give s3://bucket/prefix, or file:// and an absolute path: file:///folder",
        ))
    }

    /// A KMS key that wraps new keys.
    ///
    /// # Errors
    /// When AWS's region or credentials are not set.
    pub async fn kms_key(&self, key_id: &str) -> Result<KmsKeyHolder, Failure> {
        Ok(KmsKeyHolder::new(self.clients().await?, key_id))
    }

    /// Whichever KMS key wrapped a backup's key.
    ///
    /// # Errors
    /// As for [`Places::kms_key`].
    pub async fn any_kms_key(&self) -> Result<KmsKeyHolder, Failure> {
        Ok(KmsKeyHolder::for_reading(self.clients().await?))
    }
}
