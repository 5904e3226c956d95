//! What a function holds between invocations: settings, clients, and connections that are made once.

use crate::{FunctionError, Settings};
use async_trait::async_trait;
use keepsake_aws::{
    Clients, KmsKeyHolder, RdsInstances, RdsSettings, S3Repository, SecretsManagerSecrets, SnsNotices,
};
use keepsake_domain::{BackupId, Timestamp};
use keepsake_postgres::catalog::PostgresCatalog;
use keepsake_postgres::{PgBin, PostgresChanges, PostgresSource, PostgresTarget};
use keepsake_steps::ports::{Clock, Policy, Provider, Repository, RepositoryError, Secrets};
use keepsake_steps::{
    Dumper, Restore, Run, StandingBackup, Work, available_instance, open_backup, read_backup, renew_lease,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The clock of the machine.
pub(crate) struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// One function's process. Made once in `main`; handlers share it.
pub struct App {
    pub(crate) settings: Settings,
    pub(crate) clients: Clients,
    pub(crate) clock: Arc<dyn Clock>,
    catalog: OnceCell<Arc<PostgresCatalog>>,
    policies: Mutex<BTreeMap<String, Policy>>,
}

impl App {
    /// Reads settings and credentials; connects to nothing yet.
    pub async fn load() -> Self {
        Self {
            settings: Settings::from_environment(),
            clients: Clients::load().await,
            clock: Arc::new(SystemClock),
            catalog: OnceCell::new(),
            policies: Mutex::default(),
        }
    }

    /// The catalog, connected at the first use.
    pub(crate) async fn catalog(&self) -> Result<Arc<PostgresCatalog>, FunctionError> {
        let connect = || async {
            let url = self.secrets().connection(self.settings.catalog_secret()?).await?;
            Ok::<_, FunctionError>(Arc::new(PostgresCatalog::connect(url).await?))
        };
        self.catalog.get_or_try_init(connect).await.cloned()
    }

    pub(crate) fn secrets(&self) -> SecretsManagerSecrets {
        SecretsManagerSecrets::new(&self.clients)
    }

    pub(crate) fn key_holder(&self, kms_key_id: &str) -> KmsKeyHolder {
        KmsKeyHolder::new(&self.clients, kms_key_id)
    }

    pub(crate) fn notices(&self) -> Result<SnsNotices, FunctionError> {
        Ok(SnsNotices::new(&self.clients, self.settings.topic_arn()?))
    }

    pub(crate) fn instances(&self) -> RdsInstances {
        let settings = RdsSettings {
            instance_class: self.settings.instance_class.clone(),
            subnet_group: self.settings.instance_subnet_group.clone(),
            security_group_ids: self.settings.instance_security_groups.clone(),
            kms_key_id: self.settings.instance_kms_key_id.clone(),
        };
        RdsInstances::new(&self.clients, settings)
    }

    pub(crate) async fn repository(&self, url: &str) -> Result<Arc<dyn Repository>, FunctionError> {
        Ok(self.open_repository(url).await?)
    }

    /// The same with the repository's own error.
    pub(crate) async fn open_repository(&self, url: &str) -> Result<Arc<dyn Repository>, RepositoryError> {
        Ok(Arc::new(S3Repository::open(&self.clients, url, None).await?))
    }

    pub(crate) async fn work(&self, run: &Run) -> Result<Work, FunctionError> {
        self.work_of(run.backup_id).await
    }

    pub(crate) async fn work_of(&self, backup_id: BackupId) -> Result<Work, FunctionError> {
        let url = format!("s3://{}", self.settings.work_bucket()?);
        Ok(Work::new(self.repository(&url).await?, backup_id))
    }

    /// Keeps the policy's lease while a run's later steps go on; a run that was replaced ends here.
    pub(crate) async fn renew_lease(&self, run: &Run) -> Result<(), FunctionError> {
        let catalog = self.catalog().await?;
        Ok(renew_lease(catalog.as_ref(), self.clock.as_ref(), run).await?)
    }

    /// The source behind a secret.
    pub(crate) async fn source(
        &self,
        secret: &str,
        provider: Provider,
    ) -> Result<PostgresSource, FunctionError> {
        let url = self.secrets().connection(secret).await?;
        Ok(PostgresSource::new(url, provider, self.pg_bin()))
    }

    /// The changes of the source behind a secret. Its slot is named after the source.
    pub(crate) async fn changes(&self, secret: &str, source: &str) -> Result<PostgresChanges, FunctionError> {
        Ok(PostgresChanges::new(self.secrets().connection(secret).await?, source))
    }

    /// Keeps a policy for when the catalog does not answer.
    pub(crate) fn keep_policy(&self, policy: &Policy) {
        self.policies().insert(policy.name.clone(), policy.clone());
    }

    /// The policy as it was read last, if this process did.
    pub(crate) fn kept_policy(&self, name: &str) -> Option<Policy> {
        self.policies().get(name).cloned()
    }

    fn policies(&self) -> MutexGuard<'_, BTreeMap<String, Policy>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pg_bin(&self) -> PgBin {
        PgBin::new(self.settings.pg_bin.clone())
    }

    pub(crate) async fn dumper(&self, run: &Run) -> Result<Dumper, FunctionError> {
        Ok(Dumper {
            source: Arc::new(self.source(&run.connection_secret, run.provider).await?.of_run(run.backup_id)),
            holds: self.catalog().await?,
            repository: self.repository(&run.repository).await?,
            work: self.work(run).await?,
            clock: Arc::clone(&self.clock),
        })
    }

    /// The run's backup, as it stands in its repository.
    pub(crate) async fn backup(
        &self,
        run: &Run,
    ) -> Result<(Arc<dyn Repository>, StandingBackup), FunctionError> {
        let repository = self.repository(&run.repository).await?;
        let backup = read_backup(repository.as_ref(), run.layout()?).await?;
        Ok((repository, backup))
    }

    /// The run's throwaway instance as a target.
    pub(crate) async fn target(&self, run: &Run) -> Result<Arc<PostgresTarget>, FunctionError> {
        let (host, port, secret) = available_instance(&self.instances(), run.backup_id).await?;
        let url = self.secrets().connection_at(&secret, &host, port, "keepsake_restore").await?;
        Ok(Arc::new(PostgresTarget::new(url, self.pg_bin())))
    }

    /// Everything that restores the run's backup into its throwaway instance.
    pub(crate) async fn restore(&self, run: &Run) -> Result<Restore, FunctionError> {
        let (repository, backup) = self.backup(run).await?;
        let holder = KmsKeyHolder::for_reading(&self.clients);
        let identity = open_backup(repository.as_ref(), &backup, &[&holder]).await?;
        Ok(Restore {
            repository,
            backup: Arc::new(backup),
            identity,
            target: self.target(run).await?,
            jobs: run.jobs,
        })
    }
}
