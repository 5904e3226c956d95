//! What protecting a source and capturing its changes work with, from the options that both have.

use crate::backup::check_name;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{key_holder, recipients};
use crate::secret_text::SecretText;
use keepsake_archive::Recipient;
use keepsake_postgres::PostgresChanges;
use keepsake_steps::Capture;
use keepsake_steps::ports::{KeyHolder, ProtectWishes, Repository};
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
