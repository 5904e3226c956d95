//! Copies of a backup in other places.

use super::failed_batch::leave_word;
use super::{Phase, lacking};
use crate::{App, FunctionError};
use keepsake_domain::Batch;
use keepsake_steps::ports::PolicyCopy;
use keepsake_steps::{Replication, Run, StandingBackup, VerifiedCopy, parts_of};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `{"run": {…}, "copy": {"location_id": …, "repository": "s3://…", "region": …}, "phase": "rows", "batch": {…}}`.
#[derive(Debug, Deserialize)]
pub struct CopyInput {
    /// The run.
    pub run: Run,
    /// One of the run's copies.
    pub copy: PolicyCopy,
    /// What to do: all but rows, the parts of one batch, or the check of everything and the manifest.
    pub phase: Phase,
    /// For `rows`: one item of the dump's batches object.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// `{"phase": "finish", "copy": {"repository": "s3://…", "objects": 12, "bytes": 34567}}`.
#[derive(Debug, Serialize)]
pub struct CopyOutput {
    /// What was done.
    pub phase: Phase,
    /// For `finish`: the copy that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<VerifiedCopy>,
}

/// Makes one phase of the backup's copy in one other place.
///
/// # Errors
/// [`FunctionError`].
pub async fn replicate(app: Arc<App>, input: CopyInput) -> Result<CopyOutput, FunctionError> {
    let catalog = app.catalog().await?;
    app.renew_lease(&input.run).await?;
    let (from, backup) = app.backup(&input.run).await?;
    let to = app.repository(&input.copy.repository).await?;
    let work = app.work(&input.run).await?;
    let replication = Replication {
        from: from.as_ref(),
        to: to.as_ref(),
        work: &work,
        copies: catalog.as_ref(),
        clock: app.clock.as_ref(),
    };
    let (run, copy) = (&input.run, &input.copy);
    let copy = match input.phase {
        Phase::Prepare => replication.prepare(run, copy, &backup).await.map(|()| None)?,
        Phase::Rows => {
            let batch = input.batch.ok_or_else(|| lacking("batch"))?;
            let number = batch.number;
            match copy_batch(&replication, run, copy, &backup, batch).await {
                Ok(()) => None,
                Err(error) => return Err(leave_word(&app, &work, "ReplicateRows", number, error).await),
            }
        }
        Phase::Finish => Some(replication.finish(run, copy, &backup).await?),
    };
    Ok(CopyOutput { phase: input.phase, copy })
}

async fn copy_batch(
    replication: &Replication<'_>,
    run: &Run,
    copy: &PolicyCopy,
    backup: &StandingBackup,
    batch: Batch,
) -> Result<(), FunctionError> {
    let parts = parts_of(backup, Some(&batch.parts))?;
    Ok(replication.batch(run, copy, batch.number, parts).await?)
}
