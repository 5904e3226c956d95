//! The incremental machine's functions, in the order of its states.

use super::backup::BeginInput;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{Lsn, NoticeKind, Timestamp};
use keepsake_steps::ports::{Policies, ProtectWishes, Repository};
use keepsake_steps::{
    BeginCatalog, BeginRequest, Capture, CaptureCatalog, CaptureRun, CaptureStart, CaptureStep,
    begin_capture, capture_for_run, protect_for_run, recovery_recipients,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `{"ready": true, "run": {…}, "why": ""}`, or `{"ready": false, "run": null, "why": "…"}`.
#[derive(Debug, Serialize)]
pub struct ProtectOutput {
    /// Whether this run captures; `false` is no failure.
    pub ready: bool,
    /// The run.
    pub run: Option<CaptureRun>,
    /// Why it does not.
    pub why: String,
    /// Tables whose changes are captured.
    pub published: u64,
    /// Tables whose changes are not: full backups alone protect their rows.
    pub not_captured: u64,
}

/// Begins a run: leases the source's captures, publishes new tables, and makes the slot and the chain's beginning where
/// there is none.
///
/// # Errors
/// [`FunctionError`].
pub async fn protect(app: Arc<App>, input: BeginInput) -> Result<ProtectOutput, FunctionError> {
    let catalog = app.catalog().await?;
    let catalog = catalog.as_ref();
    let policy = catalog.policy(&input.policy).await?;
    let begin = BeginCatalog { leases: catalog, executions: catalog, clock: app.clock.as_ref() };
    let request = BeginRequest { execution_id: input.execution_id, requested_by: input.requested_by };
    let run = match begin_capture(&begin, &policy, &request).await? {
        CaptureStart::Begun(run) => *run,
        CaptureStart::NotWanted => return Ok(not_ready("the policy captures no changes".to_owned())),
        CaptureStart::HeldBy(holder) => {
            return Ok(not_ready(format!("{holder} captures the changes of this source")));
        }
    };
    let tools = Tools::of(&app, &run).await?;
    let catalog = CaptureCatalog { log: catalog, leases: catalog, clock: app.clock.as_ref() };
    let protected = protect_for_run(&catalog, &tools.capture(&app, &run), &run).await?;
    for left_out in &protected.protection.not_captured {
        tracing::warn!(table = %left_out.table, reason = ?left_out.reason, "changes of this table are not captured");
    }
    Ok(ProtectOutput {
        ready: true,
        run: Some(run),
        why: String::new(),
        published: protected.protection.published.len() as u64,
        not_captured: protected.protection.not_captured.len() as u64,
    })
}

fn not_ready(why: String) -> ProtectOutput {
    ProtectOutput { ready: false, run: None, why, published: 0, not_captured: 0 }
}

/// `{"run": {…}}`.
#[derive(Debug, Deserialize)]
pub struct CaptureInput {
    /// The run.
    pub run: CaptureRun,
}

/// What one call captured, and what the machine does next.
#[derive(Debug, Serialize)]
pub struct CaptureOutput {
    /// Segments written.
    pub segments: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Changes in them.
    pub changes: u64,
    /// Where the chain ends now.
    pub end_lsn: Lsn,
    /// The source's clock there.
    pub ended_at: Timestamp,
    /// What was lost, if this run is the first to hear of it; else empty.
    pub gap: String,
    /// The kind of notice to send; empty for none.
    pub notice: String,
    /// Whether a full backup must begin now.
    pub start_full: bool,
    /// Whether another call goes on.
    pub more: bool,
}

/// Captures changes until it has caught up, or for one relay.
///
/// # Errors
/// [`FunctionError`].
pub async fn capture(app: Arc<App>, input: CaptureInput) -> Result<CaptureOutput, FunctionError> {
    let run = input.run;
    let catalog = app.catalog().await?;
    let tools = Tools::of(&app, &run).await?;
    let catalog =
        CaptureCatalog { log: catalog.as_ref(), leases: catalog.as_ref(), clock: app.clock.as_ref() };
    let step = capture_for_run(&catalog, &tools.capture(&app, &run), &run, app.settings.capture_span).await?;
    emit(&run.policy, &run.source, app.clock.now().as_millisecond(), &metrics(&step));
    Ok(CaptureOutput {
        segments: step.segments,
        transactions: step.transactions,
        changes: step.changes,
        end_lsn: step.end.lsn,
        ended_at: step.end.at,
        gap: step.gap.unwrap_or_default(),
        notice: step.notice.map(name).unwrap_or_default(),
        start_full: step.start_full,
        more: step.more,
    })
}

fn metrics(step: &CaptureStep) -> Vec<Metric> {
    let lost = u64::from(step.notice == Some(NoticeKind::ChangesLost));
    vec![
        Metric::count("CapturedSegments", step.segments),
        Metric::count("CapturedTransactions", step.transactions),
        Metric::count("CapturedChanges", step.changes),
        Metric::bytes("CapturedStoredBytes", step.stored_bytes),
        Metric::count("ChangesLost", lost),
    ]
}

/// As the notice is named in JSON.
fn name(kind: NoticeKind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a [`Capture`] borrows.
struct Tools {
    source: keepsake_postgres::PostgresChanges,
    repository: Arc<dyn Repository>,
    key_holder: keepsake_aws::KmsKeyHolder,
    recovery: Vec<keepsake_archive::Recipient>,
}

impl Tools {
    async fn of(app: &App, run: &CaptureRun) -> Result<Self, FunctionError> {
        Ok(Self {
            source: app.changes(&run.connection_secret, &run.source).await?,
            repository: app.repository(&run.repository).await?,
            key_holder: app.key_holder(&run.kms_key_id),
            recovery: recovery_recipients(&run.recovery_recipients)?,
        })
    }

    fn capture<'a>(&'a self, app: &'a App, run: &'a CaptureRun) -> Capture<'a> {
        Capture {
            source: &self.source,
            repository: self.repository.as_ref(),
            key_holder: &self.key_holder,
            recovery: &self.recovery,
            clock: app.clock.as_ref(),
            name: &run.source,
            wishes: ProtectWishes {
                identity_full: run.capture.replica_identity_full,
                ..ProtectWishes::default()
            },
            level: run.compression,
            parse_statement: keepsake_statements::plain_statement,
        }
    }
}
