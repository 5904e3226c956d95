//! What protecting a source and capturing its changes work with, from the options that both have.

use crate::backup::check_name;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{key_holder, recipients};
use crate::secret_text::SecretText;
use keepsake_archive::{ArchiveLayout, ChangesLayout, Recipient};
use keepsake_domain::ConnectionUrl;
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::{ChangeSource, KeyHolder, ProtectWishes, Repository};
use keepsake_steps::{Capture, refuse_where_gone};
use std::sync::Arc;

/// The options, as they were given.
pub struct CaptureOptions<'a> {
    pub source: &'a SecretText,
    pub repo: &'a SecretText,
    pub name: &'a str,
    pub recipient: &'a [SecretText],
    pub kms_key: Option<&'a str>,
}

/// What they name, opened.
pub struct Capturing {
    source: PostgresChanges,
    repository: Arc<dyn Repository>,
    key_holder: Box<dyn KeyHolder>,
    recovery: Vec<Recipient>,
    name: String,
}

impl Capturing {
    /// Opens the repository; the source is not asked yet.
    ///
    /// # Errors
    /// When an option is wrong, or the repository or the key cannot be used.
    pub async fn open(context: &Context, options: CaptureOptions<'_>) -> Result<Self, Failure> {
        let url = connection("--source", options.source, &context.environment)?;
        let recovery = recipients(options.recipient)?;
        check_name(options.name)?;
        let key_holder = key_holder(&context.places, options.kms_key, &recovery).await?;
        let repository = context.places.repository("--repo", options.repo).await?;
        let source = PostgresChanges::new(url, options.name);
        Ok(Self { source, repository, key_holder, recovery, name: options.name.to_owned() })
    }

    /// The repository.
    pub fn repository(&self) -> &dyn Repository {
        self.repository.as_ref()
    }

    /// What the steps take.
    pub fn capture<'a>(&'a self, context: &'a Context, wishes: ProtectWishes, level: i32) -> Capture<'a> {
        Capture {
            source: &self.source,
            repository: self.repository.as_ref(),
            key_holder: self.key_holder.as_ref(),
            recovery: &self.recovery,
            clock: context.clock.as_ref(),
            name: &self.name,
            wishes,
            level,
            parse_statement: keepsake_statements::plain_statement,
        }
    }
}

/// Refuses a folder to which the source's changes went and which holds nothing of them: a disk that is not mounted. A source
/// that cannot be asked, or of which no changes are captured, says nothing of any folder.
///
/// # Errors
/// As [`refuse_where_gone`].
pub async fn refuse_mount_point(
    repository: &dyn Repository,
    url: ConnectionUrl,
    backup: &ArchiveLayout,
) -> Result<(), Failure> {
    if !repository.url().starts_with("file://") {
        return Ok(());
    }
    let Ok(state) = PostgresChanges::new(url, &backup.source).capture_state().await else { return Ok(()) };
    let layout = ChangesLayout { source: backup.source.clone(), lineage: backup.lineage.clone() };
    Ok(refuse_where_gone(repository, &state, &layout).await?)
}
