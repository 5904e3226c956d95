//! `keepsake list`: every backup whose manifest stands.

use crate::arguments::ListArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::standing::certificates;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_domain::{
    BackupId, Certificate, Classified, FailureClass, Lineage, RecoveredPoint, Timestamp, Verdict, chain,
};
use keepsake_steps::ports::{Clock, Repository};
use keepsake_steps::{StandingBackup, manifest_keys, read_backup};
use serde::Serialize;

/// JSON shape of the answer: `{"repository", "backups": […], "unreadable": […]}`, oldest first.
#[derive(Debug, Serialize)]
struct Listing {
    repository: String,
    backups: Vec<ListedBackup>,
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct ListedBackup {
    backup_id: BackupId,
    source: String,
    lineage: Lineage,
    database: String,
    snapshot_at: Timestamp,
    age_seconds: Option<u64>,
    tables: u64,
    rows: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    server_version: u32,
    /// Of the newest certificate; `null` when no restore of it was ever recorded here.
    verdict: Option<Verdict>,
    proven_at: Option<Timestamp>,
    /// The point in time that it was brought to then; `null` when it was restored as it is.
    recovered: Option<RecoveredPoint>,
}

/// A manifest that stands and cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    key: String,
    class: FailureClass,
    error: String,
}

/// Runs `keepsake list`.
///
/// # Errors
/// [`Failure`]; also after everything readable was listed, when a manifest could not be read.
pub async fn list(context: &Context, arguments: &ListArguments) -> Result<(), Failure> {
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let now = context.clock.now();
    let listing = read(repository.as_ref(), now).await?;
    if arguments.json {
        print_json(&listing)?;
    } else {
        print(&for_people(&listing, now));
    }
    let Some(unreadable) = listing.unreadable.first() else { return Ok(()) };
    Err(Failure::found(
        unreadable.class,
        format!("{} of the manifests cannot be read: {}", listing.unreadable.len(), unreadable.error),
        "the backups listed above are not affected",
        "keepsake verify --repo <URL> on each copy, or a newer keepsake for a newer format; delete nothing",
    ))
}

async fn read(repository: &dyn Repository, now: Timestamp) -> Result<Listing, Failure> {
    let mut listing = Listing { repository: repository.url(), backups: Vec::new(), unreadable: Vec::new() };
    for layout in manifest_keys(repository, "").await? {
        let key = layout.manifest();
        match read_backup(repository, layout).await {
            Ok(backup) => {
                let newest = certificates(repository, &backup).await?.pop();
                listing.backups.push(listed(&backup, newest.as_ref(), now));
            }
            Err(error) if error.is_of_one_object() => {
                listing.unreadable.push(Unreadable { key, class: error.class(), error: chain(&error) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(listing)
}

fn listed(backup: &StandingBackup, newest: Option<&Certificate>, now: Timestamp) -> ListedBackup {
    let manifest = &backup.manifest;
    ListedBackup {
        backup_id: manifest.backup_id,
        source: manifest.source.clone(),
        lineage: manifest.lineage.clone(),
        database: manifest.database.clone(),
        snapshot_at: manifest.snapshot_at,
        age_seconds: text::age(manifest.snapshot_at, now).map(|age| age.as_secs()),
        tables: manifest.expected().tables.len() as u64,
        rows: manifest.rows(),
        raw_bytes: manifest.raw_bytes(),
        stored_bytes: manifest.stored_bytes(),
        server_version: manifest.server.server_version,
        verdict: newest.map(|certificate| certificate.verdict),
        proven_at: newest.map(|certificate| certificate.compared_at),
        recovered: newest.and_then(|certificate| certificate.recovered.clone()),
    }
}

fn for_people(listing: &Listing, now: Timestamp) -> String {
    if listing.backups.is_empty() && listing.unreadable.is_empty() {
        return format!("no backup stands in {}", listing.repository);
    }
    let mut lines = Vec::new();
    let mut lineage = String::new();
    for backup in sorted_by_lineage(&listing.backups) {
        let name = format!("{} {}", backup.source, backup.lineage);
        if name != lineage {
            lines.push(format!("{name}, database {}", backup.database));
            lineage = name;
        }
        lines.push(format!("  {}  {}", backup.backup_id, text::instant(backup.snapshot_at, now)));
        lines.push(format!(
            "    {} tables, {} rows, {} raw, {} stored; {}",
            text::count(backup.tables),
            text::count(backup.rows),
            text::size(backup.raw_bytes),
            text::size(backup.stored_bytes),
            proof(backup.verdict, backup.proven_at, now)
        ));
        lines.extend(backup.recovered.iter().map(brought_to));
    }
    lines.extend(
        listing.unreadable.iter().map(|broken| format!("unreadable: {}: {}", broken.key, broken.error)),
    );
    lines.join("\n")
}

fn sorted_by_lineage(backups: &[ListedBackup]) -> Vec<&ListedBackup> {
    let mut sorted: Vec<&ListedBackup> = backups.iter().collect();
    sorted.sort_by(|a, b| (&a.source, &a.lineage, a.backup_id).cmp(&(&b.source, &b.lineage, b.backup_id)));
    sorted
}

/// Which point in time the newest restore brought it to.
fn brought_to(point: &RecoveredPoint) -> String {
    let old = match point.not_captured.len() {
        0 => String::new(),
        tables => format!("; {tables} tables are not captured and were as of the backup"),
    };
    format!("    brought to {}: up to {} ({}){old}", point.target, point.at, point.lsn)
}

/// What the newest certificate says, for people.
#[must_use]
pub fn proof(verdict: Option<Verdict>, at: Option<Timestamp>, now: Timestamp) -> String {
    let at = at.map(|at| text::instant(at, now)).unwrap_or_default();
    match verdict {
        Some(Verdict::Passed) => format!("restored and equal, {at}"),
        Some(Verdict::Failed) => format!("RESTORED AND NOT EQUAL, {at}"),
        Some(Verdict::Inconclusive) => format!("restored, nothing proven, {at}"),
        None => "no restore of it is recorded".to_owned(),
    }
}
