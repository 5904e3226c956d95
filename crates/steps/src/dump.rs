//! Dump: everything of the database that is not rows, and the plan of the parts that are.

use crate::hold_snapshot::wait_for_holder;
use crate::pace::{Pace, paced};
use crate::ports::{
    ChunkSender, Clock, DatabaseShape, Holds, Repository, RepositoryError, RowReader, Source, SourceError,
};
use crate::streams::{Sealing, digest_large_objects, send_all, upload_sealed};
use crate::upload_parts::GIVE_WAY_TRIES;
use crate::{DumpPlan, Run, StepError, Work};
use bytes::Bytes;
use keepsake_archive::{ArchiveLayout, Attempt, Blobs, Content, StoredObject, readme};
use keepsake_domain::{Coverage, CutLimits, FailureClass, batches, cut};
use std::sync::Arc;
use uuid::Uuid;

/// A README is a page of text.
const README_LIMIT_BYTES: u64 = 1 << 20;

/// What the dump and the workers need.
#[derive(Clone)]
pub struct Dumper {
    /// The source.
    pub source: Arc<dyn Source>,
    /// Who holds the snapshot.
    pub holds: Arc<dyn Holds>,
    /// Where the archive goes.
    pub repository: Arc<dyn Repository>,
    /// Work objects of the run.
    pub work: Work,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Writes schema, globals, README and large objects, and plans the parts. A second call returns the first one's plan.
///
/// # Errors
/// [`StepError`]; nothing that was written counts until a manifest names it.
pub async fn dump(dumper: &Dumper, run: &Run) -> Result<DumpPlan, StepError> {
    if let Some(plan) = dumper.work.plan().await? {
        return Ok(plan);
    }
    let name = wait_for_holder(dumper.holds.as_ref(), dumper.clock.as_ref(), run.execution_row).await?;
    let snapshot = dumper.work.snapshot().await?.ok_or_else(|| {
        StepError::found(
            FailureClass::Permanent,
            "a snapshot is held and nothing is known of it",
            "no new recovery point was made",
            "run the backup again",
        )
    })?;
    let layout = run.layout()?;
    let shape = dumper.source.shape(&name).await?;
    let mut reader = dumper.source.reader(&name).await?;
    let sequences = reader.sequences().await?;
    let (schema, schema_raw_bytes) = write_schema(dumper, run, &layout, &name).await?;
    let globals = write_globals(dumper, run, &layout, &shape).await?;
    let readme = write_readme(dumper, run, &layout, &shape.coverage).await?;
    let blobs = write_blobs(dumper, run, &layout, &name, &shape, reader.as_mut()).await?;
    let limits = cut_limits(run);
    let parts = cut(&shape.tables, limits);
    let batches = batches(parts.clone(), limits);
    let mut plan = DumpPlan {
        snapshot,
        schema,
        schema_raw_bytes,
        schema_objects: shape.objects,
        schema_fingerprint: Some(shape.schema_fingerprint),
        globals,
        readme,
        blobs,
        sequences,
        coverage: shape.coverage,
        tables: shape.tables.len() as u64,
        batches: u32::try_from(batches.len()).unwrap_or(u32::MAX),
        parts,
    };
    dumper.work.put_plan(&mut plan, batches).await?;
    // Of two racing dumps one plan stands, and both must go on with that one.
    Ok(dumper.work.plan().await?.unwrap_or(plan))
}

/// At a low bandwidth batches are smaller, so that each still fits into a function's time, and so are parts, so that
/// none keeps its table locked for longer.
fn cut_limits(run: &Run) -> CutLimits {
    let usual = CutLimits::default();
    let batch_bytes = run.limits.batch_bytes(usual.batch_bytes);
    CutLimits { part_bytes: run.part_size_bytes.min(batch_bytes), batch_bytes, ..usual }
}

fn sealing(run: &Run, content: Content) -> Sealing<'_> {
    Sealing { recipient: &run.recipient, level: run.compression, content }
}

async fn write_schema(
    dumper: &Dumper,
    run: &Run,
    layout: &ArchiveLayout,
    snapshot_name: &str,
) -> Result<(StoredObject, u64), StepError> {
    let mut tries = 0;
    loop {
        let key = layout.schema(Attempt(Uuid::now_v7()));
        let produce = |to| async move { Ok(dumper.source.dump_schema(snapshot_name, &to).await?) };
        tries += 1;
        match upload_sealed(dumper.repository.as_ref(), &key, sealing(run, Content::Opaque), produce).await {
            // pg_dump keeps every table locked until it ends, so it gives way to whoever waits for one of them.
            Err(StepError::Source(SourceError::GaveWay { .. })) if tries < GIVE_WAY_TRIES => {
                tracing::warn!(tries, "pg_dump gave way; dumping the schema again");
            }
            outcome => return outcome.map(|(object, content)| (object, content.raw_bytes)),
        }
    }
}

async fn write_globals(
    dumper: &Dumper,
    run: &Run,
    layout: &ArchiveLayout,
    shape: &DatabaseShape,
) -> Result<StoredObject, StepError> {
    let key = layout.globals(Attempt(Uuid::now_v7()));
    let json = serde_json::to_vec_pretty(&shape.globals);
    let json = Bytes::from(json.map_err(|cause| StepError::Work { key: key.clone(), cause })?);
    let produce = |to| send_all(to, json);
    let sealed =
        upload_sealed(dumper.repository.as_ref(), &key, sealing(run, Content::Opaque), produce).await?;
    Ok(sealed.0)
}

async fn write_readme(
    dumper: &Dumper,
    run: &Run,
    layout: &ArchiveLayout,
    coverage: &Coverage,
) -> Result<StoredObject, StepError> {
    let key = layout.readme();
    let text = Bytes::from(readme(layout, &run.facts.database, coverage));
    match dumper.repository.put_new(&key, text.clone()).await {
        Ok(_) => Ok(StoredObject::of_bytes(key, &text)),
        Err(RepositoryError::AlreadyExists { .. }) => {
            let stands = dumper.repository.get(&key, README_LIMIT_BYTES).await?;
            Ok(StoredObject::of_bytes(key, &stands))
        }
        Err(error) => Err(error.into()),
    }
}

async fn write_blobs(
    dumper: &Dumper,
    run: &Run,
    layout: &ArchiveLayout,
    snapshot_name: &str,
    shape: &DatabaseShape,
    reader: &mut dyn RowReader,
) -> Result<Option<Blobs>, StepError> {
    if shape.large_objects == 0 {
        return Ok(None);
    }
    let key = layout.blobs(1, Attempt(Uuid::now_v7()));
    let pace = Pace::of(run, dumper.clock.now());
    let pace = pace.as_ref().map(|pace| (pace, dumper.clock.as_ref()));
    let produce = |to| async move {
        let read =
            |to: ChunkSender| async move { dumper.source.dump_large_objects(snapshot_name, &to).await };
        Ok(paced(pace, read, to).await?)
    };
    let (object, _) =
        upload_sealed(dumper.repository.as_ref(), &key, sealing(run, Content::Opaque), produce).await?;
    let content = digest_large_objects(reader, pace).await?;
    Ok(Some(Blobs { count: shape.large_objects, content, object }))
}
