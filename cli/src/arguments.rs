//! What the command line says. Values that may hold a credential stay plain text here and are parsed later, because
//! a parse error of the command line repeats the value.

mod backup;
mod changes;
mod restore;

pub use backup::{BackupArguments, CoverageArguments, ProviderName};
pub use changes::{
    CaptureArguments, DifferentialArguments, GovernArguments, ProtectArguments, ReplicateArguments,
    RpoArguments, UnprotectArguments,
};
pub use restore::{MissingRolesPolicy, RestoreArguments};

use crate::secret_text::SecretText;
use clap::{Args, Parser, Subcommand};
use keepsake_domain::BackupIdPrefix;
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
