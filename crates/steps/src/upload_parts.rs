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

/// Streams of one connection: while one is read, the one before is made durable and gets its receipt. A second one that
/// waits would cost memory and read nothing sooner.
const STREAMS: usize = 2;

/// Told of each part that stands.
pub type PartSeen = dyn Fn(&Part) + Send + Sync;

/// One connection's reader, once it is open. Who holds the lock reads.
type Connection = Arc<tokio::sync::Mutex<Option<Box<dyn RowReader>>>>;
type Turn = tokio::sync::OwnedMutexGuard<Option<Box<dyn RowReader>>>;

/// What all streams of one call share.
struct Uploading<'a> {
    dumper: &'a Dumper,
    run: &'a Run,
    pace: Option<Pace>,
    /// The next part last.
    queue: Mutex<Vec<PartPlan>>,
    seen: &'a PartSeen,
}

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
    let queue = Mutex::new(parts.iter().rev().cloned().collect());
    let uploading = Uploading { dumper, run, pace: Pace::of(run, dumper.clock.now()), queue, seen };
    let connections = (run.jobs.max(1) as usize).min(parts.len().max(1));
    let mut running = FuturesUnordered::new();
    for connection in (0..connections).map(|_| Connection::default()) {
        running.extend((0..STREAMS).map(|_| upload_queue(&uploading, Arc::clone(&connection))));
    }
    let mut done = Vec::with_capacity(parts.len());
    while let Some(outcome) = running.next().await {
        done.extend(outcome?);
    }
    done.sort_by_key(|part| part.number);
    Ok(done)
}

async fn upload_queue(uploading: &Uploading<'_>, connection: Connection) -> Result<Vec<Part>, StepError> {
    let mut done = Vec::new();
    loop {
        // The connection first: a part that waits for this one could be read by another.
        let turn = Arc::clone(&connection).lock_owned().await;
        let Some(plan) = next(&uploading.queue) else { return Ok(done) };
        let part = match receipt(uploading.dumper, &plan).await? {
            Some(part) => part,
            None => upload_patiently(uploading, &plan, &connection, turn).await?,
        };
        (uploading.seen)(&part);
        done.push(part);
    }
}

/// Reads a part again that gave way to somebody who waited for its table; by then that one is through or first in line.
async fn upload_patiently(
    uploading: &Uploading<'_>,
    plan: &PartPlan,
    connection: &Connection,
    mut turn: Turn,
) -> Result<Part, StepError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match upload_part(uploading, plan, turn).await {
            Err(StepError::Source(SourceError::GaveWay { .. })) if tries < GIVE_WAY_TRIES => {
                tracing::warn!(part = plan.number, table = %plan.table, tries, "gave way; reading the part again");
                turn = Arc::clone(connection).lock_owned().await;
            }
            outcome => return outcome,
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

/// The turn ends with the last row: what is left to do with the part does not need the connection.
async fn upload_part(uploading: &Uploading<'_>, plan: &PartPlan, mut turn: Turn) -> Result<Part, StepError> {
    let Uploading { dumper, run, .. } = uploading;
    let key = run.layout()?.part(plan.number, Attempt(Uuid::now_v7()));
    let sealing = Sealing { recipient: &run.recipient, level: run.compression, content: Content::Rows };
    let reader = match turn.take() {
        Some(reader) => reader,
        None => open_reader(dumper, run).await?,
    };
    let produce = |to| read_part(uploading, plan, (turn, reader), to);
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

/// A reader that failed is not used again.
async fn read_part(
    uploading: &Uploading<'_>,
    plan: &PartPlan,
    (mut turn, mut reader): (Turn, Box<dyn RowReader>),
    to: ChunkSender,
) -> Result<(), StepError> {
    let pace = uploading.pace.as_ref().map(|pace| (pace, uploading.dumper.clock.as_ref()));
    let lent = &mut reader;
    paced(pace, |to: ChunkSender| async move { lent.copy_out(plan, &to).await }, to).await?;
    *turn = Some(reader);
    Ok(())
}
