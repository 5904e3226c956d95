//! Restore: pre-data, parts in parallel, large objects, post-data, sequences. Each phase may run twice.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::ports::{ChunkReceiver, Repository, RowWriter, SchemaSection, Target, TargetError};
use crate::provided_rows::{StaysAway, plan_provided};
use crate::streams::download_opened;
use crate::target_fit::{misfits, refuse_misfits};
use futures::stream::{FuturesUnordered, StreamExt};
use keepsake_archive::{BackupIdentity, Part};
use keepsake_domain::{FailureClass, GlobalsOutcome, PartPlan, ProvidedPlan, SequenceValue};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// What a restore needs.
#[derive(Clone)]
pub struct Restore {
    /// Where the archive is read.
    pub repository: Arc<dyn Repository>,
    /// The backup.
    pub backup: Arc<StandingBackup>,
    /// Its private half.
    pub identity: BackupIdentity,
    /// Where it goes.
    pub target: Arc<dyn Target>,
    /// Connections, and index builds at a time.
    pub jobs: u32,
}

/// Told of each part that is loaded.
pub type PartLoaded = dyn Fn(&Part) + Send + Sync;

/// Checks that the target fits and makes everything that rows need. A second call goes on where the first ended.
///
/// # Errors
/// [`TargetError::NotEmpty`], [`TargetError::Unsuitable`] and those of [`Target::check`] before anything was changed.
pub async fn prepare_target(restore: &Restore) -> Result<(), StepError> {
    let backup_id = restore.backup.layout.backup_id.to_string();
    let facts = restore.target.facts(&backup_id).await?;
    let misfits = misfits(&restore.backup.manifest.server, &facts.server);
    refuse_misfits("of this restore", &misfits)?;
    let provided = plan_provided(restore, facts.provider).await?;
    let globals = globals(restore).await?;
    with_schema(restore, |schema| restore.target.check(&globals, schema)).await?;
    restore.target.begin(&backup_id).await?;
    if provided != ProvidedPlan::default() {
        restore.target.take_provided(&provided).await?;
    }
    create_roles(restore, &globals).await?;
    restore_section(restore, SchemaSection::PreData, 1).await
}

/// Adds memberships and settings of the backup's server to roles and database. A second call adds nothing.
///
/// # Errors
/// [`TargetError`]; what the restoring role may not do is in the outcome instead.
pub async fn restore_globals(restore: &Restore) -> Result<GlobalsOutcome, StepError> {
    Ok(restore.target.restore_globals(&globals(restore).await?).await?)
}

async fn create_roles(restore: &Restore, globals: &serde_json::Value) -> Result<(), StepError> {
    let created = restore.target.create_missing_roles(globals).await?;
    if !created.is_empty() {
        tracing::info!(roles = created.join(", "), "created roles without login");
    }
    Ok(())
}

async fn globals(restore: &Restore) -> Result<serde_json::Value, StepError> {
    let manifest = &restore.backup.manifest;
    let globals =
        download_opened(restore.repository.as_ref(), &manifest.globals, None, &restore.identity, |plain| {
            collect(plain)
        })
        .await?;
    let key = manifest.globals.key.clone();
    serde_json::from_slice(&globals).map_err(|cause| StepError::Work { key, cause })
}

/// Globals hold one entry per role and setting; a thousand roles have well under this.
const GLOBALS_LIMIT_BYTES: usize = 16 << 20;

async fn collect(mut plain: ChunkReceiver) -> Result<Vec<u8>, StepError> {
    let mut all = Vec::new();
    loop {
        match plain.recv().await {
            Some(crate::ports::Chunk::Data(bytes)) if all.len() + bytes.len() <= GLOBALS_LIMIT_BYTES => {
                all.extend_from_slice(&bytes);
            }
            Some(crate::ports::Chunk::End) => return Ok(all),
            Some(crate::ports::Chunk::Data(_)) | None => {
                return Err(StepError::WorkerDied { what: "reading globals".to_owned() });
            }
        }
    }
}

async fn restore_section(restore: &Restore, section: SchemaSection, jobs: u32) -> Result<(), StepError> {
    with_schema(restore, |schema| restore.target.restore_schema(section, schema, jobs)).await
}

async fn with_schema<F>(restore: &Restore, consume: impl FnOnce(ChunkReceiver) -> F) -> Result<(), StepError>
where
    F: Future<Output = Result<(), TargetError>>,
{
    let schema = &restore.backup.manifest.schema;
    download_opened(restore.repository.as_ref(), schema, None, &restore.identity, |plain| async move {
        Ok(consume(plain).await?)
    })
    .await
}

/// Parts of the backup that these plans name; all of them for `None`.
///
/// # Errors
/// When a plan names a part that the manifest does not hold.
pub fn parts_of(backup: &StandingBackup, plans: Option<&[PartPlan]>) -> Result<Vec<Part>, StepError> {
    let Some(plans) = plans else { return Ok(backup.manifest.parts.clone()) };
    let find =
        |plan: &PartPlan| backup.manifest.parts.iter().find(|part| part.number == plan.number).cloned();
    plans
        .iter()
        .map(|plan| {
            find(plan).ok_or_else(|| {
                StepError::found(
                    FailureClass::Integrity,
                    format!("the manifest holds no part {}", plan.number),
                    "the batch belongs to another backup",
                    "start the policy again, or prove this backup by keepsake restore",
                )
            })
        })
        .collect()
}

/// Loads parts that do not stand yet; every part is checked by hash, row count and digest before it is committed.
///
/// # Errors
/// [`StepError::Open`] when a part is not what the manifest says; nothing of that part stays.
/// [`TargetError::MissingReference`] when rows refer to rows that no part of the backup brought, and the same as
/// [`FailureClass::Transient`] while other batches still load some.
pub async fn restore_parts(
    restore: &Restore,
    parts: Vec<Part>,
    loaded: &PartLoaded,
) -> Result<u64, StepError> {
    let away = StaysAway::read(restore).await?;
    let mut standing = standing_parts(restore).await?;
    let is_open = |part: &Part| !standing.contains(&part.number) && !away.has_part(part);
    let mut queue: Vec<Part> = parts.into_iter().filter(is_open).collect();
    // Largest last: they are popped first, so that no worker ends alone with a large one.
    queue.sort_by_key(|part| part.object.stored_bytes);
    let mut rows = 0;
    // Tables that an extension makes have their foreign keys already: their rows wait for those that they refer to.
    // Each round loads one part at least, or is the last.
    while !queue.is_empty() {
        let tried: BTreeSet<u32> = queue.iter().map(|part| part.number).collect();
        let (loaded_rows, mut waiting) = load_round(restore, queue, loaded).await?;
        rows += loaded_rows;
        if waiting.len() == tried.len() {
            // Asked before the round: what another batch loaded since may be what these rows refer to.
            standing.extend(tried);
            let is_over = |part: &Part| standing.contains(&part.number) || away.has_part(part);
            let all = restore.backup.manifest.parts.iter().all(is_over);
            let error = waiting.remove(0).1;
            return Err(if all { error.into() } else { waits_for_others(&error) });
        }
        queue = waiting.into_iter().map(|(part, _)| part).collect();
        standing = standing_parts(restore).await?;
    }
    Ok(rows)
}

async fn standing_parts(restore: &Restore) -> Result<BTreeSet<u32>, StepError> {
    Ok(restore.target.loaded_parts().await?.iter().map(|part| part.number).collect())
}

/// Batches do not know of each other: the state machine tries this one again, a bounded number of times, while the
/// others go on.
fn waits_for_others(error: &TargetError) -> StepError {
    StepError::found(
        FailureClass::Transient,
        format!("{}, and other batches are not loaded yet", keepsake_domain::chain(error)),
        "the backup is untouched; the target is not a complete restore",
        "nothing: the batch is tried again; if it never passes, correct what the first failed batch names",
    )
}

/// Parts whose rows refer to rows that are not there yet, and what the target said. Nothing else is waited for.
type Waiting = Vec<(Part, TargetError)>;

async fn load_round(
    restore: &Restore,
    queue: Vec<Part>,
    loaded: &PartLoaded,
) -> Result<(u64, Waiting), StepError> {
    let workers = (restore.jobs.max(1) as usize).min(queue.len());
    let queue = Arc::new(Mutex::new(queue));
    let mut running: FuturesUnordered<_> =
        (0..workers).map(|_| load_queue(restore, Arc::clone(&queue), loaded)).collect();
    let (mut rows, mut waiting) = (0, Waiting::new());
    while let Some(outcome) = running.next().await {
        let (some, more) = outcome?;
        rows += some;
        waiting.extend(more);
    }
    Ok((rows, waiting))
}

async fn load_queue(
    restore: &Restore,
    queue: Arc<Mutex<Vec<Part>>>,
    loaded: &PartLoaded,
) -> Result<(u64, Waiting), StepError> {
    let mut writer = restore.target.writer().await?;
    let (mut rows, mut waiting) = (0, Waiting::new());
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let Some(part) = next else { return Ok((rows, waiting)) };
        match load_part(restore, &part, writer.as_mut()).await {
            Ok(some) => {
                rows += some;
                loaded(&part);
            }
            Err(StepError::Target(error @ TargetError::MissingReference { .. })) => {
                waiting.push((part, error))
            }
            Err(error) => return Err(error),
        }
    }
}

async fn load_part(restore: &Restore, part: &Part, writer: &mut dyn RowWriter) -> Result<u64, StepError> {
    let plan = PartPlan {
        number: part.number,
        table: part.table.clone(),
        columns: part.columns.clone(),
        range: part.range,
        filter: part.filter.clone(),
        root: part.root.clone(),
        size_bytes: part.content.raw_bytes,
    };
    let rows = download_opened(
        restore.repository.as_ref(),
        &part.object,
        Some(part.content),
        &restore.identity,
        |plain| async move { Ok(writer.copy_in(&plan, plain).await?) },
    )
    .await?;
    if rows == part.content.rows {
        return Ok(rows);
    }
    Err(TargetError::CutOff { what: format!("part {} of table {}: {rows} rows", part.number, part.table) }
        .into())
}

/// Large objects, post-data and sequences, after all parts stand.
///
/// # Errors
/// When a part is missing, so that no restore without all its rows gets its constraints and looks complete.
pub async fn finish_target(restore: &Restore) -> Result<(), StepError> {
    finish_target_at(restore, &restore.backup.manifest.sequences).await
}

/// As [`finish_target`], with sequences that stand where changes left them.
///
/// # Errors
/// As [`finish_target`].
pub async fn finish_target_at(restore: &Restore, sequences: &[SequenceValue]) -> Result<(), StepError> {
    all_parts_stand(restore).await?;
    let manifest = &restore.backup.manifest;
    if let Some(blobs) = &manifest.blobs {
        let target = Arc::clone(&restore.target);
        download_opened(
            restore.repository.as_ref(),
            &blobs.object,
            None,
            &restore.identity,
            |plain| async move { Ok(target.restore_large_objects(plain).await?) },
        )
        .await?;
    }
    restore_section(restore, SchemaSection::PostData, restore.jobs).await?;
    let away = StaysAway::read(restore).await?;
    let sequences: Vec<SequenceValue> =
        sequences.iter().filter(|value| !away.has_sequence(value)).cloned().collect();
    Ok(restore.target.set_sequences(&sequences).await?)
}

pub(crate) async fn all_parts_stand(restore: &Restore) -> Result<(), StepError> {
    let away = StaysAway::read(restore).await?;
    let standing = restore.target.loaded_parts().await?;
    for part in restore.backup.manifest.parts.iter().filter(|part| !away.has_part(part)) {
        let rows = standing.iter().find(|loaded| loaded.number == part.number).map(|loaded| loaded.rows);
        if rows != Some(part.content.rows) {
            let what = format!("part {} of table {}", part.number, part.table);
            return Err(TargetError::CutOff { what }.into());
        }
    }
    Ok(())
}
