//! What the command line says. Values that may hold a credential stay plain text here and are parsed later, because
//! a parse error of the command line repeats the value.

use crate::byte_size::at_least;
use crate::secret_text::SecretText;
use clap::{Args, Parser, Subcommand, ValueEnum};
use keepsake_domain::{BackupIdPrefix, CutLimits, GovernorLimits, RecoveryTarget, SourceLimits};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  2    the command line is wrong; nothing was touched
  10   it may pass, as a slot in use does: run the same command again
  11   someone else holds it or wrote it first
  12   it fails again until a person changes something
  13   bytes or rows are not what they must be
  14   not proven: verify found damage or nothing to verify, or the restored database is not equal
  130  interrupted (143 by SIGTERM); nothing half-done counts as done

Credentials: a URL on the command line can be read by every user of the machine (ps). Give env:NAME instead of a
URL, or leave the password out and set PGPASSWORD. See docs/cli.md.";

/// Backups of a Postgres database that anyone can restore, and proof that they do.
#[derive(Debug, Parser)]
#[command(name = "keepsake", version, after_long_help = EXIT_CODES, after_help = "See --help for exit codes.")]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log to standard error; twice for more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// S3 endpoint instead of Amazon's; also by AWS_ENDPOINT_URL_S3.
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a backup of a database would protect, and what not.
    Coverage(CoverageArguments),
    /// Back up one database.
    Backup(BackupArguments),
    /// Begin to capture the changes of a source: publication, slot, and the chain's beginning.
    Protect(ProtectArguments),
    /// Capture the changes of a protected source since the last capture.
    Capture(CaptureArguments),
    /// Fold all changes since the last full backup into what they come to, row by row: a restore reads that instead of them.
    Differential(DifferentialArguments),
    /// Show which points in time can be restored.
    Window(ListArguments),
    /// Copy captured changes to another repository, and verify them there.
    Replicate(ReplicateArguments),
    /// Show how much would be lost if a repository were all that is left.
    Rpo(RpoArguments),
    /// Take every trace of capturing changes off a source: slot, publication, replica identities.
    Unprotect(UnprotectArguments),
    /// List the backups of a repository.
    List(ListArguments),
    /// Show everything about one backup.
    Show(ShowArguments),
    /// Check that backups are whole.
    Verify(VerifyArguments),
    /// Restore a backup into an empty database, and prove that it is equal.
    Restore(RestoreArguments),
    /// Look at the replication slot of a protected database, and drop it before it harms the database.
    Govern(GovernArguments),
    /// Draw an offline recovery key.
    Keygen(KeygenArguments),
    /// The catalog of policies and runs.
    #[command(subcommand)]
    Catalog(CatalogCommand),
}

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

/// `keepsake list` and `keepsake window`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// The repository: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `keepsake show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The repository: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// The backup, by its id or the first characters of it [default: the newest, if the repository holds one source].
    #[arg(value_name = "ID")]
    pub backup: Option<BackupIdPrefix>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Who opens a backup.
#[derive(Debug, Args)]
pub struct KeyArguments {
    /// File of an offline recovery key, as keygen or age-keygen wrote it.
    #[arg(long, value_name = "FILE", conflicts_with = "kms")]
    pub key_file: Option<PathBuf>,
    /// Open it with the KMS key that wrapped it.
    #[arg(long)]
    pub kms: bool,
}

/// `keepsake verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The repository: s3://bucket/prefix or file:///folder.
    #[arg(long, value_name = "URL")]
    pub repo: SecretText,
    /// The backup, by its id or the first characters of it [default: all].
    #[arg(value_name = "ID")]
    pub backup: Option<BackupIdPrefix>,
    /// Read everything: with a key every row is counted and digested, without one every stored byte is hashed.
    #[arg(long)]
    pub deep: bool,
    /// Who opens it.
    #[command(flatten)]
    pub key: KeyArguments,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

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

/// `keepsake keygen`.
#[derive(Debug, Args)]
pub struct KeygenArguments {
    /// Where the secret goes, readable by you alone; must not exist [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `keepsake catalog`.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Bring the catalog's tables up to date.
    Migrate(CatalogArguments),
    /// Declare sources, locations and policies.
    Apply {
        /// JSON with "sources", "locations" and "policies".
        file: PathBuf,
        /// Which catalog.
        #[command(flatten)]
        catalog: CatalogArguments,
    },
    /// Show the newest runs.
    Show {
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Which catalog.
        #[command(flatten)]
        catalog: CatalogArguments,
    },
}

/// Which catalog, and how to answer.
#[derive(Debug, Args)]
pub struct CatalogArguments {
    /// The catalog's database: postgres://user@host:port/database, or env:NAME.
    #[arg(long, value_name = "URL|env:NAME")]
    pub catalog: SecretText,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}
