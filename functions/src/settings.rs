//! Settings, read once from the environment in `main`. Each function is given only those that it needs.

use std::path::PathBuf;
use std::time::Duration;

/// A setting that this function needs and was not given.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {0} is not set on this function")]
pub struct MissingSetting(pub &'static str);

/// What the template sets on the functions.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    catalog_secret: Option<String>,
    work_bucket: Option<String>,
    topic_arn: Option<String>,
    /// Folder with `pg_dump` and `pg_restore`.
    pub pg_bin: PathBuf,
    /// How many batches the machine reads at a time.
    pub map_concurrency: u32,
    /// How long one call of a capture goes on.
    pub capture_span: Duration,
    /// RDS instance class of throwaway instances.
    pub instance_class: String,
    /// Subnet group of throwaway instances.
    pub instance_subnet_group: Option<String>,
    /// Security groups of throwaway instances.
    pub instance_security_groups: Vec<String>,
    /// KMS key that encrypts throwaway instances' storage.
    pub instance_kms_key_id: Option<String>,
}

impl Settings {
    /// Reads the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let list = |name| -> Vec<String> {
            let value = text(name).unwrap_or_default();
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        Self {
            catalog_secret: text("KEEPSAKE_CATALOG_SECRET"),
            work_bucket: text("KEEPSAKE_WORK_BUCKET"),
            topic_arn: text("KEEPSAKE_TOPIC_ARN"),
            pg_bin: text("KEEPSAKE_PG_BIN").unwrap_or_else(|| "/opt/bin".to_owned()).into(),
            // The template's own default, for a function that is called without it.
            map_concurrency: text("KEEPSAKE_MAP_CONCURRENCY").and_then(|n| n.parse().ok()).unwrap_or(4),
            capture_span: Duration::from_secs(
                text("KEEPSAKE_CAPTURE_SECONDS").and_then(|n| n.parse().ok()).unwrap_or(240),
            ),
            instance_class: text("KEEPSAKE_INSTANCE_CLASS").unwrap_or_else(|| "db.t4g.medium".to_owned()),
            instance_subnet_group: text("KEEPSAKE_INSTANCE_SUBNET_GROUP"),
            instance_security_groups: list("KEEPSAKE_INSTANCE_SECURITY_GROUPS"),
            instance_kms_key_id: text("KEEPSAKE_INSTANCE_KMS_KEY_ID"),
        }
    }

    /// Reference of the catalog's secret.
    ///
    /// # Errors
    /// When it is not set.
    pub fn catalog_secret(&self) -> Result<&str, MissingSetting> {
        self.catalog_secret.as_deref().ok_or(MissingSetting("KEEPSAKE_CATALOG_SECRET"))
    }

    /// Name of the work bucket.
    ///
    /// # Errors
    /// When it is not set.
    pub fn work_bucket(&self) -> Result<&str, MissingSetting> {
        self.work_bucket.as_deref().ok_or(MissingSetting("KEEPSAKE_WORK_BUCKET"))
    }

    /// The topic that alerts go to.
    ///
    /// # Errors
    /// When it is not set.
    pub fn topic_arn(&self) -> Result<&str, MissingSetting> {
        self.topic_arn.as_deref().ok_or(MissingSetting("KEEPSAKE_TOPIC_ARN"))
    }
}
