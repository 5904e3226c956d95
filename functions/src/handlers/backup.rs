//! The backup machine's functions, in the order of its states.

use super::failed_batch::leave_word;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{Batch, PartPlan};
use keepsake_steps::{
    BeginCatalog, BeginRequest, Holder, KeyDrawing, Lane, Preparation, Run, SealedBackup, Sealing, dump,
    hold_snapshot, open_run, prepare_run, read_policy, record_completion, release_snapshot, seal_backup,
    upload_parts,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `{"policy": "wedsync-nightly", "execution_id": "arn:…", "requested_by": "schedule"}`.
#[derive(Debug, Deserialize)]
pub struct BeginInput {
    /// The policy's name.
    pub policy: String,
    /// The state machine's execution.
    pub execution_id: String,
    /// Who or what asked.
    #[serde(default = "by_schedule")]
    pub requested_by: String,
}

fn by_schedule() -> String {
    "schedule".to_owned()
}

/// `{"run": {…}}`.
#[derive(Debug, Deserialize)]
pub struct RunInput {
    /// The run.
    pub run: Run,
}

/// Begins a run; answers the [`Run`].
///
/// # Errors
/// [`FunctionError`].
pub async fn begin(app: Arc<App>, input: BeginInput) -> Result<Run, FunctionError> {
    let catalog = app.catalog().await?;
    let mut policy = read_policy(catalog.as_ref(), &input.policy).await?;
    policy.limits.workers = app.settings.map_concurrency;
    let begin =
        BeginCatalog { leases: catalog.as_ref(), executions: catalog.as_ref(), clock: app.clock.as_ref() };
    let request = BeginRequest { execution_id: input.execution_id, requested_by: input.requested_by };
    let execution = open_run(&begin, &policy, &request).await?;
    let source = app.source(&policy.source.connection_secret, policy.source.provider).await?;
    let repository = app.repository(&policy.primary.repository).await?;
    let holder = app.key_holder(&policy.kms_key_id);
    let work = app.work_of(execution.backup_id).await?;
    let clock = app.clock.as_ref();
    let drawing = KeyDrawing { repository: repository.as_ref(), work: &work, key_holder: &holder, clock };
    let preparation = Preparation { executions: catalog.as_ref(), source: &source, drawing };
    Ok(prepare_run(&preparation, &policy, &execution).await?)
}

/// `{"run": {…}, "lane": "first"}`.
#[derive(Debug, Deserialize)]
pub struct HoldInput {
    /// The run.
    pub run: Run,
    /// Which lane of the relay.
    pub lane: Lane,
}

/// `{"released": true}`.
#[derive(Debug, Serialize)]
pub struct Released {
    /// Whether the snapshot is no longer needed.
    pub released: bool,
}

/// Holds the snapshot for one relay period.
///
/// # Errors
/// [`FunctionError`].
pub async fn hold(app: Arc<App>, input: HoldInput) -> Result<Released, FunctionError> {
    let dumper = app.dumper(&input.run).await?;
    let catalog = app.catalog().await?;
    let holder = Holder {
        source: dumper.source.as_ref(),
        holds: catalog.as_ref(),
        leases: catalog.as_ref(),
        work: &dumper.work,
        clock: app.clock.as_ref(),
    };
    Ok(Released { released: hold_snapshot(&holder, &input.run, input.lane).await? })
}

/// Where the batches lie, and how much there is.
#[derive(Debug, Serialize)]
pub struct DumpOutput {
    /// The work bucket.
    pub bucket: String,
    /// Key of a JSON array with one item per batch.
    pub key: String,
    /// Number of batches.
    pub batches: u32,
    /// Number of parts.
    pub parts: u64,
    /// Number of tables.
    pub tables: u64,
    /// Number of large objects.
    pub large_objects: u64,
}

/// Dumps the schema and plans the parts.
///
/// # Errors
/// [`FunctionError`].
pub async fn dump_database(app: Arc<App>, input: RunInput) -> Result<DumpOutput, FunctionError> {
    let dumper = app.dumper(&input.run).await?;
    let plan = dump(&dumper, &input.run).await?;
    Ok(DumpOutput {
        bucket: app.settings.work_bucket()?.to_owned(),
        key: dumper.work.batches_key(),
        batches: plan.batches,
        parts: plan.parts.len() as u64,
        tables: plan.tables,
        large_objects: plan.blobs.map_or(0, |blobs| blobs.count),
    })
}

/// `{"run": {…}, "batch": {"number": 1, "parts": […]}}`.
#[derive(Debug, Deserialize)]
pub struct EncryptUploadInput {
    /// The run.
    pub run: Run,
    /// One item of the batches object.
    pub batch: Batch,
}

/// What one batch came to.
#[derive(Debug, Serialize)]
pub struct EncryptUploadOutput {
    /// Number of the batch.
    pub batch: u32,
    /// Parts that stand.
    pub parts: u64,
    /// Their rows.
    pub rows: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
}

/// Uploads the parts of one batch.
///
/// # Errors
/// [`FunctionError`].
pub async fn encrypt_upload(
    app: Arc<App>,
    input: EncryptUploadInput,
) -> Result<EncryptUploadOutput, FunctionError> {
    let EncryptUploadInput { run, batch: Batch { number, parts } } = input;
    let plans: Vec<PartPlan> = parts;
    let dumper = app.dumper(&run).await?;
    let began = app.clock.now();
    let uploaded = match upload_parts(&dumper, &run, &plans, &|_| {}).await {
        Ok(uploaded) => uploaded,
        Err(error) => return Err(leave_word(&app, &dumper.work, "EncryptUpload", number, error.into()).await),
    };
    let raw_bytes = uploaded.iter().map(|part| part.content.raw_bytes).sum();
    let stored_bytes = uploaded.iter().map(|part| part.object.stored_bytes).sum();
    let spent = u64::try_from(app.clock.now().duration_since(began).as_millis()).unwrap_or_default();
    emit(
        &run.policy,
        &run.source,
        app.clock.now().as_millisecond(),
        &[
            Metric::bytes("BatchRawBytes", raw_bytes),
            Metric::bytes("BatchStoredBytes", stored_bytes),
            Metric::milliseconds("BatchDuration", spent),
        ],
    );
    Ok(EncryptUploadOutput {
        batch: number,
        parts: uploaded.len() as u64,
        rows: uploaded.iter().map(|part| part.content.rows).sum(),
        stored_bytes,
    })
}

/// Lets the snapshot go.
///
/// # Errors
/// [`FunctionError`].
pub async fn release(app: Arc<App>, input: RunInput) -> Result<Released, FunctionError> {
    let catalog = app.catalog().await?;
    release_snapshot(catalog.as_ref(), input.run.execution_row).await?;
    Ok(Released { released: true })
}

/// Checks every object and writes the manifest.
///
/// # Errors
/// [`FunctionError`].
pub async fn seal(app: Arc<App>, input: RunInput) -> Result<SealedBackup, FunctionError> {
    let catalog = app.catalog().await?;
    let repository = app.repository(&input.run.repository).await?;
    let work = app.work(&input.run).await?;
    let sealing = Sealing {
        repository: repository.as_ref(),
        work: &work,
        leases: catalog.as_ref(),
        executions: catalog.as_ref(),
        clock: app.clock.as_ref(),
    };
    let sealed = seal_backup(&sealing, &input.run).await?;
    emit(
        &input.run.policy,
        &input.run.source,
        app.clock.now().as_millisecond(),
        &[
            Metric::bytes("RawBytes", sealed.raw_bytes),
            Metric::bytes("StoredBytes", sealed.stored_bytes),
            Metric::count("Rows", sealed.rows),
        ],
    );
    Ok(sealed)
}

/// `{"run": {…}, "sealed": {…}}`.
#[derive(Debug, Deserialize)]
pub struct RecordInput {
    /// The run.
    pub run: Run,
}

/// `{"status": "completed"}`.
#[derive(Debug, Serialize)]
pub struct RecordOutput {
    /// How the run ended.
    pub status: &'static str,
}

/// Ends the run well.
///
/// # Errors
/// [`FunctionError`].
pub async fn record(app: Arc<App>, input: RecordInput) -> Result<RecordOutput, FunctionError> {
    let catalog = app.catalog().await?;
    let catalog = catalog.as_ref();
    record_completion(catalog, catalog, catalog, app.clock.as_ref(), &input.run).await?;
    let spent = app.clock.now().duration_since(input.run.started_at).as_millis();
    emit(
        &input.run.policy,
        &input.run.source,
        app.clock.now().as_millisecond(),
        &[
            Metric::count("BackupCompleted", 1),
            Metric::milliseconds("BackupDuration", u64::try_from(spent).unwrap_or_default()),
        ],
    );
    Ok(RecordOutput { status: "completed" })
}
