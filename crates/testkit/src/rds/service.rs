//! What each call does.

use super::answer::{Refusal, tag_list};
use super::cluster::{Cluster, Master, Server};
use super::instance::{Instance, NEVER_READY, Status, Wanted, unknown_version};
use super::query::Query;
use super::secrets::PasswordKeeper;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

/// All instances, and what new ones are made of.
pub(super) struct Service {
    root: PathBuf,
    servers: BTreeMap<u32, Server>,
    certificate: PathBuf,
    keeper: Option<PasswordKeeper>,
    create_delay: Duration,
    instances: Mutex<BTreeMap<String, Instance>>,
}

impl Service {
    pub(super) fn new(
        root: PathBuf,
        servers: BTreeMap<u32, Server>,
        certificate: PathBuf,
        keeper: Option<PasswordKeeper>,
        create_delay: Duration,
    ) -> Self {
        Self { root, servers, certificate, keeper, create_delay, instances: Mutex::default() }
    }

    /// Carries out one call; answers the inside of its result element.
    pub(super) async fn call(self: &Arc<Self>, query: &Query) -> Result<String, Refusal> {
        match query.action() {
            "CreateDBInstance" => self.create(query).await,
            "DescribeDBInstances" => self.describe(query).await,
            "DeleteDBInstance" => self.delete(query).await,
            "ListTagsForResource" => self.list_tags(query).await,
            "AddTagsToResource" => self.add_tags(query).await,
            other => {
                Err(Refusal::new("InvalidAction", format!("the double does not know the action {other}")))
            }
        }
    }

    async fn create(self: &Arc<Self>, query: &Query) -> Result<String, Refusal> {
        let wanted = Wanted::from_query(query)?;
        let version = query.text("EngineVersion").unwrap_or_default();
        let server = self.servers.get(&wanted.major).ok_or_else(|| unknown_version(version))?;
        if wanted.password.is_none() && self.keeper.is_none() {
            return Err(Refusal::new(
                "InvalidParameterValue",
                "this double was started without Secrets Manager",
            ));
        }
        let mut instances = self.instances.lock().await;
        if instances.contains_key(&wanted.name) {
            return Err(Refusal::new("DBInstanceAlreadyExists", "DB instance already exists"));
        }
        let is_never_ready = wanted.class == NEVER_READY;
        let instance = Instance {
            status: if is_never_ready { Status::Modifying } else { Status::Creating },
            tags: query.tags(),
            version: server.version.clone(),
            cluster: None,
            secret_arn: None,
            wanted: wanted.clone(),
        };
        let answer = instance.describe();
        instances.insert(wanted.name.clone(), instance);
        drop(instances);
        if !is_never_ready {
            tokio::spawn(Arc::clone(self).become_available(wanted, server.clone()));
        }
        Ok(answer)
    }

    async fn become_available(self: Arc<Self>, wanted: Wanted, server: Server) {
        tokio::time::sleep(self.create_delay).await;
        let made = self.make_cluster(&wanted, &server).await;
        let mut instances = self.instances.lock().await;
        let Some(instance) = instances.get_mut(&wanted.name) else { return };
        match made {
            Ok((cluster, secret_arn)) => {
                instance.cluster = Some(cluster);
                instance.secret_arn = secret_arn;
                instance.status = Status::Available;
            }
            Err(error) => {
                tracing::error!("instance {} failed: {error:#}", wanted.name);
                instance.status = Status::Failed;
            }
        }
    }

    async fn make_cluster(&self, wanted: &Wanted, server: &Server) -> Result<(Cluster, Option<String>)> {
        let chosen = format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
        let master = Master {
            user: &wanted.master,
            password: wanted.password.as_deref().unwrap_or(&chosen),
            database: wanted.database.as_deref(),
        };
        let folder = self.root.join(&wanted.name);
        let cluster = Cluster::create(server, folder, &self.certificate, &master).await?;
        let Some(keeper) = self.keeper.as_ref().filter(|_| wanted.password.is_none()) else {
            return Ok((cluster, None));
        };
        match keeper.keep(&Instance::arn(&wanted.name), master.user, master.password).await {
            Ok(arn) => Ok((cluster, Some(arn))),
            Err(error) => {
                cluster.destroy().await?;
                Err(error)
            }
        }
    }

    async fn describe(&self, query: &Query) -> Result<String, Refusal> {
        if query.text("Filters.Filter.1.Name").is_some() {
            return Err(Refusal::new("InvalidParameterValue", "this double knows no filters"));
        }
        let instances = self.instances.lock().await;
        let found: String = if query.text("DBInstanceIdentifier").is_some() {
            let name = query.instance_name("DBInstanceIdentifier")?;
            instances.get(&name).ok_or_else(|| Refusal::not_found(&name))?.describe()
        } else {
            instances.values().map(Instance::describe).collect()
        };
        Ok(format!("<DBInstances>{found}</DBInstances>"))
    }

    async fn delete(self: &Arc<Self>, query: &Query) -> Result<String, Refusal> {
        let name = query.instance_name("DBInstanceIdentifier")?;
        let mut instances = self.instances.lock().await;
        let instance = instances.get_mut(&name).ok_or_else(|| Refusal::not_found(&name))?;
        may_be_deleted(instance, query)?;
        instance.status = Status::Deleting;
        let answer = instance.describe();
        drop(instances);
        let service = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = service.remove(&name).await {
                tracing::error!("instance {name} was not removed: {error:#}");
            }
        });
        Ok(answer)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let (cluster, secret) = {
            let mut instances = self.instances.lock().await;
            let instance = instances.get_mut(name).context("no such instance")?;
            (instance.cluster.take(), instance.secret_arn.take())
        };
        if let Some(cluster) = cluster {
            cluster.destroy().await?;
        }
        if let (Some(keeper), Some(arn)) = (&self.keeper, secret) {
            keeper.forget(&arn).await?;
        }
        self.instances.lock().await.remove(name);
        Ok(())
    }

    async fn list_tags(&self, query: &Query) -> Result<String, Refusal> {
        let name = query.instance_name("ResourceName")?;
        let instances = self.instances.lock().await;
        Ok(tag_list(&instances.get(&name).ok_or_else(|| Refusal::not_found(&name))?.tags))
    }

    async fn add_tags(&self, query: &Query) -> Result<String, Refusal> {
        let name = query.instance_name("ResourceName")?;
        let mut instances = self.instances.lock().await;
        let instance = instances.get_mut(&name).ok_or_else(|| Refusal::not_found(&name))?;
        for (key, value) in query.tags() {
            instance.tags.retain(|(known, _)| *known != key);
            instance.tags.push((key, value));
        }
        Ok(String::new())
    }

    /// Ends every instance; used once, at the end.
    pub(super) async fn stop_all(&self) {
        let names: Vec<String> = self.instances.lock().await.keys().cloned().collect();
        for name in names {
            if let Err(error) = self.remove(&name).await {
                tracing::error!("instance {name} was not removed: {error:#}");
            }
        }
        if let Err(error) = tokio::fs::remove_dir_all(&self.root).await {
            tracing::error!("{} was not removed: {error}", self.root.display());
        }
    }
}

fn may_be_deleted(instance: &Instance, query: &Query) -> Result<(), Refusal> {
    let name = &instance.wanted.name;
    if instance.wanted.protected {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        ));
    }
    if !query.flag("SkipFinalSnapshot") {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
        ));
    }
    match instance.status {
        Status::Available | Status::Modifying | Status::Failed => Ok(()),
        Status::Creating => Err(Refusal::new(
            "InvalidDBInstanceState",
            format!(
                "Instance {name} is currently creating - it is not in an applicable state to be deleted."
            ),
        )),
        Status::Deleting => {
            Err(Refusal::new("InvalidDBInstanceState", format!("Instance {name} is already being deleted.")))
        }
    }
}
