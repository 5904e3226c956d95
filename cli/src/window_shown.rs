//! Which points in time can be restored, for people.

use crate::text;
use crate::window::{LineageWindow, Windows};
use keepsake_domain::{BackupId, Gap, Position, Timestamp};

/// A list of migrations is no list of points in time.
const SCHEMA_CHANGES_SHOWN: usize = 20;

/// The answer.
#[must_use]
pub fn for_people(windows: &Windows, now: Timestamp) -> String {
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
    lines
        .extend(lineage.damages.iter().map(|damage| format!("  DAMAGED {}: {}", damage.key, damage.finding)));
    lines.extend(lineage.without_manifest.as_ref().map(|behind| {
        format!(
            "  the bytes of {} segments stand behind the last manifest, from {} on: a capture or a copy is at work or died \
             there, and the next one goes on; if not, manifests were deleted, and keepsake capture tells what is lost",
            text::count(behind.segments),
            behind.start_lsn
        )
    }));
    lines.extend(lineage.not_captured.iter().map(|one| {
        let comes_back = match lineage.not_held.contains(&one.table) {
            true => "the newest full backup does not hold it: it comes back from none until the next",
            false => "it comes back as the full backup held it",
        };
        format!("  NOT CAPTURED {}: {comes_back}", one.table)
    }));
    let (more, newest) =
        lineage.schema_changes.split_at(lineage.schema_changes.len().saturating_sub(SCHEMA_CHANGES_SHOWN));
    if !more.is_empty() {
        lines.push(format!(
            "  schema changed by {} more before these; --json names all",
            text::count(more.len() as u64)
        ));
    }
    lines.extend(newest.iter().map(|change| format!("  schema changed by {change}")));
    lines
}

fn until(gap: &Gap, now: Timestamp) -> String {
    gap.before.map(|before| format!(" until {}", point(&before, now))).unwrap_or_default()
}

fn point(position: &Position, now: Timestamp) -> String {
    format!("{} ({})", text::point_in_time(position.at, now), position.lsn)
}
