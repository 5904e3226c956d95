//! What backing a database up takes, and looking at what that would protect.

use crate::byte_size::at_least;
use crate::secret_text::SecretText;
use clap::{Args, ValueEnum};
use keepsake_domain::{CutLimits, SourceLimits};
use std::path::PathBuf;

/// `keepsake backup`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("holders").required(true).multiple(true)))]
pub struct BackupArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// Where to: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// Name of the source in the repository [default: the database's name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A recovery key's public half (age1…), which can open the backup; may be repeated.
    #[arg(long, value_name = "AGE1…", group = "holders")]
    pub recipient: Vec<SecretText>,
    /// A KMS key that can open the backup: id, ARN or alias.
    #[arg(long, value_name = "ID", group = "holders")]
    pub kms_key: Option<String>,
    /// Tables read at a time; each costs up to 64 MiB of memory.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// zstd level.
    #[arg(long, value_name = "N", default_value_t = keepsake_archive::ZSTD_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    /// Tables above are cut into parts of about this size.
    #[arg(long, value_name = "BYTES", default_value_t = CutLimits::default().part_bytes,
          value_parser = at_least(65_536))]
    pub part_size: u64,
    /// Hand the snapshot from one connection to the next after this many seconds, as the functions do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub relay_seconds: Option<u32>,
    /// Read no more than this many megabits of rows per second, over all connections [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bandwidth_limit_mbps: Option<u32>,
    /// How long somebody's statement may wait behind a lock of this run before the run gives way.
    #[arg(long, value_name = "N", default_value_t = SourceLimits::default().lock_patience_seconds,
          value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub lock_patience_seconds: u32,
    /// Give the run up when its snapshot is older.
    #[arg(long, value_name = "N", default_value_t = SourceLimits::default().max_snapshot_age_seconds,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub max_snapshot_age_seconds: u32,
    /// Give the run up when more transactions began since its snapshot.
    #[arg(long, value_name = "N", default_value_t = SourceLimits::default().max_snapshot_age_transactions,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_snapshot_age_transactions: u64,
    /// Copy the finished backup there too, and verify it there; may be repeated.
    #[arg(long, value_name = "URL")]
    pub copy_to: Vec<SecretText>,
    /// What kind of Postgres it is, where the server does not show it.
    #[arg(long, value_enum, default_value_t = ProviderName::Plain)]
    pub provider: ProviderName,
    /// Folder of pg_dump [default: those in /usr/lib/postgresql, or on PATH].
    #[arg(long, value_name = "FOLDER")]
    pub pg_bin: Option<PathBuf>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

impl BackupArguments {
    /// What the run may cost its source: one process is one worker.
    #[must_use]
    pub fn limits(&self) -> SourceLimits {
        SourceLimits {
            workers: 1,
            lock_patience_seconds: self.lock_patience_seconds,
            max_snapshot_age_seconds: self.max_snapshot_age_seconds,
            max_snapshot_age_transactions: self.max_snapshot_age_transactions,
            bandwidth_limit_mbps: self.bandwidth_limit_mbps,
        }
    }
}

/// `keepsake coverage`.
#[derive(Debug, Args)]
pub struct CoverageArguments {
    /// The database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub source: SecretText,
    /// What kind of Postgres it is, where the server does not show it.
    #[arg(long, value_enum, default_value_t = ProviderName::Plain)]
    pub provider: ProviderName,
    /// Folder of pg_dump [default: those in /usr/lib/postgresql, or on PATH].
    #[arg(long, value_name = "FOLDER")]
    pub pg_bin: Option<PathBuf>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Kinds of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderName {
    /// Any server.
    Plain,
    /// Amazon RDS.
    Rds,
    /// Amazon Aurora.
    Aurora,
    /// Supabase.
    Supabase,
}
