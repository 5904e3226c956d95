//! EncryptUpload: the rows of a batch of parts, several connections at a time.

use crate::dump::Dumper;
use crate::hold_snapshot::wait_for_holder;
use crate::pace::{Pace, paced};
use crate::ports::{ChunkSender, RowReader, SourceError};
use crate::streams::{Sealing, check_stored, upload_sealed};
use crate::{Run, StepError};
use futures::stream::{FuturesUnordered, StreamExt};
use keepsake_archive::{Attempt, Content, Part};
use keepsake_domain::PartPlan;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// A snapshot's name can end between reading it and importing it, when a relay falls just there; the next name is
/// there by then.
const IMPORT_TRIES: u32 = 3;

/// How often a part is read in one call: who changes a table's definition more often than that changes it all day.
pub(crate) const GIVE_WAY_TRIES: u32 = 3;

/// Told of each part that stands.
pub type PartSeen = dyn Fn(&Part) + Send + Sync;

/// Uploads the parts of a batch and leaves a receipt for each. Parts that have a receipt are not read again.
///
/// `seen` is told of each part as it stands, also of those from an earlier call.
///
/// # Errors
/// The first failure; parts that were uploaded by then keep their receipts, and a second call goes on behind them.
pub async fn upload_parts(
    dumper: &Dumper,
    run: &Run,
    parts: &[PartPlan],
    seen: &PartSeen,
) -> Result<Vec<Part>, StepError> {
    let queue = Arc::new(Mutex::new(parts.iter().rev().cloned().collect::<Vec<_>>()));
    let workers = (run.jobs.max(1) as usize).min(parts.len().max(1));
    let pace = Pace::of(run, dumper.clock.now());
    let mut running: FuturesUnordered<_> =
        (0..workers).map(|_| upload_queue(dumper, run, pace.as_ref(), Arc::clone(&queue), seen)).collect();
    let mut done = Vec::with_capacity(parts.len());
    while let Some(outcome) = running.next().await {
        done.extend(outcome?);
    }
    done.sort_by_key(|part| part.number);
    Ok(done)
}

async fn upload_queue(
    dumper: &Dumper,
    run: &Run,
    pace: Option<&Pace>,
    queue: Arc<Mutex<Vec<PartPlan>>>,
    seen: &PartSeen,
) -> Result<Vec<Part>, StepError> {
    let mut done = Vec::new();
    let mut reader: Option<Box<dyn RowReader>> = None;
    while let Some(plan) = next(&queue) {
        let part = match receipt(dumper, &plan).await? {
            Some(part) => part,
            None => upload_patiently(dumper, run, pace, &plan, &mut reader).await?,
        };
        seen(&part);
        done.push(part);
    }
    Ok(done)
}

/// Reads a part again that gave way to somebody who waited for its table; by then that one is through or first in line.
async fn upload_patiently(
    dumper: &Dumper,
    run: &Run,
    pace: Option<&Pace>,
    plan: &PartPlan,
    reader: &mut Option<Box<dyn RowReader>>,
) -> Result<Part, StepError> {
    let mut tries = 0;
    loop {
        let mut open = match reader.take() {
            Some(open) => open,
            None => open_reader(dumper, run).await?,
        };
        tries += 1;
        match upload_part(dumper, run, pace, plan, open.as_mut()).await {
            Err(StepError::Source(SourceError::GaveWay { .. })) if tries < GIVE_WAY_TRIES => {
                tracing::warn!(part = plan.number, table = %plan.table, tries, "gave way; reading the part again");
            }
            outcome => {
                *reader = Some(open);
                return outcome;
            }
        }
    }
}

fn next(queue: &Mutex<Vec<PartPlan>>) -> Option<PartPlan> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop()
}

/// A receipt counts only while its object stands as it was sent.
async fn receipt(dumper: &Dumper, plan: &PartPlan) -> Result<Option<Part>, StepError> {
    let Some(part) = dumper.work.receipt(plan.number).await? else { return Ok(None) };
    let Some(info) = dumper.repository.head(&part.object.key).await? else { return Ok(None) };
    check_stored(&part.object, &info)?;
    Ok(Some(part))
}

async fn open_reader(dumper: &Dumper, run: &Run) -> Result<Box<dyn RowReader>, StepError> {
    let mut tries = 0;
    loop {
        let name = wait_for_holder(dumper.holds.as_ref(), dumper.clock.as_ref(), run.execution_row).await?;
        tries += 1;
        match dumper.source.reader(&name).await {
            Err(SourceError::SnapshotLost { .. }) if tries < IMPORT_TRIES => {}
            outcome => return Ok(outcome?),
        }
    }
}

async fn upload_part(
    dumper: &Dumper,
    run: &Run,
    pace: Option<&Pace>,
    plan: &PartPlan,
    reader: &mut dyn RowReader,
) -> Result<Part, StepError> {
    let key = run.layout()?.part(plan.number, Attempt(Uuid::now_v7()));
    let sealing = Sealing { recipient: &run.recipient, level: run.compression, content: Content::Rows };
    let pace = pace.map(|pace| (pace, dumper.clock.as_ref()));
    let produce = |to| async move {
        let read = |to: ChunkSender| async move { reader.copy_out(plan, &to).await };
        Ok(paced(pace, read, to).await?)
    };
    let (object, content) = upload_sealed(dumper.repository.as_ref(), &key, sealing, produce).await?;
    let part = Part {
        number: plan.number,
        table: plan.table.clone(),
        columns: plan.columns.clone(),
        range: plan.range,
        filter: plan.filter.clone(),
        root: plan.root.clone(),
        content,
        object,
    };
    dumper.work.put_receipt(&part).await?;
    tracing::info!(part = part.number, table = %part.table, rows = content.rows, "part uploaded");
    // Of two workers that uploaded one part, the first receipt counts.
    Ok(dumper.work.receipt(plan.number).await?.unwrap_or(part))
}
