//! RecordFailure: the end of a failed run, and what is cleaned up behind it.

use crate::ports::{
    CatalogError, Execution, Executions, FailureRecord, Holds, Leases, NewExecution, Policies, Repository,
    RepositoryError,
};
use crate::{Run, StepError};
use futures::future::BoxFuture;
use keepsake_archive::ArchiveLayout;
use keepsake_domain::{BackupId, Classified, FailureClass, FencingToken, RunKind, chain};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Opens a repository by its URL.
pub type OpenRepository<'a> =
    dyn Fn(String) -> BoxFuture<'a, Result<Arc<dyn Repository>, RepositoryError>> + Send + Sync + 'a;

/// What a failed run leaves behind, and where to clean.
pub struct CleanUp<'a> {
    /// Runs.
    pub executions: &'a dyn Executions,
    /// Snapshot holders.
    pub holds: &'a dyn Holds,
    /// Leases.
    pub leases: &'a dyn Leases,
    /// Where a run's copies go.
    pub policies: &'a dyn Policies,
    /// Unfinished uploads may lie in the archive's repository and in its copies.
    pub open: &'a OpenRepository<'a>,
}

/// A run that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRun {
    /// The run, as it was found.
    pub execution: Execution,
    /// What could not be cleaned up and will not be by trying again, one sentence each: where unfinished uploads may lie
    /// until the bucket's own rule removes them.
    pub left: Vec<String>,
}

/// Ends a failed run. First what others wait for: the snapshot, because it is the source that pays for it, the row, and
/// the lease. Then the unfinished uploads, which are this backup's alone and may take a slow store its time. The
/// throwaway instance is the caller's, who knows how long it can wait for it.
///
/// A run that had ended before keeps its end; a second call is success. Returns the run, if it ever opened.
///
/// # Errors
/// The first thing that could not be done and may be later, after all others were tried.
pub async fn record_failure(
    clean_up: &CleanUp<'_>,
    execution_id: &str,
    failure: &FailureRecord,
) -> Result<Option<FailedRun>, StepError> {
    let Some(execution) = clean_up.executions.find(execution_id).await? else { return Ok(None) };
    let is_completed = execution.status == "completed";
    let settled = settle(clean_up, &execution, failure).await;
    let troubles = if is_completed { Vec::new() } else { sweep(clean_up, &execution).await };
    settled?;
    let mut left = Vec::new();
    for trouble in troubles {
        match trouble.class() {
            FailureClass::Transient => return Err(trouble),
            _ => left.push(chain(&trouble)),
        }
    }
    Ok(Some(FailedRun { execution, left }))
}

async fn settle(
    clean_up: &CleanUp<'_>,
    execution: &Execution,
    failure: &FailureRecord,
) -> Result<(), StepError> {
    let name = Run::lease_name(&execution.policy);
    let give_back = clean_up.leases.release(&name, &execution.execution_id, execution.fencing_token);
    if execution.status == "completed" {
        // Whoever completed it may have died before it gave the lease back.
        return Ok(give_back.await?);
    }
    let released = clean_up.holds.release_all(execution.id).await;
    let failed = clean_up.executions.fail(execution.id, failure).await;
    let given_back = give_back.await;
    Ok(released.and(failed).and(given_back)?)
}

/// Ends this backup's unfinished uploads, and no other run's: a store cannot tell one that is still under way. Answers
/// what went wrong, after everything was tried.
async fn sweep(clean_up: &CleanUp<'_>, execution: &Execution) -> Vec<StepError> {
    let Some(lineage) = execution.lineage.clone() else { return Vec::new() };
    let Ok(layout) = ArchiveLayout::new(&execution.source, lineage, execution.backup_id) else {
        return Vec::new();
    };
    let (mut places, mut troubles) = (vec![execution.backup_location.clone()], Vec::new());
    match clean_up.policies.policy(&execution.policy).await {
        Ok(policy) => places.extend(policy.copies.into_iter().map(|copy| copy.repository)),
        Err(unread) => troubles.push(copies_unknown(unread)),
    }
    for place in places {
        let swept = async { (clean_up.open)(place).await?.sweep_unfinished(&layout.root()).await };
        troubles.extend(swept.await.err().map(StepError::from));
    }
    troubles
}

fn copies_unknown(unread: CatalogError) -> StepError {
    if unread.class() == FailureClass::Transient {
        return unread.into();
    }
    StepError::found(
        unread.class(),
        format!("the copies of the run are not known: {}", chain(&unread)),
        "unfinished uploads may lie in them and cost money until the buckets' own rule removes them",
        "correct the policy in the catalog",
    )
}

/// How long a lease is taken only to give it back: where that dies in between, the policy is blocked no longer.
const GIVING_BACK: Duration = Duration::from_secs(60);

/// Gives back the lease of a run that ended before its row was opened: [`record_failure`] finds nothing of it then.
/// A second call is success, and another run's lease stays.
///
/// # Errors
/// When the catalog does not answer; the policy then is blocked until the lease runs out.
pub async fn release_unopened(
    leases: &dyn Leases,
    policy: &str,
    execution_id: &str,
) -> Result<(), StepError> {
    give_back_unopened(leases, &Run::lease_name(policy), execution_id).await
}

pub(crate) async fn give_back_unopened(
    leases: &dyn Leases,
    name: &str,
    execution_id: &str,
) -> Result<(), StepError> {
    // Its token was lost with the run; the same holder is told it again.
    match leases.acquire(name, execution_id, GIVING_BACK).await {
        Ok(lease) => Ok(leases.release(name, execution_id, lease.token).await?),
        Err(CatalogError::Held { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Older than every lease that a function which begins late can still get: tokens grow, and one was given by then.
const BEFORE_ALL_LEASES: FencingToken = FencingToken(1);

/// Ends an execution that was stopped before its row was opened. Stopping it does not stop its Begin, which may come to the
/// catalog only now: it would lease the policy for hours, and nobody would come again to give that back. So its row is
/// opened and ended here; a Begin that finds a row of an older lease gives its own back and goes.
///
/// A second call is success, and another run's lease stays.
///
/// # Errors
/// The first thing that could not be done, after all others were tried.
pub async fn end_unopened(
    clean_up: &CleanUp<'_>,
    policy: &str,
    execution_id: &str,
    failure: &FailureRecord,
) -> Result<(), StepError> {
    let ended =
        open_and_fail(clean_up.executions, clean_up.policies, policy, execution_id, failure, RunKind::Full)
            .await;
    // After the row: a Begin that took the lease before it does not get it again.
    let released = release_unopened(clean_up.leases, policy, execution_id).await;
    ended.and(released)
}

/// Opens the row of an execution that has none, and ends it.
pub(crate) async fn open_and_fail(
    executions: &dyn Executions,
    policies: &dyn Policies,
    policy: &str,
    execution_id: &str,
    failure: &FailureRecord,
    kind: RunKind,
) -> Result<(), StepError> {
    let policy = match policies.policy(policy).await {
        Ok(policy) => policy,
        // Nothing begins without a policy.
        Err(CatalogError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let new = NewExecution {
        execution_id: execution_id.to_owned(),
        policy_id: policy.id,
        source_id: policy.source.id,
        kind,
        backup_id: BackupId(Uuid::now_v7()),
        fencing_token: BEFORE_ALL_LEASES,
        requested_by: "unknown".to_owned(),
        backup_location: policy.primary.repository,
        started_at: failure.failed_at,
    };
    let opened = executions.open(&new).await?;
    Ok(executions.fail(opened.id, failure).await?)
}
