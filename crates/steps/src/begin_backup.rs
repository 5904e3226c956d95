//! Begin: lease the policy, look at the source, draw the backup's key pair, open the catalog row.

use crate::ports::{
    CatalogError, Clock, Execution, Executions, FailureRecord, KeyHolder, Lease, Leases, NewExecution,
    Policies, Policy, Repository, RepositoryError, Source, SourceFacts,
};
use crate::{Run, StepError, Work};
use bytes::Bytes;
use keepsake_archive::{ArchiveLayout, BackupIdentity, KeyFile, Recipient, wrap_for};
use keepsake_domain::{BackupId, FailureClass, RunKind, Timestamp};
use std::time::Duration;
use uuid::Uuid;

/// How long a policy is leased. A daily full must take less than 6 hours (requirement U3); a run that died without
/// any of its failure paths blocks the next one no longer than that.
pub const LEASE_TTL: Duration = Duration::from_secs(6 * 60 * 60);

/// A keys object holds a handful of wrapped keys, each under 4 KiB.
const KEYS_LIMIT_BYTES: u64 = 1 << 20;

/// What starts a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginRequest {
    /// The state machine's execution.
    pub execution_id: String,
    /// Who or what asked: `schedule`, or a principal.
    pub requested_by: String,
}

/// What `begin` needs of the catalog.
pub struct BeginCatalog<'a> {
    /// Leases.
    pub leases: &'a dyn Leases,
    /// Runs.
    pub executions: &'a dyn Executions,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Reads an active policy.
///
/// # Errors
/// When there is none of this name, or it is switched off.
pub async fn read_policy(policies: &dyn Policies, name: &str) -> Result<Policy, StepError> {
    let policy = policies.policy(name).await?;
    if policy.is_active {
        return Ok(policy);
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!("policy {name} is switched off"),
        format!("source {} gets no new recovery points", policy.source.name),
        "keepsake catalog apply <FILE> with \"is_active\": true, or remove its schedule",
    ))
}

/// Leases the policy and opens the run's row. Nothing of the source was touched yet.
///
/// A second call for the same execution returns the same backup id and token.
///
/// # Errors
/// [`CatalogError::Held`] while another run of the policy is not over; [`CatalogError::Fenced`] for an execution
/// that has ended.
pub async fn open_run(
    catalog: &BeginCatalog<'_>,
    policy: &Policy,
    request: &BeginRequest,
) -> Result<Execution, StepError> {
    open_run_of(catalog, policy, request, RunKind::Full, LEASE_TTL).await
}

/// As [`open_run`], of either kind.
pub(crate) async fn open_run_of(
    catalog: &BeginCatalog<'_>,
    policy: &Policy,
    request: &BeginRequest,
    kind: RunKind,
    ttl: Duration,
) -> Result<Execution, StepError> {
    let name = kind.lease_name(&policy.name, &policy.source.name);
    let lease = catalog.leases.acquire(&name, &request.execution_id, ttl).await?;
    let new = NewExecution {
        execution_id: request.execution_id.clone(),
        policy_id: policy.id,
        source_id: policy.source.id,
        kind,
        backup_id: BackupId(Uuid::now_v7()),
        fencing_token: lease.token,
        requested_by: request.requested_by.clone(),
        backup_location: policy.primary.repository.clone(),
        started_at: catalog.clock.now(),
    };
    let execution = catalog.executions.open(&new).await?;
    if execution.fencing_token == lease.token {
        return opened_in_time(catalog, &lease, execution, ttl).await;
    }
    // The row is of an earlier lease, which its run gave back: that run is over, and the new lease would block others.
    catalog.leases.release(&name, &request.execution_id, lease.token).await?;
    Err(CatalogError::Fenced { name, token: execution.fencing_token }.into())
}

/// An execution that was stopped before its row was there has given its lease back, and nobody comes again to end the
/// row that was opened behind it.
async fn opened_in_time(
    catalog: &BeginCatalog<'_>,
    lease: &Lease,
    execution: Execution,
    ttl: Duration,
) -> Result<Execution, StepError> {
    let Err(error) = catalog.leases.renew(lease, ttl).await else { return Ok(execution) };
    if matches!(error, CatalogError::Fenced { .. }) {
        let failure = FailureRecord {
            class: FailureClass::Conflict,
            message: "the execution was ended while it began".to_owned(),
            state: Some("Begin".to_owned()),
            failed_at: catalog.clock.now(),
        };
        catalog.executions.fail(execution.id, &failure).await?;
    }
    Err(error.into())
}

/// What a run is prepared with.
pub struct Preparation<'a> {
    /// Runs.
    pub executions: &'a dyn Executions,
    /// The source.
    pub source: &'a dyn Source,
    /// What drawing the backup's key needs.
    pub drawing: KeyDrawing<'a>,
}

/// Checks the source and writes the backup's wrapped key: the last moment at which the private half exists here.
///
/// # Errors
/// [`StepError::Source`] with everything that would make the backup fail or be silently partial.
pub async fn prepare_run(
    with: &Preparation<'_>,
    policy: &Policy,
    execution: &Execution,
) -> Result<Run, StepError> {
    let connections = policy.limits.connections(policy.max_parallel_jobs);
    let facts = with.source.preflight(connections).await?;
    let layout = ArchiveLayout::new(&policy.source.name, facts.lineage.clone(), execution.backup_id);
    let layout = layout.map_err(|invalid| {
        StepError::found(
            FailureClass::Permanent,
            invalid.to_string(),
            "no new recovery point was made",
            "rename the source in the catalog, then run again",
        )
    })?;
    let recipients = recovery_recipients(&policy.recovery_recipients)?;
    // Before the first object is written, so that whoever cleans up behind this run knows where.
    with.executions.note_lineage(execution.id, &layout.lineage).await?;
    let recipient = write_key(&with.drawing, &layout, &recipients).await?;
    Ok(run(policy, execution, facts, recipient, with.drawing.clock))
}

/// Parses offline recovery recipients.
///
/// # Errors
/// When one is no `age1…` recipient, or there is none: a backup that only AWS can open is not portable.
pub fn recovery_recipients(texts: &[String]) -> Result<Vec<Recipient>, StepError> {
    let invalid = |what: String| {
        StepError::found(
            FailureClass::Permanent,
            what,
            "without an offline recovery key, backups are lost with the AWS account",
            "keepsake keygen, and put its public line (age1…) into the policy's recovery_recipients",
        )
    };
    if texts.is_empty() {
        return Err(invalid("the policy names no recovery recipient".to_owned()));
    }
    texts
        .iter()
        .map(|text| text.parse().map_err(|_| invalid(format!("\"{text}\" is no age recipient"))))
        .collect()
}

/// What drawing a backup's key needs.
pub struct KeyDrawing<'a> {
    /// The archive's repository.
    pub repository: &'a dyn Repository,
    /// Work objects of the run.
    pub work: &'a Work,
    /// Who wraps the key beside the recovery recipients.
    pub key_holder: &'a dyn KeyHolder,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Draws the key pair, wraps its private half for every holder, leaves the seal key to the run, and writes generation 1.
/// A repeated call finds the object there and takes its public half. Called by [`prepare_run`], and by a run without
/// a policy.
///
/// # Errors
/// When a holder does not wrap, or the repository refuses; then there is no key and nothing can be written.
pub async fn write_key(
    with: &KeyDrawing<'_>,
    layout: &ArchiveLayout,
    recovery: &[Recipient],
) -> Result<Recipient, StepError> {
    let key = layout.keys(1);
    let (identity, file) = draw_key(with.key_holder, layout.backup_id, recovery, with.clock.now()).await?;
    // Before the key file: where that stands, its seal key stands.
    with.work.put_seal_key(&file.recipient, &identity.seal_key()).await?;
    let json = file.to_json().map_err(|cause| StepError::Work { key: key.clone(), cause })?;
    match with.repository.put_new(&key, Bytes::from(json)).await {
        Ok(_) => Ok(file.recipient),
        Err(RepositoryError::AlreadyExists { .. }) => {
            let bytes = with.repository.get(&key, KEYS_LIMIT_BYTES).await?;
            Ok(KeyFile::parse(&key, &bytes)?.recipient)
        }
        Err(error) => Err(error.into()),
    }
}

/// A new key pair, and its private half wrapped for every holder. Nothing is written.
pub(crate) async fn draw_key(
    key_holder: &dyn KeyHolder,
    id: BackupId,
    recovery: &[Recipient],
    now: Timestamp,
) -> Result<(BackupIdentity, KeyFile), StepError> {
    let identity = BackupIdentity::generate();
    let mut holders = vec![key_holder.wrap(&identity, id).await?];
    for recipient in recovery {
        let wrapped = wrap_for(&identity, recipient)?;
        if !holders.iter().any(|holder| holder.holder() == wrapped.holder()) {
            holders.push(wrapped);
        }
    }
    let file = KeyFile::new(id, identity.recipient(), holders, now)?;
    Ok((identity, file))
}

fn run(
    policy: &Policy,
    execution: &Execution,
    facts: SourceFacts,
    recipient: Recipient,
    clock: &dyn Clock,
) -> Run {
    Run {
        execution_id: execution.execution_id.clone(),
        execution_row: execution.id,
        policy: policy.name.clone(),
        source: policy.source.name.clone(),
        source_id: policy.source.id,
        backup_id: execution.backup_id,
        fencing_token: execution.fencing_token,
        started_at: clock.now(),
        repository: policy.primary.repository.clone(),
        copies: policy.copies.clone(),
        recipient,
        provider: policy.source.provider,
        connection_secret: policy.source.connection_secret.clone(),
        kms_key_id: policy.kms_key_id.clone(),
        relay_seconds: policy.relay_seconds,
        part_size_bytes: policy.part_size_bytes,
        jobs: policy.max_parallel_jobs,
        limits: policy.limits,
        compression: policy.compression,
        test_restore: policy.test_restore,
        notify_success: policy.notify_success,
        facts,
    }
}
