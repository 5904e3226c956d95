//! `keepsake capture`: the changes of a protected source, from its slot into the repository.

use crate::arguments::CaptureArguments;
use crate::backup::sweep_dead;
use crate::capturing::{CaptureOptions, Capturing};
use crate::context::Context;
use crate::failure::Failure;
use crate::measures::peak_memory_bytes;
use crate::signals::unless_interrupted;
use crate::terminal::{note, print, print_json};
use crate::text;
use keepsake_archive::SegmentManifest;
use keepsake_domain::{BackupId, FailureClass, Lineage, Lsn, Timestamp};
use keepsake_steps::ports::{Clock, ProtectWishes};
use keepsake_steps::{CaptureSeen, Captured, SegmentBounds, Until, capture_changes};
use serde::Serialize;
use std::sync::OnceLock;
use std::time::Duration;

const AT_RISK: &str =
    "segments that were told stand; the source keeps the rest, and the next capture goes on there";

/// JSON shape of the answer of `--once`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    run_id: BackupId,
    source: &'a str,
    lineage: &'a Lineage,
    repository: String,
    segments: u64,
    transactions: u64,
    changes: u64,
    /// Where the chain ends now, and the source's clock there.
    end_lsn: Lsn,
    ended_at: Timestamp,
    /// What was lost before this run, if anything was; `null` is good.
    gap: &'a Option<String>,
    peak_memory_bytes: Option<u64>,
}

/// Runs `keepsake capture`.
///
/// # Errors
/// [`Failure`]; segments that were told before stand. Also when all was captured behind a gap that this run met.
pub async fn capture(context: &Context, arguments: &CaptureArguments) -> Result<(), Failure> {
    let options = CaptureOptions {
        source: &arguments.source,
        repo: &arguments.repo,
        name: &arguments.name,
        recipient: &arguments.recipient,
        kms_key: arguments.kms_key.as_deref(),
    };
    let capturing = Capturing::open(context, options).await?;
    sweep_dead(capturing.repository()).await;
    let capture = capturing.capture(context, ProtectWishes::default(), arguments.level);
    let bounds = SegmentBounds {
        bytes: arguments.segment_size,
        span: Duration::from_secs(u64::from(arguments.segment_seconds)),
    };
    let until = if arguments.follow { Until::Stopped } else { Until::CaughtUp };
    let gap = OnceLock::new();
    let told = |seen: CaptureSeen<'_>| match seen {
        CaptureSeen::Gap(what) => drop(gap.set(what.to_owned())),
        CaptureSeen::Segment(segment) => tell(segment, arguments.follow && !arguments.json, context),
    };
    let captured = async { Ok(capture_changes(&capture, bounds, until, &told).await?) };
    let captured = unless_interrupted(captured, AT_RISK).await;
    let captured = captured.map_err(|ended| match gap.get() {
        Some(gap) => lost(gap).before(&ended),
        None => ended,
    })?;
    let summary = summary(&captured, capturing.repository().url());
    if arguments.json {
        print_json(&summary)?;
    } else {
        print(&for_people(&summary, context.clock.now()));
    }
    captured.gap.as_deref().map_or(Ok(()), |gap| Err(lost(gap)))
}

/// A schedule that looks at nothing but the exit code must hear of it, once and however the run ends: the next capture goes on
/// behind the gap.
fn lost(gap: &str) -> Failure {
    Failure::found(
        FailureClass::Permanent,
        format!("changes are lost: {gap}"),
        "nothing between the last segment before and the next full backup can be restored; what is captured now stands",
        "keepsake backup, with the same --source, --repo and --name: it begins the next span",
    )
}

fn summary(captured: &Captured, repository: String) -> Summary<'_> {
    Summary {
        run_id: captured.run_id,
        source: &captured.layout.source,
        lineage: &captured.layout.lineage,
        repository,
        segments: captured.segments,
        transactions: captured.transactions,
        changes: captured.changes,
        end_lsn: captured.end.lsn,
        ended_at: captured.end.at,
        gap: &captured.gap,
        peak_memory_bytes: peak_memory_bytes(),
    }
}

fn for_people(summary: &Summary<'_>, now: Timestamp) -> String {
    let what = match summary.transactions {
        0 => "no changes".to_owned(),
        _ => format!(
            "{} transactions with {} changes",
            text::count(summary.transactions),
            text::count(summary.changes)
        ),
    };
    format!(
        "captured {what} of {} in {} segments, to {} ({})",
        summary.source,
        text::count(summary.segments),
        text::instant(summary.ended_at, now),
        summary.end_lsn
    )
}

/// The first that is not plain is what people need to know.
fn what_changed(segment: &SegmentManifest) -> String {
    let changes = &segment.schema_changes;
    let Some(first) = changes.iter().find(|one| one.not_plain.is_some()).or(changes.first()) else {
        return String::new();
    };
    let more = match changes.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more statements"),
    };
    let is_untold = !segment.schema_replayable && first.not_plain.is_none();
    let others = if is_untold { ", though not by what was told alone" } else { "" };
    format!(", by {first}{more}{others}")
}

/// Whoever follows wants to see that it goes on.
fn tell(segment: &SegmentManifest, is_shown: bool, context: &Context) {
    if segment.schema_replayable {
        let what = what_changed(segment);
        note(&format!(
            "the schema changed before {}{what}: plain, so it ends no recovery window",
            segment.end_lsn
        ));
    } else if segment.schema_changed {
        note(&format!(
            "warning: the schema changed before {}{}: no point behind {} ({}) can be restored to until the next full backup, \
             also none before the change; run keepsake backup",
            segment.end_lsn,
            what_changed(segment),
            segment.start_lsn,
            text::instant(segment.started_at, context.clock.now())
        ));
    }
    tracing::info!(end_lsn = %segment.end_lsn, transactions = segment.holds.transactions, "a segment stands");
    if is_shown {
        print(&format!(
            "{} to {}: {} transactions, {} changes, {} stored",
            text::instant(segment.ended_at, context.clock.now()),
            segment.end_lsn,
            text::count(segment.holds.transactions),
            text::count(segment.holds.changes),
            text::size(segment.object.stored_bytes)
        ));
    }
}
