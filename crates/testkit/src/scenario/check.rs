//! What must be true after any run: nothing lost, nothing left behind.

use super::{MARKER, Scenario};
use crate::{MemoryRepository, MemoryTarget};
use keepsake_domain::{NoticeKind, Verdict};
use keepsake_steps::ports::{CopyState, Repository};
use keepsake_steps::{
    Depth, Restore, StandingBackup, StepError, certify, finish_target, manifest_keys, open_backup,
    prepare_target, read_back, read_backup, restore_parts, verify_archive,
};
use std::sync::Arc;

impl Scenario {
    /// Everything that is not as it must be, one sentence each; empty means that all is well.
    pub async fn check(&self) -> Vec<String> {
        self.settle().await;
        let mut wrong = self.left_behind();
        wrong.extend(self.told());
        for repository in [&self.primary, &self.work, &self.copy] {
            wrong.extend(plaintext(repository).await);
        }
        for repository in [&self.primary, &self.copy] {
            match self.standing(repository).await {
                Ok(found) => wrong.extend(found),
                Err(error) => wrong.push(format!("cannot read {}: {error}", repository.url())),
            }
        }
        wrong.extend(self.promises().await);
        wrong
    }

    fn left_behind(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut note = |is_wrong: bool, what: String| wrong.extend(is_wrong.then_some(what));
        let (leases, instances) = (self.catalog.leases(), self.instances.names());
        note(!leases.is_empty(), format!("leases are held: {leases:?}"));
        note(!instances.is_empty(), format!("instances stand: {instances:?}"));
        for repository in [&self.primary, &self.work, &self.copy] {
            let uploads = repository.unfinished();
            note(!uploads.is_empty(), format!("unfinished uploads in {}: {uploads:?}", repository.url()));
        }
        note(self.source.holders() > 0, format!("{} transactions hold a snapshot", self.source.holders()));
        for run in self.catalog.runs() {
            let (id, status) = (&run.execution.execution_id, run.execution.status.as_str());
            note(!matches!(status, "completed" | "failed"), format!("run {id} is {status}"));
        }
        for test in self.catalog.tests() {
            note(test.outcome.is_none(), format!("test {} never ended", test.test_id));
        }
        for sent in self.catalog.notices() {
            note(sent.message_id.is_none(), format!("the notice of {} was not delivered", sent.execution_id));
        }
        wrong
    }

    /// Every run that failed was told as such, and a lost answer makes one notice more at most.
    fn told(&self) -> Vec<String> {
        let published = self.notices.published();
        let times = |id: &str, kind: NoticeKind| {
            published.iter().filter(|notice| notice.execution_id == id && notice.kind == kind).count()
        };
        let mut wrong = Vec::new();
        for run in self.catalog.runs() {
            let (id, status) = (&run.execution.execution_id, run.execution.status.as_str());
            let (good, bad) = (times(id, NoticeKind::BackupCompleted), times(id, NoticeKind::BackupFailed));
            if (status == "failed" && bad == 0) || (status == "completed" && good + bad == 0) {
                wrong.push(format!("nobody was told that run {id} {status}"));
            }
            if good > 2 || bad > 2 {
                wrong.push(format!("run {id} was told {good} times as good and {bad} times as bad"));
            }
        }
        wrong
    }

    /// What looks like a backup must be one: whole, and equal to what its snapshot saw.
    async fn standing(&self, repository: &Arc<MemoryRepository>) -> Result<Vec<String>, StepError> {
        let mut wrong = Vec::new();
        for layout in manifest_keys(repository.as_ref(), "").await? {
            let backup = read_backup(repository.as_ref(), layout).await?;
            let (url, id) = (repository.url(), backup.layout.backup_id);
            // The restore below opens every object and counts its rows.
            let damages = verify_archive(repository.as_ref(), &backup, Depth::Objects).await?;
            wrong.extend(damages.into_iter().map(|damage| format!("{url}: {damage:?}")));
            let target = self.restored(repository, backup.clone()).await?;
            let seen = self.source.seen_by(&backup.manifest.snapshot);
            if Some(target.database().sorted_rows()) != seen.map(|database| database.sorted_rows()) {
                wrong.push(format!("backup {id} of {url} restores to other rows than its snapshot saw"));
            }
        }
        Ok(wrong)
    }

    /// Restores a backup from one repository into an empty target, and compares.
    ///
    /// # Errors
    /// When it does not restore.
    pub async fn restored(
        &self,
        repository: &Arc<MemoryRepository>,
        backup: StandingBackup,
    ) -> Result<MemoryTarget, StepError> {
        let identity = open_backup(repository.as_ref(), &backup, &[&self.key_holder]).await?;
        let target = MemoryTarget::new();
        let restore = Restore {
            repository: Arc::clone(repository) as _,
            backup: Arc::new(backup),
            identity,
            target: Arc::new(target.clone()),
            jobs: 2,
        };
        prepare_target(&restore).await?;
        restore_parts(&restore, restore.backup.manifest.parts.clone(), &|_| {}).await?;
        finish_target(&restore).await?;
        let facts = keepsake_steps::RestoreFacts {
            repository: repository.url(),
            target_version: 150_018,
            phase_milliseconds: std::collections::BTreeMap::new(),
        };
        let restored = read_back(&target, 2).await?;
        let certificate = certify(&restore.backup, &restored, facts, self.clock.as_ref());
        assert_eq!(certificate.verdict, Verdict::Passed, "{:?}", certificate.differences);
        Ok(target)
    }

    /// A completed run kept what completion says; one that is not sealed left no notice of success.
    async fn promises(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for run in self.catalog.runs().iter().filter(|run| run.execution.status == "completed") {
            let id = run.execution.backup_id;
            let manifests = [&self.primary, &self.copy].map(|repository| async move {
                let found = manifest_keys(repository.as_ref(), "").await.unwrap_or_default();
                found.iter().any(|layout| layout.backup_id == id)
            });
            for stands in manifests {
                if !stands.await {
                    wrong.push(format!("completed backup {id} does not stand everywhere"));
                }
            }
            let is_proven = self.catalog.tests().iter().any(|test| {
                test.backup_id == id
                    && test.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Passed)
            });
            let is_copied = self
                .catalog
                .copies()
                .iter()
                .any(|(copy, _)| copy.backup_id == id && copy.state == CopyState::Verified);
            if !(is_proven && is_copied && run.sealed.is_some()) {
                wrong.push(format!("completed backup {id}: proven {is_proven}, copied {is_copied}"));
            }
        }
        wrong
    }
}

/// Objects that hold a row's text or an opened key.
async fn plaintext(repository: &MemoryRepository) -> Vec<String> {
    let mut wrong = Vec::new();
    for object in repository.list("").await.expect("the twin answers") {
        let bytes = repository.get(&object.key, u64::MAX).await.expect("the twin answers");
        let text = String::from_utf8_lossy(&bytes);
        let marker = text.contains(MARKER).then_some("a row");
        let key = text.split("AGE-SECRET-KEY-1").skip(1).any(is_key).then_some("an opened key");
        wrong.extend([marker, key].into_iter().flatten().map(|what| format!("{} holds {what}", object.key)));
    }
    wrong
}

/// Whether a key's 58 characters follow; the README names only their beginning.
fn is_key(rest: &str) -> bool {
    rest.len() >= 58 && rest.bytes().take(58).all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
