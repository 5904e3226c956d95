//! What capturing a source's changes takes, and what is done with them.

use super::KeyArguments;
use crate::byte_size::at_least;
use crate::secret_text::SecretText;
use clap::Args;
use keepsake_domain::{BackupIdPrefix, GovernorLimits};

/// `keepsake protect`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("protect_holders").required(true).multiple(true)))]
pub struct ProtectArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// Where to: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// Name of the source in the repository; slot and publication are called after it.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Give tables without a usable replica identity REPLICA IDENTITY FULL, which writes more WAL; else their changes are
    /// not captured.
    #[arg(long)]
    pub replica_identity_full: bool,
    /// Make the slot anew and begin a new chain whatever stands, for this reason: the newest manifest is damaged, or another
    /// repository that changes went to is given up. Changes in between are lost, which is recorded as a gap.
    #[arg(long, value_name = "REASON")]
    pub begin_anew: Option<String>,
    /// A recovery key's public half (age1…), which can open the chain's key; may be repeated.
    #[arg(long, value_name = "AGE1…", group = "protect_holders")]
    pub recipient: Vec<SecretText>,
    /// A KMS key that can open it: id, ARN or alias.
    #[arg(long, value_name = "ID", group = "protect_holders")]
    pub kms_key: Option<String>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake capture`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("capture_holders").required(true).multiple(true)))]
pub struct CaptureArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// Where to: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// Name of the source in the repository, as it was protected.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Capture what happened until now, and end (the default).
    #[arg(long, conflicts_with = "follow")]
    pub once: bool,
    /// Go on capturing until interrupted.
    #[arg(long)]
    pub follow: bool,
    /// With --follow: end a segment after this many seconds; what commits now is safe so much later.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub segment_seconds: u32,
    /// End a segment at the first commit behind this many bytes of changes.
    #[arg(long, value_name = "BYTES", default_value_t = keepsake_steps::SegmentBounds::default().bytes,
          value_parser = at_least(65_536))]
    pub segment_size: u64,
    /// A recovery key's public half (age1…), which can open the changes; may be repeated.
    #[arg(long, value_name = "AGE1…", group = "capture_holders")]
    pub recipient: Vec<SecretText>,
    /// A KMS key that can open the changes: id, ARN or alias.
    #[arg(long, value_name = "ID", group = "capture_holders")]
    pub kms_key: Option<String>,
    /// zstd level.
    #[arg(long, value_name = "N", default_value_t = keepsake_archive::ZSTD_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake differential`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("differential_holders").required(true).multiple(true)))]
pub struct DifferentialArguments {
    /// The repository: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// The full backup, by its id or the first characters of it [default: the newest, if the repository holds one source].
    #[arg(long, value_name = "ID")]
    pub backup: Option<BackupIdPrefix>,
    /// Who opens the changes.
    #[command(flatten)]
    pub key: KeyArguments,
    /// A recovery key's public half (age1…), which can open the differential; may be repeated.
    #[arg(long, value_name = "AGE1…", group = "differential_holders")]
    pub recipient: Vec<SecretText>,
    /// A KMS key that can open it: id, ARN or alias.
    #[arg(long, value_name = "ID", group = "differential_holders")]
    pub kms_key: Option<String>,
    /// zstd level.
    #[arg(long, value_name = "N", default_value_t = keepsake_archive::ZSTD_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake replicate`.
#[derive(Debug, Args)]
pub struct ReplicateArguments {
    /// Where the changes were captured to: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// The other repository.
    #[arg(long, value_name = "URL")]
    pub to: SecretText,
    /// Name of the source in the repository [default: all].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake rpo`.
#[derive(Debug, Args)]
pub struct RpoArguments {
    /// The repository, most of all a copy: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// Name of the source in the repository, as it was protected.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Who opens it.
    #[command(flatten)]
    pub key: KeyArguments,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake unprotect`.
#[derive(Debug, Args)]
pub struct UnprotectArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// Name of the source in the repository, as it was protected.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake govern`.
#[derive(Debug, Args)]
pub struct GovernArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// Name of the source in the repository, as it was protected.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// WAL that the slot may make the server keep, in bytes or as 8GiB; the slot goes at half of it.
    #[arg(long, value_name = "BYTES", default_value_t = GovernorLimits::default().wal_budget_bytes,
          value_parser = at_least(1_048_576))]
    pub wal_budget: u64,
    /// What is free on the server's disk, if you know: it lowers the budget.
    #[arg(long, value_name = "BYTES", value_parser = at_least(0))]
    pub free_bytes: Option<u64>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}
