//! `keepsake window`: which points in time a repository can restore.

use crate::arguments::ListArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_archive::{ChangesKey, ChangesLayout};
use keepsake_domain::{
    BackupId, Gap, Lineage, Lsn, NotCaptured, Position, SchemaChange, Span, Timestamp, Window,
};
use keepsake_steps::ports::{Clock, Repository};
use keepsake_steps::{
    LineageChanges, StandingBackup, StandingChanges, UnreadableManifest, change_history, changes_keys,
    manifest_keys, not_captured_at, read_all_changes, read_backup,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A list of migrations is no list of points in time.
const SCHEMA_CHANGES_SHOWN: usize = 20;

/// JSON shape of the answer: `{"repository", "lineages": […], "unreadable": […]}`.
#[derive(Debug, Serialize)]
struct Windows {
    repository: String,
    lineages: Vec<LineageWindow>,
    /// Each is a hole, as if it were missing.
    unreadable: Vec<UnreadableManifest>,
}

#[derive(Debug, Serialize)]
struct LineageWindow {
    source: String,
    lineage: Lineage,
    spans: Vec<Span>,
    gaps: Vec<Gap>,
    /// How far changes were captured; `null` when nobody does.
    captured: Option<Position>,
    /// How old that is.
    captured_age_seconds: Option<u64>,
    /// Tables that every restore brings back as the full backup held them, as of the newest segment.
    not_captured: Vec<NotCaptured>,
    /// What was defined in segments in which the schema changed, the newest; only where the source tells it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schema_changes: Vec<SchemaChange>,
}

/// What stands of each lineage.
#[derive(Default)]
struct Standing {
    backups: Vec<StandingBackup>,
    keys: Vec<(ChangesLayout, ChangesKey)>,
}

/// Runs `keepsake window`.
///
/// # Errors
/// [`Failure`]; also after everything readable was shown, when a manifest could not be read.
pub async fn window(context: &Context, arguments: &ListArguments) -> Result<(), Failure> {
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let now = context.clock.now();
    let windows = read(repository.as_ref(), now).await?;
    if arguments.json {
        print_json(&windows)?;
    } else {
        print(&for_people(&windows, now));
    }
    let Some(unreadable) = windows.unreadable.first() else { return Ok(()) };
    Err(Failure::found(
        unreadable.class,
        format!("{} of the manifests cannot be read: {}", windows.unreadable.len(), unreadable.error),
        "points that need them cannot be restored from here; the spans shown are not affected",
        "keepsake verify --repo <URL> on each copy, or a newer keepsake for a newer format; delete nothing",
    ))
}

async fn read(repository: &dyn Repository, now: Timestamp) -> Result<Windows, Failure> {
    let mut standing: BTreeMap<(String, Lineage), Standing> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for layout in manifest_keys(repository, "").await? {
        let (key, of) = (layout.manifest(), (layout.source.clone(), layout.lineage.clone()));
        let lineage = standing.entry(of).or_default();
        match read_backup(repository, layout).await {
            Ok(backup) => lineage.backups.push(backup),
            Err(error) => unreadable.push(UnreadableManifest::aside(key, error)?),
        }
    }
    for (layout, key) in changes_keys(repository, "").await? {
        let of = (layout.source.clone(), layout.lineage.clone());
        standing.entry(of).or_default().keys.push((layout, key));
    }
    let mut lineages = Vec::with_capacity(standing.len());
    for ((source, lineage), Standing { backups, keys }) in standing {
        let changes = read_all_changes(repository, keys).await?;
        let Window { spans, gaps, captured } = change_history(&backups, &changes).window();
        let LineageChanges { standing, unreadable: found } = changes;
        unreadable.extend(found);
        let age = captured.and_then(|captured| text::age(captured.at, now));
        let captured_age_seconds = age.map(|age| age.as_secs());
        let not_captured = not_captured_at(&standing, Lsn(u64::MAX)).to_vec();
        let schema_changes = schema_changes(&standing);
        lineages.push(LineageWindow {
            source,
            lineage,
            spans,
            gaps,
            captured,
            captured_age_seconds,
            not_captured,
            schema_changes,
        });
    }
    Ok(Windows { repository: repository.url(), lineages, unreadable })
}

fn schema_changes(changes: &[StandingChanges]) -> Vec<SchemaChange> {
    let changed =
        changes.iter().filter_map(StandingChanges::segment).filter(|segment| segment.schema_changed);
    let mut all: Vec<SchemaChange> =
        changed.flat_map(|segment| segment.schema_changes.iter().cloned()).collect();
    all.sort_by_key(|change| change.lsn);
    all.split_off(all.len().saturating_sub(SCHEMA_CHANGES_SHOWN))
}

fn for_people(windows: &Windows, now: Timestamp) -> String {
    if windows.lineages.is_empty() && windows.unreadable.is_empty() {
        return format!("no backup stands in {}", windows.repository);
    }
    let mut lines = Vec::new();
    for lineage in &windows.lineages {
        lines.push(format!("{} {}", lineage.source, lineage.lineage));
        lines.extend(of_lineage(lineage, now));
    }
    lines.extend(
        windows.unreadable.iter().map(|broken| format!("unreadable: {}: {}", broken.key, broken.error)),
    );
    lines.join("\n")
}

fn of_lineage(lineage: &LineageWindow, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if lineage.spans.is_empty() {
        lines.push(
            "  nothing can be restored: no full backup stands; keepsake backup begins a span".to_owned(),
        );
    }
    for span in &lineage.spans {
        let fulls = match span.bases.as_slice() {
            [only] => format!("full backup {only}"),
            all => format!(
                "{} full backups from {}",
                all.len(),
                all.first().map(BackupId::to_string).unwrap_or_default()
            ),
        };
        lines.push(match span.oldest == span.newest {
            true => format!("  the point {}; {fulls}", point(&span.oldest, now)),
            false => format!("  from {} to {}; {fulls}", point(&span.oldest, now), point(&span.newest, now)),
        });
        let behind = lineage.gaps.iter().find(|gap| gap.after == span.newest);
        lines.extend(behind.map(|gap| format!("  nothing behind that{}: {}", until(gap, now), gap.reason)));
    }
    lines.push(match &lineage.captured {
        Some(captured) => format!("  changes captured to {}", point(captured, now)),
        None => "  changes are not captured: keepsake protect begins it".to_owned(),
    });
    lines.extend(
        lineage
            .not_captured
            .iter()
            .map(|one| format!("  NOT CAPTURED {}: it comes back as the full backup held it", one.table)),
    );
    lines.extend(lineage.schema_changes.iter().map(|change| format!("  schema changed by {change}")));
    lines
}

fn until(gap: &Gap, now: Timestamp) -> String {
    gap.before.map(|before| format!(" until {}", point(&before, now))).unwrap_or_default()
}

fn point(position: &Position, now: Timestamp) -> String {
    format!("{} ({})", text::point_in_time(position.at, now), position.lsn)
}
