//! `keepsake differential`: what all changes since the last full backup come to, from the repository into the repository.

use crate::arguments::DifferentialArguments;
use crate::backup::sweep_dead;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{ReadingKey, key_holder, recipients};
use crate::restore_changes::{open_all, shown};
use crate::signals::unless_interrupted;
use crate::terminal::{Progress, note, print, print_json};
use crate::text;
use keepsake_archive::DifferentialManifest;
use keepsake_domain::{BackupId, FailureClass, RecoveryTarget};
use keepsake_steps::ports::Clock;
use keepsake_steps::{FOLD_BYTES, MadeDifferential, Making, make_differential, plan_recovery};
use serde::Serialize;
use std::sync::Arc;

const AT_RISK: &str = "a differential that was told stands; full backups and segments are not affected";

/// JSON shape of the answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    repository: String,
    source: &'a str,
    backup_id: BackupId,
    /// Whether this call made it; one that stood before is success too.
    is_new: bool,
    /// Bytes of the segments that it spares, before compression and stored.
    segments_raw_bytes: u64,
    segments_stored_bytes: u64,
    #[serde(flatten)]
    manifest: &'a DifferentialManifest,
}

/// Runs `keepsake differential`.
///
/// # Errors
/// [`Failure`]; without a manifest there is no differential.
pub async fn differential(context: &Context, arguments: &DifferentialArguments) -> Result<(), Failure> {
    unless_interrupted(made(context, arguments), AT_RISK).await
}

async fn made(context: &Context, arguments: &DifferentialArguments) -> Result<(), Failure> {
    let recipients = recipients(&arguments.recipient)?;
    let key_holder = key_holder(&context.places, arguments.kms_key.as_deref(), &recipients).await?;
    let key = ReadingKey::given(&arguments.key, &context.places).await?.ok_or_else(no_key)?;
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    sweep_dead(repository.as_ref()).await;
    let route = plan_recovery(repository.as_ref(), arguments.backup.as_ref(), RecoveryTarget::Latest).await?;
    if let Some(reason) = &route.plan.stopped_by {
        note(&format!("warning: changes behind {} are not in it: {reason}", route.plan.ends.lsn));
    }
    for backup in &route.passed_over {
        note(&format!("warning: full backup {backup} cannot be read; this differential is of an older one"));
    }
    let segments = open_all(repository.as_ref(), &key, route.segments).await?;
    let manifests = || segments.iter().filter_map(|segment| segment.standing.segment());
    let raw_bytes: u64 = manifests().map(|segment| segment.raw_bytes).sum();
    let stored_bytes: u64 = manifests().map(|segment| segment.object.stored_bytes).sum();
    let progress = Arc::new(Progress::new());
    progress.step_over(&format!("looking at the changes of {} segments", segments.len()), raw_bytes);
    let making = Making {
        repository: repository.as_ref(),
        key_holder: key_holder.as_ref(),
        recovery: &recipients,
        clock: context.clock.as_ref(),
        level: arguments.level,
        fold_bytes: FOLD_BYTES,
    };
    let made = make_differential(&making, &route.backup, &segments, &shown(&progress)).await?;
    drop(progress);
    let MadeDifferential { standing, is_new } = &made;
    let answer = Answer {
        repository: repository.url(),
        source: &standing.layout.source,
        backup_id: route.backup.layout.backup_id,
        is_new: *is_new,
        segments_raw_bytes: raw_bytes,
        segments_stored_bytes: stored_bytes,
        manifest: &standing.manifest,
    };
    if arguments.json {
        return print_json(&answer);
    }
    print(&for_people(&answer, context));
    Ok(())
}

fn no_key() -> Failure {
    Failure::found(
        FailureClass::Permanent,
        "no key was given to open the captured changes with",
        "nothing was changed",
        "give --key-file FILE or --kms; keepsake show --repo <URL> names who can open the backup",
    )
}

fn for_people(answer: &Answer<'_>, context: &Context) -> String {
    let (manifest, holds) = (answer.manifest, answer.manifest.holds);
    format!(
        "{} of {} behind full backup {}, to {} ({})\n  holds      {} rows deleted, {} changed, {} inserted, of {} transactions in {} segments\n  size       {} stored, {} raw; the segments have {} and {}",
        if answer.is_new { "differential" } else { "differential, which stood before," },
        answer.source,
        answer.backup_id,
        text::instant(manifest.ended_at, context.clock.now()),
        manifest.end_lsn,
        text::count(holds.deletions),
        text::count(holds.updates),
        text::count(holds.insertions),
        text::count(manifest.transactions),
        text::count(manifest.segments),
        text::size(manifest.object.stored_bytes),
        text::size(manifest.raw_bytes),
        text::size(answer.segments_stored_bytes),
        text::size(answer.segments_raw_bytes),
    )
}
