//! What people declare in a file: sources, locations and policies, by name.

use keepsake_domain::{CaptureMode, CapturePolicy, Classified, Explanation, FailureClass, SourceLimits};
use keepsake_steps::ports::Provider;
use serde::{Deserialize, Serialize};

/// A whole declaration. JSON shape: `{"sources": […], "locations": […], "policies": […]}`; unknown fields are refused,
/// so that a typing error is not a silent default. What a declaration leaves out stays as it is in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Databases under protection.
    #[serde(default)]
    pub sources: Vec<SourceDeclaration>,
    /// Repositories.
    #[serde(default)]
    pub locations: Vec<LocationDeclaration>,
    /// What is backed up, where to, when, and for how long.
    #[serde(default)]
    pub policies: Vec<PolicyDeclaration>,
}

/// One database under protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDeclaration {
    /// Its name, part of every object key: 1 to 63 of a-z, 0-9, - and _.
    pub name: String,
    /// What kind it is.
    pub provider: Provider,
    /// Where its connection URL is kept: a Secrets Manager ARN or `env:NAME`. Never the URL.
    pub connection_secret: String,
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationDeclaration {
    /// Its name.
    pub name: String,
    /// `s3://bucket/prefix` or `file:///folder`, without credentials.
    pub url: String,
    /// Its region.
    pub region: String,
    /// s3, `azure_blob`, `gcp_storage`, `on_premise` or supabase.
    #[serde(default = "s3")]
    pub storage_type: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// KMS key for policies that name none.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// The store's own class.
    #[serde(default = "standard_class")]
    pub storage_class: String,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDeclaration {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Name of its source, declared here or before.
    pub source: String,
    /// Name of the location that backups are written to.
    pub primary: String,
    /// Names of the locations that they are copied to, in order.
    #[serde(default)]
    pub copies: Vec<String>,
    /// KMS key that wraps the backups' keys; the primary location's if left out.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Offline recovery recipients (`age1…`), at least one.
    pub recovery_recipients: Vec<String>,
    /// An EventBridge schedule, like `cron(0 2 * * ? *)`; without, the policy runs on request only.
    #[serde(default)]
    pub schedule_cron: Option<String>,
    /// IANA time zone of the schedule.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Daily recovery points kept.
    #[serde(default = "seven")]
    pub retention_daily: u32,
    /// Weekly recovery points kept.
    #[serde(default = "four")]
    pub retention_weekly: u32,
    /// Monthly recovery points kept.
    #[serde(default = "twelve")]
    pub retention_monthly: u32,
    /// Yearly recovery points kept.
    #[serde(default = "seven")]
    pub retention_yearly: u32,
    /// zstd level, 1 to 19.
    #[serde(default = "zstd_level")]
    pub compression_level: u32,
    /// How long one snapshot holder holds, 1 to 870.
    #[serde(default = "relay")]
    pub relay_seconds: u32,
    /// Tables above are cut into parts of about this size.
    #[serde(default = "part_size")]
    pub part_size_bytes: u64,
    /// Connections per worker.
    #[serde(default = "two")]
    pub max_parallel_jobs: u32,
    /// Megabits of rows per second that all workers together read from the source; no limit if left out.
    #[serde(default)]
    pub bandwidth_limit_mbps: Option<u32>,
    /// How long somebody's statement may wait behind a lock of the run before the run gives way, 1 to 3600.
    #[serde(default = "lock_patience")]
    pub lock_patience_seconds: u32,
    /// The run is given up when its snapshot is older, 1 to 86400.
    #[serde(default = "snapshot_age")]
    pub max_snapshot_age_seconds: u32,
    /// The run is given up when more transactions began since its snapshot, 1 to 1,000,000,000.
    #[serde(default = "snapshot_transactions")]
    pub max_snapshot_age_transactions: u64,
    /// 1 (first) to 10 (last).
    #[serde(default = "five")]
    pub priority_level: u32,
    /// critical, standard, `non_critical`, financial, `user_data` or analytics.
    #[serde(default = "standard_service")]
    pub service_class: String,
    /// Recovery point objective.
    #[serde(default = "rpo")]
    pub rpo_minutes: u32,
    /// Recovery time objective.
    #[serde(default = "rto")]
    pub rto_minutes: u32,
    /// Whether each backup is restored and compared.
    #[serde(default = "yes")]
    pub test_restore: bool,
    /// Whether success is told too.
    #[serde(default)]
    pub notify_success: bool,
    /// Whether changes are captured between full backups: off, scheduled or continuous.
    #[serde(default)]
    pub capture_mode: CaptureMode,
    /// When captures start: an EventBridge schedule, like `rate(5 minutes)`.
    #[serde(default)]
    pub capture_schedule_cron: Option<String>,
    /// How long one segment of a continuous capture may take, 1 to 300.
    #[serde(default = "segment_seconds")]
    pub capture_segment_seconds: u32,
    /// WAL that the replication slot may make its server keep, 64 MiB to 1 TiB.
    #[serde(default = "wal_budget")]
    pub wal_budget_bytes: u64,
    /// Whether tables without a usable replica identity get `REPLICA IDENTITY FULL`.
    #[serde(default)]
    pub replica_identity_full: bool,
    /// Inactive policies do not run.
    #[serde(default = "yes")]
    pub is_active: bool,
}

/// The text is no declaration, or the declaration cannot be. Names fields and reasons, never a value that may be a
/// credential.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the declaration cannot be applied: {}", problems.join("; "))]
pub struct InvalidDeclaration {
    /// Everything that is wrong, one sentence each.
    pub problems: Vec<String>,
}

impl Declaration {
    /// Reads a declaration and checks it as far as that is possible without the catalog.
    ///
    /// # Errors
    /// [`InvalidDeclaration`] with every problem at once.
    pub fn parse(text: &str) -> Result<Self, InvalidDeclaration> {
        // serde_json's message names a wrong value's type and an unknown field, and quotes a wrong text only where
        // one of a few words is expected.
        let declaration: Self = serde_json::from_str(text)
            .map_err(|error| InvalidDeclaration { problems: vec![format!("its JSON: {error}")] })?;
        declaration.check()?;
        Ok(declaration)
    }
}

impl Classified for InvalidDeclaration {
    fn class(&self) -> FailureClass {
        FailureClass::Permanent
    }

    fn explanation(&self) -> Explanation {
        Self::explain()
    }
}

impl InvalidDeclaration {
    /// The same for every problem, also for one that only the catalog's own constraints see.
    pub(super) fn explain() -> Explanation {
        Explanation {
            at_risk: "nothing was changed; the policies stand as they were".to_owned(),
            next: "correct the file, then keepsake catalog apply <FILE>".to_owned(),
        }
    }
}

fn s3() -> String {
    "s3".to_owned()
}
fn standard_class() -> String {
    "STANDARD".to_owned()
}
fn standard_service() -> String {
    "standard".to_owned()
}
fn utc() -> String {
    "UTC".to_owned()
}
fn two() -> u32 {
    2
}
fn zstd_level() -> u32 {
    keepsake_archive::ZSTD_LEVEL.unsigned_abs()
}
fn four() -> u32 {
    4
}
fn five() -> u32 {
    5
}
fn seven() -> u32 {
    7
}
fn twelve() -> u32 {
    12
}
/// 13 minutes: two before a function's end.
fn relay() -> u32 {
    780
}
/// 256 MiB.
fn part_size() -> u64 {
    268_435_456
}
fn lock_patience() -> u32 {
    SourceLimits::default().lock_patience_seconds
}
fn snapshot_age() -> u32 {
    SourceLimits::default().max_snapshot_age_seconds
}
fn snapshot_transactions() -> u64 {
    SourceLimits::default().max_snapshot_age_transactions
}
fn segment_seconds() -> u32 {
    CapturePolicy::default().segment_seconds
}
fn wal_budget() -> u64 {
    CapturePolicy::default().wal_budget_bytes
}
fn rpo() -> u32 {
    15
}
fn rto() -> u32 {
    240
}
fn yes() -> bool {
    true
}
