//! What a restore takes.

use super::KeyArguments;
use crate::secret_text::SecretText;
use clap::{Args, ValueEnum};
use keepsake_domain::{BackupIdPrefix, RecoveryTarget};
use std::path::PathBuf;

/// `keepsake restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The repository: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// The backup, by its id or the first characters of it [default: the newest, if the repository holds one source].
    #[arg(long, value_name = "ID")]
    pub backup: Option<BackupIdPrefix>,
    /// To which point in time.
    #[command(flatten)]
    pub point: PointArguments,
    /// An empty database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub to: SecretText,
    /// Tables loaded, and indexes built, at a time.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// Who opens it.
    #[command(flatten)]
    pub key: KeyArguments,
    /// Roles that the schema names and the target lacks: create them without login, refuse, or give everything to the
    /// restoring role without any rights.
    #[arg(long, value_enum, default_value_t = MissingRolesPolicy::Create)]
    pub missing_roles: MissingRolesPolicy,
    /// Restore all roles without login and password, memberships, and settings of roles and database.
    #[arg(long)]
    pub roles: bool,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub plan: bool,
    /// Write the certificate there too; must not exist.
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Store the certificate beside the backup, where list shows it.
    #[arg(long)]
    pub record: bool,
    /// Folder of pg_restore [default: those in /usr/lib/postgresql, or on PATH].
    #[arg(long, value_name = "FOLDER")]
    pub pg_bin: Option<PathBuf>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// To which point in time a restore goes; none of these restores the state of the full backup itself.
#[derive(Debug, Args)]
pub struct PointArguments {
    /// Everything that committed until then, with its zone: '2026-11-20 14:30:00+01'.
    #[arg(long, value_name = "TIME", group = "point", value_parser = RecoveryTarget::at)]
    pub at: Option<RecoveryTarget>,
    /// Everything whose commit record begins there or before: 16/B374D848.
    #[arg(long, value_name = "LSN", group = "point", value_parser = RecoveryTarget::lsn)]
    pub lsn: Option<RecoveryTarget>,
    /// Everything through the commit of this transaction.
    #[arg(long, value_name = "N", group = "point", value_parser = RecoveryTarget::xid)]
    pub xid: Option<RecoveryTarget>,
    /// Everything before the commit of this transaction.
    #[arg(long, value_name = "N", group = "point", value_parser = RecoveryTarget::xid)]
    pub before_xid: Option<RecoveryTarget>,
    /// Everything that was captured.
    #[arg(long, group = "point")]
    pub latest: bool,
    /// Apply every change since the full backup from its segment, also where a differential holds what they come to.
    #[arg(long, requires = "point")]
    pub without_differential: bool,
    /// What lies exactly at the time or position is not restored.
    #[arg(long, requires = "point", conflicts_with_all = ["xid", "before_xid", "latest"])]
    pub exclusive: bool,
}

impl PointArguments {
    /// The point, if one was given.
    #[must_use]
    pub fn target(&self) -> Option<RecoveryTarget> {
        let before = self.before_xid.map(RecoveryTarget::exclusive);
        let latest = self.latest.then_some(RecoveryTarget::Latest);
        let target = self.at.or(self.lsn).or(self.xid).or(before).or(latest)?;
        Some(if self.exclusive { target.exclusive() } else { target })
    }
}

/// What to do about roles that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MissingRolesPolicy {
    /// Create them, without login and without password.
    Create,
    /// Refuse, and name them.
    Refuse,
    /// Give everything to the restoring role, and restore no rights.
    SkipOwnership,
}
