//! Runs, from their begin to their end.

use super::PostgresCatalog;
use super::error::{failed, not_found, transition};
use super::sealed::{self, Sealed};
use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{BackupId, ExecutionRowId, FencingToken, Lineage, RunKind};
use keepsake_steps::ports::{
    CatalogError, CompletedBackup, Execution, Executions, FailureRecord, NewExecution,
};
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

/// The longest message that is kept; the workflow's history has the rest.
const MESSAGE_CHARACTERS: usize = 4_000;

const OPEN: &str = "\
insert into keepsake.backup_executions (id, execution_id, policy_id, source_id, backup_id, backup_type, status,
  scheduled_at, started_at, fencing_token, requested_by, backup_location)
values ($1, $2, $3, $4, $5, $10, 'running', $6, $6, $7, $8, $9)
on conflict (execution_id) do nothing";

const NOTE_RUN: &str =
    "update keepsake.backup_policies set last_execution = greatest(last_execution, $2) where id = $1";

const NOTE_LINEAGE: &str = "update keepsake.backup_executions set lineage = $2 where id = $1";

const FIND: &str = "\
select e.id, e.execution_id, coalesce(p.name, '') as policy, s.name as source, e.backup_id, e.fencing_token,
  coalesce(e.backup_location, '') as backup_location, e.lineage, e.status,
  exists (select from keepsake.backup_snapshots b where b.id = e.backup_id) as is_sealed
from keepsake.backup_executions e
join keepsake.sources s on s.id = e.source_id
left join keepsake.backup_policies p on p.id = e.policy_id
where e.execution_id = $1";

const STATUS: &str = "select status from keepsake.backup_executions where id = $1 for update";

const NEWEST_RESTORE: &str = "\
select t.verdict from keepsake.backup_tests t join keepsake.backup_executions e on e.backup_id = t.snapshot_id
where e.id = $1 and t.test_type = 'restore_test' order by t.started_at desc, t.id desc limit 1";

const COMPLETE: &str = "\
update keepsake.backup_executions
set status = 'completed', completed_at = greatest($2, started_at),
  integrity_status = case when backup_type = 'incremental' then 'skipped' else 'passed' end
where id = $1";

const FAIL: &str = "\
update keepsake.backup_executions
set status = 'failed', error_class = $2, error_message = $3, error_details = jsonb_build_object('state', $4::text),
  completed_at = greatest($5, started_at)
where id = $1 and status in ('scheduled', 'pending', 'running')";

/// A copy that was still open can only be seen as under way; nobody goes on with it.
const FAIL_COPIES: &str = "\
update keepsake.backup_copies set status = 'failed', error = $2
from keepsake.backup_executions e
where e.id = $1 and e.status = 'failed' and snapshot_id = e.backup_id
  and backup_copies.status in ('pending', 'copying')";

const COUNT_RETRY: &str = "update keepsake.backup_executions set retry_count = retry_count + 1 where id = $1";

#[async_trait]
impl Executions for PostgresCatalog {
    async fn open(&self, new: &NewExecution) -> Result<Execution, CatalogError> {
        let act = "open a run";
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        let opened = transaction
            .execute(
                OPEN,
                &[
                    &Uuid::now_v7(),
                    &new.execution_id,
                    &new.policy_id.0,
                    &new.source_id.0,
                    &new.backup_id.0,
                    &new.started_at,
                    &new.fencing_token.0,
                    &new.requested_by,
                    &new.backup_location,
                    &new.kind.name(),
                ],
            )
            .await
            .map_err(failed(act))?;
        // A policy's last execution is that of its backup; captures come every few minutes.
        if opened == 1 && new.kind == RunKind::Full {
            transaction.execute(NOTE_RUN, &[&new.policy_id.0, &new.started_at]).await.map_err(failed(act))?;
        }
        let execution = read(&transaction, act, &new.execution_id).await?;
        transaction.commit().await.map_err(failed(act))?;
        execution.ok_or_else(|| not_found("execution", &new.execution_id))
    }

    async fn note_lineage(&self, execution: ExecutionRowId, lineage: &Lineage) -> Result<(), CatalogError> {
        let act = "note a run's lineage";
        let client = self.lend(act).await?;
        let noted = client.execute(NOTE_LINEAGE, &[&execution.0, &lineage.to_string()]).await;
        match noted.map_err(failed(act))? {
            0 => Err(not_found("execution", execution)),
            _ => Ok(()),
        }
    }

    async fn find(&self, execution_id: &str) -> Result<Option<Execution>, CatalogError> {
        let act = "find a run";
        let client = self.lend(act).await?;
        read(&*client, act, execution_id).await
    }

    async fn sealed(
        &self,
        execution: ExecutionRowId,
        manifest: &Manifest,
        manifest_key: &str,
        manifest_sha256: &str,
    ) -> Result<(), CatalogError> {
        let mut client = self.lend(sealed::ACT).await?;
        sealed::record(&mut client, &Sealed { execution, manifest, manifest_key, manifest_sha256 }).await
    }

    /// Also refused when the newest test restore of the backup did not pass: nothing learned is nothing proven.
    async fn complete(&self, execution: ExecutionRowId, done: &CompletedBackup) -> Result<(), CatalogError> {
        let act = "complete a run";
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        let run = transaction.query_opt(STATUS, &[&execution.0]).await.map_err(failed(act))?;
        let status: String =
            run.ok_or_else(|| not_found("execution", execution))?.try_get(0).map_err(failed(act))?;
        if status == "completed" {
            return Ok(());
        }
        let newest = transaction.query_opt(NEWEST_RESTORE, &[&execution.0]).await.map_err(failed(act))?;
        let verdict: Option<String> = newest.map(|row| row.try_get(0)).transpose().map_err(failed(act))?;
        if let Some(verdict) = verdict.filter(|verdict| verdict != "passed") {
            return Err(transition(
                act,
                format!("execution {execution}: its newest test restore is {verdict}"),
            ));
        }
        transaction.execute(COMPLETE, &[&execution.0, &done.completed_at]).await.map_err(failed(act))?;
        transaction.commit().await.map_err(failed(act))
    }

    async fn fail(&self, execution: ExecutionRowId, failure: &FailureRecord) -> Result<(), CatalogError> {
        let act = "fail a run";
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        let message: String = failure.message.chars().take(MESSAGE_CHARACTERS).collect();
        let message = if message.is_empty() { "no message was given" } else { &message };
        let parameters = &[
            &execution.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            &failure.class.name(),
            &message,
            &failure.state,
            &failure.failed_at,
        ];
        let changed = transaction.execute(FAIL, parameters).await.map_err(failed(act))?;
        if changed == 0 {
            let run = transaction.query_opt(STATUS, &[&execution.0]).await.map_err(failed(act))?;
            run.ok_or_else(|| not_found("execution", execution))?;
        }
        transaction.execute(FAIL_COPIES, &[&execution.0, &message]).await.map_err(failed(act))?;
        transaction.commit().await.map_err(failed(act))
    }

    /// Refused by the guard once the run has ended.
    async fn count_retry(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        let act = "count a repeated step";
        let client = self.lend(act).await?;
        match client.execute(COUNT_RETRY, &[&execution.0]).await.map_err(failed(act))? {
            0 => Err(not_found("execution", execution)),
            _ => Ok(()),
        }
    }
}

async fn read(
    client: &impl GenericClient,
    act: &str,
    execution_id: &str,
) -> Result<Option<Execution>, CatalogError> {
    let found = client.query_opt(FIND, &[&execution_id]).await.map_err(failed(act))?;
    found.map(|row| read_row(&row)).transpose().map_err(failed(act))
}

fn read_row(row: &Row) -> Result<Execution, tokio_postgres::Error> {
    Ok(Execution {
        id: ExecutionRowId(row.try_get("id")?),
        execution_id: row.try_get("execution_id")?,
        policy: row.try_get("policy")?,
        source: row.try_get("source")?,
        backup_id: BackupId(row.try_get("backup_id")?),
        fencing_token: FencingToken(row.try_get("fencing_token")?),
        backup_location: row.try_get("backup_location")?,
        status: row.try_get("status")?,
        lineage: row.try_get::<_, Option<String>>("lineage")?.and_then(|text| text.parse().ok()),
        is_sealed: row.try_get("is_sealed")?,
    })
}
