//! `keepsake window`: which points in time a repository can restore.

use crate::arguments::ListArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{print, print_json};
use crate::text;
use crate::window_shown::for_people;
use keepsake_archive::{ArchiveLayout, ChangesKey, ChangesLayout};
use keepsake_domain::{
    FailureClass, Gap, Lineage, Lsn, NotCaptured, Position, SchemaChange, Span, TableName, Timestamp, Window,
};
use keepsake_steps::ports::{Clock, Repository};
use keepsake_steps::{
    Damage, LineageChanges, StandingBackup, StandingChanges, UnreadableManifest, change_history,
    not_captured_at, not_held, read_all_changes, read_backup, verify_links,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// JSON shape of the answer: `{"repository", "lineages": […], "unreadable": […]}`.
#[derive(Debug, Serialize)]
pub struct Windows {
    pub repository: String,
    pub lineages: Vec<LineageWindow>,
    /// Each is a hole, as if it were missing.
    pub unreadable: Vec<UnreadableManifest>,
}

#[derive(Debug, Serialize)]
pub struct LineageWindow {
    pub source: String,
    pub lineage: Lineage,
    pub spans: Vec<Span>,
    pub gaps: Vec<Gap>,
    /// How far changes were captured; `null` when nobody does.
    pub captured: Option<Position>,
    /// How old that is.
    captured_age_seconds: Option<u64>,
    /// Manifests of changes that are missing, or are others than those that were written, as those behind them tell.
    pub damages: Vec<Damage>,
    /// What stands behind the last manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_manifest: Option<WithoutManifest>,
    /// Tables that every restore brings back as the full backup held them, as of the newest segment.
    pub not_captured: Vec<NotCaptured>,
    /// Those of them that the newest full backup does not hold: no restore from it has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_held: Vec<TableName>,
    /// What was defined in segments in which the schema changed; only where the source tells it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schema_changes: Vec<SchemaChange>,
}

/// Bytes of segments behind the last manifest. Whoever captures or copies writes them first, so that a run is at work or
/// died there, unless somebody removed manifests.
#[derive(Debug, Serialize)]
pub struct WithoutManifest {
    pub segments: u64,
    /// Where the first of them begins.
    pub start_lsn: Lsn,
}

/// What stands of each lineage.
#[derive(Default)]
struct Standing {
    fulls: Vec<ArchiveLayout>,
    keys: Vec<(ChangesLayout, ChangesKey)>,
    /// Where segments begin whose bytes stand.
    starts: BTreeSet<Lsn>,
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
    whole(&windows)
}

/// A hole that nobody recorded is no gap of the source's, but of the repository.
fn whole(windows: &Windows) -> Result<(), Failure> {
    if let Some(unreadable) = windows.unreadable.first() {
        return Err(Failure::found(
            unreadable.class,
            format!("{} of the manifests cannot be read: {}", windows.unreadable.len(), unreadable.error),
            "points that need them cannot be restored from here; the spans shown are not affected",
            "keepsake verify --repo <URL> on each copy, or a newer keepsake for a newer format; delete nothing",
        ));
    }
    let damages = || windows.lineages.iter().flat_map(|lineage| &lineage.damages);
    let Some(first) = damages().next() else { return Ok(()) };
    Err(Failure::found(
        FailureClass::Integrity,
        format!(
            "{} manifests of changes are missing or were replaced: \"{}\": {}",
            damages().count(),
            first.key,
            first.finding
        ),
        "points that need them cannot be restored from here",
        "restore from a copy, or put them back from one (keepsake verify --repo <URL> on each); else keepsake backup begins \
         the next span; delete nothing",
    ))
}

async fn read(repository: &dyn Repository, now: Timestamp) -> Result<Windows, Failure> {
    let mut unreadable = Vec::new();
    let mut lineages = Vec::new();
    for ((source, lineage), standing) in listed(repository).await? {
        let mut backups = Vec::with_capacity(standing.fulls.len());
        for layout in standing.fulls {
            let key = layout.manifest();
            match read_backup(repository, layout).await {
                Ok(backup) => backups.push(backup),
                Err(error) => unreadable.push(UnreadableManifest::aside(key, error)?),
            }
        }
        let begun = standing.keys.iter().filter(|(_, key)| matches!(key, ChangesKey::Segment(_)));
        let begun: BTreeSet<Lsn> = begun.map(|(_, key)| key.lsn()).collect();
        let changes = read_all_changes(repository, standing.keys).await?;
        let starts = standing.starts.difference(&begun).copied();
        lineages.push(of_lineage((source, lineage), &backups, &changes, starts, now));
        unreadable.extend(changes.unreadable);
    }
    Ok(Windows { repository: repository.url(), lineages, unreadable })
}

/// Everything that stands, by source and lineage.
async fn listed(repository: &dyn Repository) -> Result<BTreeMap<(String, Lineage), Standing>, Failure> {
    let mut standing: BTreeMap<(String, Lineage), Standing> = BTreeMap::new();
    let objects = repository.list("").await?;
    for key in objects.iter().map(|object| object.key.as_str()) {
        if let Some(layout) = ArchiveLayout::of_manifest_key(key) {
            let of = (layout.source.clone(), layout.lineage.clone());
            standing.entry(of).or_default().fulls.push(layout);
        } else if let Some((layout, key)) = ChangesLayout::of_manifest_key(key) {
            let of = (layout.source.clone(), layout.lineage.clone());
            standing.entry(of).or_default().keys.push((layout, key));
        } else if let Some((layout, start)) = ChangesLayout::of_segment_key(key) {
            standing.entry((layout.source, layout.lineage)).or_default().starts.insert(start);
        }
    }
    Ok(standing)
}

fn of_lineage(
    (source, lineage): (String, Lineage),
    backups: &[StandingBackup],
    changes: &LineageChanges,
    starts: impl Iterator<Item = Lsn>,
    now: Timestamp,
) -> LineageWindow {
    let Window { spans, gaps, captured } = change_history(backups, changes).window();
    let LineageChanges { standing, unreadable } = changes;
    // What cannot be read is told with its reason; the manifest behind it takes it for missing.
    let is_told = |damage: &Damage| unreadable.iter().any(|one| one.key == damage.key);
    let damages = verify_links(standing).into_iter().filter(|damage| !is_told(damage)).collect();
    let not_captured = not_captured_at(standing, Lsn(u64::MAX));
    let behind: Vec<Lsn> = starts.filter(|start| captured.is_none_or(|end| *start >= end.lsn)).collect();
    LineageWindow {
        source,
        lineage,
        spans,
        gaps,
        captured,
        captured_age_seconds: captured.and_then(|end| text::age(end.at, now)).map(|age| age.as_secs()),
        damages,
        without_manifest: behind
            .first()
            .map(|first| WithoutManifest { segments: behind.len() as u64, start_lsn: *first }),
        not_held: not_held(not_captured, backups.iter().max_by_key(|backup| backup.manifest.lsn)),
        not_captured: not_captured.to_vec(),
        schema_changes: schema_changes(standing),
    }
}

fn schema_changes(changes: &[StandingChanges]) -> Vec<SchemaChange> {
    let changed =
        changes.iter().filter_map(StandingChanges::segment).filter(|segment| segment.schema_changed);
    let mut all: Vec<SchemaChange> =
        changed.flat_map(|segment| segment.schema_changes.iter().cloned()).collect();
    all.sort_by_key(|change| change.lsn);
    all
}
