use super::{CatalogRun, MemoryCatalog, not_found, refused};
use async_trait::async_trait;
use keepsake_archive::Manifest;
use keepsake_domain::{ExecutionRowId, Lineage, RunKind};
use keepsake_steps::ports::{
    CatalogError, CompletedBackup, CopyState, Execution, Executions, FailureRecord, NewExecution,
};
use uuid::Uuid;

fn opened(new: &NewExecution, policy: &str, source: &str) -> CatalogRun {
    CatalogRun {
        execution: Execution {
            id: ExecutionRowId(Uuid::now_v7()),
            execution_id: new.execution_id.clone(),
            policy: policy.to_owned(),
            source: source.to_owned(),
            backup_id: new.backup_id,
            fencing_token: new.fencing_token,
            backup_location: new.backup_location.clone(),
            status: "running".to_owned(),
            lineage: None,
            is_sealed: false,
        },
        kind: new.kind,
        requested_by: new.requested_by.clone(),
        started_at: new.started_at,
        sealed: None,
        completed_at: None,
        failure: None,
        retries: 0,
    }
}

#[async_trait]
impl Executions for MemoryCatalog {
    async fn open(&self, new: &NewExecution) -> Result<Execution, CatalogError> {
        let mut state = self.state();
        if let Some(run) = state.runs.values().find(|run| run.execution.execution_id == new.execution_id) {
            return Ok(run.execution.clone());
        }
        let policy = state.policies.values().find(|policy| policy.id == new.policy_id);
        let policy = policy.ok_or_else(|| not_found("policy", new.policy_id))?;
        let run = opened(new, &policy.name, &policy.source.name);
        let execution = run.execution.clone();
        state.runs.insert(execution.id, run);
        Ok(execution)
    }

    async fn note_lineage(&self, execution: ExecutionRowId, lineage: &Lineage) -> Result<(), CatalogError> {
        self.state().run(execution)?.execution.lineage = Some(lineage.clone());
        Ok(())
    }

    async fn find(&self, execution_id: &str) -> Result<Option<Execution>, CatalogError> {
        let state = self.state();
        let run = state.runs.values().find(|run| run.execution.execution_id == execution_id);
        Ok(run.map(|run| run.execution.clone()))
    }

    async fn sealed(
        &self,
        execution: ExecutionRowId,
        manifest: &Manifest,
        manifest_key: &str,
        manifest_sha256: &str,
    ) -> Result<(), CatalogError> {
        let mut state = self.state();
        let run = state.run(execution)?;
        let sealed = (manifest.clone(), manifest_key.to_owned(), manifest_sha256.to_owned());
        if run.sealed.as_ref().is_some_and(|before| *before != sealed) {
            return Err(refused(
                format!("seal execution {execution}"),
                "it was sealed with another manifest",
            ));
        }
        run.sealed = Some(sealed);
        run.execution.is_sealed = true;
        Ok(())
    }

    async fn complete(&self, execution: ExecutionRowId, done: &CompletedBackup) -> Result<(), CatalogError> {
        let mut state = self.state();
        let captured = state.captures.iter().any(|of| of.captured.execution == execution);
        let run = state.run(execution)?;
        let act = format!("complete execution {execution}");
        let is_proven = match run.kind {
            RunKind::Full => run.sealed.is_some(),
            RunKind::Incremental => captured,
        };
        match run.execution.status.as_str() {
            "completed" => Ok(()),
            "running" if !is_proven => Err(refused(act, "it made nothing that could be restored")),
            "running" => {
                "completed".clone_into(&mut run.execution.status);
                run.completed_at = Some(done.completed_at);
                Ok(())
            }
            ended => Err(refused(act, format!("it is {ended}"))),
        }
    }

    async fn fail(&self, execution: ExecutionRowId, failure: &FailureRecord) -> Result<(), CatalogError> {
        let mut state = self.state();
        let run = state.run(execution)?;
        if run.execution.status == "running" {
            "failed".clone_into(&mut run.execution.status);
            run.failure = Some(failure.clone());
        }
        let (has_failed, backup_id) = (run.execution.status == "failed", run.execution.backup_id);
        for (copy, _) in state.copies.values_mut() {
            if has_failed && copy.backup_id == backup_id && copy.state == CopyState::Copying {
                copy.state = CopyState::Failed;
                copy.error = Some(failure.message.clone());
            }
        }
        Ok(())
    }

    async fn count_retry(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        self.state().run(execution)?.retries += 1;
        Ok(())
    }
}
