//! Copies, test restores and notices.

use super::{CatalogTest, MemoryCatalog, SentNotice, not_found, refused};
use async_trait::async_trait;
use keepsake_domain::{BackupId, InstanceName, Notice, Timestamp, Verdict};
use keepsake_steps::ports::{
    AlertLog, CatalogError, Copies, CopyRecord, CopyState, RunningTest, TestOutcome, Tests,
};
use uuid::Uuid;

#[async_trait]
impl Copies for MemoryCatalog {
    async fn record_copy(&self, copy: &CopyRecord) -> Result<(), CatalogError> {
        let mut state = self.state();
        let attempts =
            state.copies.get(&(copy.backup_id, copy.location_id)).map_or(0, |(_, attempts)| *attempts);
        let begins = copy.state == CopyState::Copying && copy.progress <= 0.0;
        state.copies.insert((copy.backup_id, copy.location_id), (copy.clone(), attempts + u32::from(begins)));
        Ok(())
    }
}

#[async_trait]
impl Tests for MemoryCatalog {
    async fn begin_test(
        &self,
        backup_id: BackupId,
        instance: &InstanceName,
        started_at: Timestamp,
    ) -> Result<RunningTest, CatalogError> {
        let mut state = self.state();
        let same = |test: &&CatalogTest| {
            test.backup_id == backup_id && test.instance == instance.as_str() && test.outcome.is_none()
        };
        if let Some(test) = state.tests.iter().find(same) {
            return Ok(RunningTest { test_id: test.test_id, started_at: test.started_at });
        }
        let test_id = Uuid::now_v7();
        let instance = instance.to_string();
        state.tests.push(CatalogTest { test_id, backup_id, instance, started_at, outcome: None });
        Ok(RunningTest { test_id, started_at })
    }

    async fn finish_test(&self, test_id: Uuid, outcome: &TestOutcome) -> Result<(), CatalogError> {
        let mut state = self.state();
        let test = state.tests.iter_mut().find(|test| test.test_id == test_id);
        let test = test.ok_or_else(|| not_found("test", test_id))?;
        match &test.outcome {
            None => test.outcome = Some(outcome.clone()),
            Some(ended) if ended.verdict == outcome.verdict => {}
            Some(ended) => {
                return Err(refused(
                    format!("finish test {test_id}"),
                    format!("it ended as {:?}", ended.verdict),
                ));
            }
        }
        Ok(())
    }

    async fn verdict(&self, backup_id: BackupId) -> Result<Option<Verdict>, CatalogError> {
        let state = self.state();
        let outcomes = state.tests.iter().filter(|test| test.backup_id == backup_id);
        let newest =
            outcomes.filter_map(|test| test.outcome.as_ref()).max_by_key(|outcome| outcome.completed_at);
        Ok(newest.map(|outcome| outcome.verdict))
    }
}

#[async_trait]
impl AlertLog for MemoryCatalog {
    async fn announce(&self, execution_id: &str, notice: &Notice, topic: &str) -> Result<bool, CatalogError> {
        let mut state = self.state();
        let of_kind =
            |sent: &&SentNotice| sent.execution_id == execution_id && sent.notice.kind == notice.kind;
        if let Some(sent) = state.notices.iter().find(of_kind) {
            // Announced and never handed over: whoever announced it died, so it is still to be sent.
            return Ok(sent.message_id.is_none());
        }
        let (execution_id, topic) = (execution_id.to_owned(), topic.to_owned());
        state.notices.push(SentNotice { execution_id, notice: notice.clone(), topic, message_id: None });
        Ok(true)
    }

    async fn delivered(
        &self,
        execution_id: &str,
        notice: &Notice,
        message_id: &str,
    ) -> Result<(), CatalogError> {
        let mut state = self.state();
        let of_kind =
            |sent: &&mut SentNotice| sent.execution_id == execution_id && sent.notice.kind == notice.kind;
        let sent = state.notices.iter_mut().find(of_kind);
        let sent = sent.ok_or_else(|| not_found("notice of", execution_id))?;
        sent.message_id = Some(message_id.to_owned());
        Ok(())
    }
}
