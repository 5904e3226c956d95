//! Makes the catalog what a declaration says, in one transaction, and audits each change.

use super::PostgresCatalog;
use super::declaration::{Declaration, InvalidDeclaration, PolicyDeclaration};
use super::error::{failed, refused};
use keepsake_domain::{Classified, Explanation, FailureClass};
use keepsake_steps::ports::CatalogError;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Transaction;
use uuid::Uuid;

const ACT: &str = "apply a declaration";

/// What became of one declared thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It was not there.
    Created,
    /// It was there, and different.
    Updated,
}

/// One change that was made. JSON shape: these fields in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// source, location or policy.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub action: ChangeAction,
}

/// Why a declaration was not applied. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The declaration itself.
    #[error(transparent)]
    Invalid(#[from] InvalidDeclaration),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Classified for ApplyError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Invalid(error) => error.class(),
            Self::Catalog(error) => error.class(),
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::Invalid(error) => error.explanation(),
            // A constraint refused a value of the file.
            Self::Catalog(CatalogError::Transition { .. }) => InvalidDeclaration::explain(),
            Self::Catalog(error) => error.explanation(),
        }
    }
}

/// A table of named rows and the columns that a declaration decides.
struct Table {
    kind: &'static str,
    name: &'static str,
    columns: &'static [&'static str],
}

const SOURCES: Table =
    Table { kind: "source", name: "sources", columns: &["name", "provider", "connection_secret"] };

const LOCATIONS: Table = Table {
    kind: "location",
    name: "backup_storage_locations",
    columns: &["name", "url", "primary_region", "storage_type", "description", "kms_key_id", "storage_class"],
};

const POLICIES: Table = Table {
    kind: "policy",
    name: "backup_policies",
    columns: &[
        "name",
        "description",
        "source_id",
        "kms_key_id",
        "recovery_recipients",
        "schedule_cron",
        "timezone",
        "retention_daily",
        "retention_weekly",
        "retention_monthly",
        "retention_yearly",
        "compression_level",
        "relay_seconds",
        "part_size_bytes",
        "max_parallel_jobs",
        "bandwidth_limit_mbps",
        "lock_patience_seconds",
        "max_snapshot_age_seconds",
        "max_snapshot_age_transactions",
        "priority_level",
        "service_class",
        "rpo",
        "rto",
        "test_restore",
        "notify_success",
        "capture_mode",
        "capture_schedule_cron",
        "capture_segment_seconds",
        "wal_budget_bytes",
        "replica_identity_full",
        "is_active",
    ],
};

impl Table {
    /// Writes the row by its name, and answers nothing where it is the same already. A new row has no xmax.
    fn upsert(&self) -> String {
        let each = |prefix: &str| {
            self.columns.iter().map(|column| format!("{prefix}{column}")).collect::<Vec<_>>().join(", ")
        };
        let set: Vec<String> =
            self.columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        format!(
            "insert into keepsake.{table} as standing (id, {names}) \
             select $1, {declared} from jsonb_populate_record(null::keepsake.{table}, $2) as declared \
             on conflict (name) do update set {set} \
             where ({standing}) is distinct from ({excluded}) \
             returning xmax = 0 as is_new",
            table = self.name,
            names = each(""),
            declared = each("declared."),
            set = set.join(", "),
            standing = each("standing."),
            excluded = each("excluded."),
        )
    }

    async fn id(&self, transaction: &Transaction<'_>, name: &str) -> Result<Option<Uuid>, CatalogError> {
        let statement = format!("select id from keepsake.{} where name = $1", self.name);
        let found = transaction.query_opt(&statement, &[&name]).await.map_err(failed(ACT))?;
        found.map(|row| row.try_get(0)).transpose().map_err(failed(ACT))
    }
}

/// The locations of a policy in order, as they stand.
const PLACES: &str =
    "select location_id from keepsake.policy_locations where policy_id = $1 order by position";

const PLACE: &str =
    "insert into keepsake.policy_locations (policy_id, location_id, position) values ($1, $2, $3)";

impl PostgresCatalog {
    /// Makes the catalog what the declaration says, and answers what it changed; a second call answers nothing. Needs
    /// a login that is a member of `keepsake_admin`. Each change is audited under the actor's name. What the
    /// declaration does not name is left as it is.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing was changed then.
    pub async fn apply(&self, declaration: &Declaration, actor: &str) -> Result<Vec<Change>, ApplyError> {
        declaration.check()?;
        let mut client = self.lend(ACT).await?;
        let transaction = client.transaction().await.map_err(failed(ACT))?;
        let mut changes = Vec::new();
        for source in &declaration.sources {
            let row = serde_json::to_value(source).map_err(|error| refused(ACT, error))?;
            changes.extend(upsert(&transaction, &SOURCES, &source.name, &row).await?);
        }
        for location in &declaration.locations {
            let mut row = serde_json::to_value(location).map_err(|error| refused(ACT, error))?;
            row["primary_region"] = row["region"].take();
            changes.extend(upsert(&transaction, &LOCATIONS, &location.name, &row).await?);
        }
        for policy in &declaration.policies {
            changes.extend(apply_policy(&transaction, policy).await?);
        }
        for change in &changes {
            audit(&transaction, actor, change).await?;
        }
        transaction.commit().await.map_err(failed(ACT))?;
        Ok(changes)
    }
}

async fn apply_policy(
    transaction: &Transaction<'_>,
    policy: &PolicyDeclaration,
) -> Result<Option<Change>, ApplyError> {
    let source = referred(transaction, &SOURCES, policy, &policy.source).await?;
    let mut places = Vec::new();
    for name in std::iter::once(&policy.primary).chain(&policy.copies) {
        places.push(referred(transaction, &LOCATIONS, policy, name).await?);
    }
    let mut row = serde_json::to_value(policy).map_err(|error| refused(ACT, error))?;
    row["source_id"] = json!(source);
    row["rpo"] = json!(format!("{} minutes", policy.rpo_minutes));
    row["rto"] = json!(format!("{} minutes", policy.rto_minutes));
    let change = upsert(transaction, &POLICIES, &policy.name, &row).await?;
    let moved = place(transaction, &policy.name, &places).await?;
    let updated = || Change { kind: POLICIES.kind, name: policy.name.clone(), action: ChangeAction::Updated };
    Ok(change.or_else(|| moved.then(updated)))
}

async fn referred(
    transaction: &Transaction<'_>,
    table: &Table,
    policy: &PolicyDeclaration,
    name: &str,
) -> Result<Uuid, ApplyError> {
    table.id(transaction, name).await?.ok_or_else(|| {
        let problem =
            format!("policy {}: {} {name} is neither declared nor in the catalog", policy.name, table.kind);
        InvalidDeclaration { problems: vec![problem] }.into()
    })
}

async fn upsert(
    transaction: &Transaction<'_>,
    table: &Table,
    name: &str,
    row: &Value,
) -> Result<Option<Change>, CatalogError> {
    let written =
        transaction.query_opt(&table.upsert(), &[&Uuid::now_v7(), row]).await.map_err(failed(ACT))?;
    let Some(written) = written else { return Ok(None) };
    let is_new: bool = written.try_get("is_new").map_err(failed(ACT))?;
    let action = if is_new { ChangeAction::Created } else { ChangeAction::Updated };
    Ok(Some(Change { kind: table.kind, name: name.to_owned(), action }))
}

/// Puts the policy's locations in order; answers whether they stood otherwise.
async fn place(transaction: &Transaction<'_>, policy: &str, places: &[Uuid]) -> Result<bool, CatalogError> {
    let policy_id = POLICIES.id(transaction, policy).await?;
    let rows = transaction.query(PLACES, &[&policy_id]).await.map_err(failed(ACT))?;
    let standing: Vec<Uuid> =
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed(ACT))?;
    if standing == places {
        return Ok(false);
    }
    let clear = "delete from keepsake.policy_locations where policy_id = $1";
    transaction.execute(clear, &[&policy_id]).await.map_err(failed(ACT))?;
    for (location, position) in places.iter().zip(0_i32..) {
        transaction.execute(PLACE, &[&policy_id, location, &position]).await.map_err(failed(ACT))?;
    }
    Ok(true)
}

async fn audit(transaction: &Transaction<'_>, actor: &str, change: &Change) -> Result<(), CatalogError> {
    let action = match change.action {
        ChangeAction::Created => "catalog.create",
        ChangeAction::Updated => "catalog.update",
    };
    let subject = format!("{} {}", change.kind, change.name);
    let statement = "select keepsake.audit($1, $2, $3)";
    transaction.query_one(statement, &[&actor, &action, &subject]).await.map_err(failed(ACT))?;
    Ok(())
}
