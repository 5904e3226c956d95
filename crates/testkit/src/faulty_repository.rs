use crate::{Faults, ScriptedFault};
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_steps::ports::{ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use std::sync::Arc;

/// Any repository, with the faults of a script. A scripted failure is [`RepositoryError::Unavailable`].
pub struct FaultyRepository {
    inner: Arc<dyn Repository>,
    faults: Arc<Faults>,
}

impl FaultyRepository {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Repository>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn failure(&self) -> impl FnOnce(ScriptedFault) -> RepositoryError + Send + use<> {
        let url = self.inner.url();
        |fault| RepositoryError::Unavailable { url, act: fault.operation.clone(), cause: Box::new(fault) }
    }
}

#[async_trait]
impl Repository for FaultyRepository {
    fn url(&self) -> String {
        self.inner.url()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        self.faults.around(format!("put_new {key}"), self.inner.put_new(key, bytes), self.failure()).await
    }

    async fn upload(&self, key: &str, chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        self.faults.around(format!("upload {key}"), self.inner.upload(key, chunks), self.failure()).await
    }

    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        self.faults.around(format!("get {key}"), self.inner.get(key, limit_bytes), self.failure()).await
    }

    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError> {
        self.faults.around(format!("download {key}"), self.inner.download(key, to), self.failure()).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        self.faults.around(format!("head {key}"), self.inner.head(key), self.failure()).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        self.faults.around(format!("list {prefix}"), self.inner.list(prefix), self.failure()).await
    }

    async fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let listed = self.inner.list_after(prefix, after, limit);
        self.faults.around(format!("list_after {prefix}"), listed, self.failure()).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        self.faults.around(format!("folders {prefix}"), self.inner.folders(prefix), self.failure()).await
    }

    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        self.faults
            .around(format!("copy_from {key}"), self.inner.copy_from(from_url, key), self.failure())
            .await
    }

    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        self.faults
            .around(format!("sweep_unfinished {prefix}"), self.inner.sweep_unfinished(prefix), self.failure())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Gate, MemoryRepository};
    use std::time::Duration;

    fn faulty(faults: Faults) -> (Arc<MemoryRepository>, Arc<Faults>, FaultyRepository) {
        let (inner, faults) = (Arc::new(MemoryRepository::new("faulty")), Arc::new(faults));
        let repository = FaultyRepository::new(inner.clone(), faults.clone());
        (inner, faults, repository)
    }

    async fn put(repository: &FaultyRepository, key: &str) -> Result<ObjectInfo, RepositoryError> {
        repository.put_new(key, Bytes::from_static(b"x")).await
    }

    #[tokio::test]
    async fn a_refused_operation_does_nothing_and_the_others_pass() {
        let (inner, faults, repository) = faulty(Faults::new().at(1, Fault::Refuse));
        assert!(put(&repository, "a").await.is_ok());
        assert!(matches!(put(&repository, "b").await, Err(RepositoryError::Unavailable { .. })));
        assert!(put(&repository, "c").await.is_ok());
        assert!(inner.head("b").await.expect("twin").is_none());
        assert_eq!(faults.operations(), ["put_new a", "put_new b", "put_new c"]);
    }

    #[tokio::test]
    async fn an_operation_that_reports_failure_was_done_all_the_same() {
        let (inner, _, repository) = faulty(Faults::new().at(0, Fault::DoAndReportFailure));
        assert!(put(&repository, "a").await.is_err());
        assert!(inner.head("a").await.expect("twin").is_some());
    }

    #[tokio::test]
    async fn a_held_answer_comes_when_the_gate_opens_and_not_before() {
        let gate = Gate::default();
        let (inner, _, repository) = faulty(Faults::new().at(0, Fault::HoldAnswer(gate.clone())));
        let mut held = Box::pin(put(&repository, "a"));
        assert!(tokio::time::timeout(Duration::ZERO, &mut held).await.is_err());
        assert!(inner.head("a").await.expect("twin").is_some());
        gate.open();
        assert!(held.await.is_ok());
    }

    #[tokio::test]
    async fn a_late_answer_is_lost_to_a_caller_that_gave_up() {
        let (inner, _, repository) = faulty(Faults::new().at(0, Fault::AnswerLate(Duration::from_secs(900))));
        assert!(tokio::time::timeout(Duration::ZERO, put(&repository, "a")).await.is_err());
        assert!(inner.head("a").await.expect("twin").is_some());
    }

    #[tokio::test]
    async fn from_a_chosen_operation_on_nothing_passes() {
        let (inner, _, repository) = faulty(Faults::new().refuse_from(1));
        assert!(put(&repository, "a").await.is_ok());
        assert!(put(&repository, "b").await.is_err() && put(&repository, "c").await.is_err());
        assert_eq!(inner.list("").await.expect("twin").len(), 1);
    }
}
