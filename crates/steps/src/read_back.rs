//! Read a restored database back, table by table: by one process, or by batches that leave word of what they read.

use crate::ports::{RowReader, Target, chunks};
use crate::streams::{digest_large_objects, digest_rows};
use crate::{StepError, Work};
use futures::stream::{FuturesUnordered, StreamExt};
use keepsake_archive::CopyText;
use keepsake_domain::{
    Batch, CutLimits, FailureClass, PartPlan, RestoredDatabase, RestoredTable, RowsDigest, TableName,
    batches, cut,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Reads everything back that can be compared, on `jobs` connections.
///
/// # Errors
/// When something could not be read: that is no verdict.
pub async fn read_back(target: &dyn Target, jobs: u32) -> Result<RestoredDatabase, StepError> {
    let parts = cut(&target.tables().await?, CutLimits::default());
    let read = read_parts(target, parts, jobs).await?;
    with_tables(target, read).await
}

/// The comparison of one test restore, cut into batches. Its words are of this test only: another test of the same
/// backup has another instance, about which they say nothing.
pub struct Comparison<'a> {
    /// Work objects of the run.
    pub work: &'a Work,
    /// The test restore.
    pub test_id: Uuid,
}

/// What was read of one part. Rows of a partition count for the table at its root where the plan says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PartRead {
    number: u32,
    table: TableName,
    rows: u64,
    rows_digest: RowsDigest,
}

impl Comparison<'_> {
    /// Cuts the restored tables into batches and writes these to the work bucket. A second call finds the first ones.
    ///
    /// # Errors
    /// When target or work bucket do not answer.
    pub async fn prepare(&self, target: &dyn Target) -> Result<Vec<Batch>, StepError> {
        let limits = CutLimits::default();
        let cut = batches(cut(&target.tables().await?, limits), limits);
        self.work.put_comparison(self.test_id, cut).await
    }

    /// Reads the parts of one batch on `jobs` connections and leaves word. The first word of a batch stands.
    ///
    /// # Errors
    /// When something could not be read.
    pub async fn batch(&self, target: &dyn Target, batch: Batch, jobs: u32) -> Result<(), StepError> {
        let read = read_parts(target, batch.parts, jobs).await?;
        self.work.put_word(&self.folder(), batch.number, &read).await
    }

    /// Puts the words together with what is no table. A second call does the same again.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] when a batch left no word of a part: what was not read is no verdict.
    pub async fn finish(&self, target: &dyn Target) -> Result<RestoredDatabase, StepError> {
        let batches = self.work.comparison(self.test_id).await?;
        let batches = batches.ok_or_else(|| unread("the comparison was never prepared".to_owned()))?;
        let mut words = self.work.words::<Vec<PartRead>>(&self.folder()).await?;
        let mut read = Vec::new();
        for batch in batches {
            let word = words.remove(&batch.number).unwrap_or_default();
            for part in &batch.parts {
                let found =
                    word.iter().find(|read| (read.number, &read.table) == (part.number, part.destination()));
                let missing =
                    || unread(format!("part {} of table {} was not read back", part.number, part.table));
                read.push(found.cloned().ok_or_else(missing)?);
            }
        }
        with_tables(target, read).await
    }

    fn folder(&self) -> String {
        format!("comparisons/{}", self.test_id)
    }
}

fn unread(what: String) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        what,
        "the backup stands, but it is not proven by a restore",
        "start the policy again",
    )
}

/// Sums the parts of each table, and reads what is no table.
async fn with_tables(target: &dyn Target, read: Vec<PartRead>) -> Result<RestoredDatabase, StepError> {
    let mut tables: BTreeMap<TableName, (u64, RowsDigest)> = BTreeMap::new();
    for part in read {
        let sum = tables.entry(part.table).or_default();
        sum.0 += part.rows;
        sum.1 += part.rows_digest;
    }
    let table = |(table, (rows, rows_digest))| RestoredTable { table, rows, rows_digest };
    let mut reader = target.reader().await?;
    let sequences = reader.sequences().await?;
    let large_objects = match target.large_objects().await? {
        0 => None,
        _ => Some(as_table(digest_large_objects(reader.as_mut(), None).await?)),
    };
    let tables = tables.into_iter().map(table).collect();
    let (objects, left_out) = (target.objects().await?, target.left_out().await?);
    Ok(RestoredDatabase { tables, sequences, large_objects, objects, left_out })
}

async fn read_parts(
    target: &dyn Target,
    parts: Vec<PartPlan>,
    jobs: u32,
) -> Result<Vec<PartRead>, StepError> {
    let workers = (jobs.max(1) as usize).min(parts.len().max(1));
    let queue = Arc::new(Mutex::new(parts));
    let mut running: FuturesUnordered<_> =
        (0..workers).map(|_| read_queue(target, Arc::clone(&queue))).collect();
    let mut read = Vec::new();
    while let Some(outcome) = running.next().await {
        read.extend(outcome?);
    }
    read.sort_by_key(|part: &PartRead| part.number);
    Ok(read)
}

async fn read_queue(
    target: &dyn Target,
    queue: Arc<Mutex<Vec<PartPlan>>>,
) -> Result<Vec<PartRead>, StepError> {
    let mut reader = target.reader().await?;
    let mut done = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let Some(plan) = next else { return Ok(done) };
        let content = digest_part(reader.as_mut(), &plan).await?;
        let (rows, rows_digest) = (content.rows, content.rows_digest);
        done.push(PartRead {
            number: plan.number,
            table: plan.root.unwrap_or(plan.table),
            rows,
            rows_digest,
        });
    }
}

async fn digest_part(reader: &mut dyn RowReader, plan: &PartPlan) -> Result<CopyText, StepError> {
    let (sender, rows) = chunks();
    let read = async move {
        let outcome = reader.copy_out(plan, &sender).await;
        drop(sender);
        outcome
    };
    let what = plan.table.to_string();
    let (read, digested) = tokio::join!(read, digest_rows(rows, &what));
    read?;
    digested
}

fn as_table(content: CopyText) -> RestoredTable {
    let table = TableName { schema: "pg_catalog".to_owned(), name: "large objects".to_owned() };
    RestoredTable { table, rows: content.rows, rows_digest: content.rows_digest }
}
