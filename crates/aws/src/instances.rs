use crate::{Clients, answer::Answer};
use async_trait::async_trait;
use aws_sdk_rds::types::{DbInstance, Tag};
use keepsake_domain::{BackupId, INSTANCE_PREFIX, InstanceName};
use keepsake_steps::ports::{Instance, InstanceSpec, InstanceStatus, Instances, InstancesError};

/// The tag that says what an instance is for; the IAM policy of the deleting function asks for it too.
const PURPOSE: (&str, &str) = ("keepsake:purpose", "test-restore");
/// The tag that names the backup. It must be the one in the instance's name.
const BACKUP_ID: &str = "keepsake:backup-id";
/// The tag that names the execution.
const EXECUTION_ID: &str = "keepsake:execution-id";
/// RDS's smallest gp3 volume for Postgres, in GiB.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>, read 2026-11-20.
const SMALLEST_STORAGE_GIB: u32 = 20;
/// Longest value of a tag. Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Tagging.html>, read 2026-11-20.
const TAG_LENGTH: usize = 256;
/// What RDS answers when it has no room or a quota is spent; quotas pass when the other test restores end.
const NO_ROOM: [&str; 4] = [
    "InstanceQuotaExceeded",
    "InsufficientDBInstanceCapacity",
    "StorageQuotaExceeded",
    "ProvisionedIopsNotAvailableInAZFault",
];
/// What RDS answers when an instance is in a state that does not allow it: in creation, or on its way out already.
const NOT_IN_THIS_STATE: &str = "InvalidDBInstanceState";

/// What all throwaway instances have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdsSettings {
    /// For example `db.t4g.medium`.
    pub instance_class: String,
    /// Subnets without a way out; the default ones if none.
    pub subnet_group: Option<String>,
    /// Who may reach it.
    pub security_group_ids: Vec<String>,
    /// Key of its storage; the account's RDS key if none.
    pub kms_key_id: Option<String>,
}

/// Throwaway instances of RDS for PostgreSQL. Their master password is made and kept by RDS.
#[derive(Debug, Clone)]
pub struct RdsInstances {
    client: aws_sdk_rds::Client,
    settings: RdsSettings,
}

impl RdsInstances {
    /// Instances in the clients' region.
    #[must_use]
    pub fn new(clients: &Clients, settings: RdsSettings) -> Self {
        Self { client: clients.rds(), settings }
    }

    async fn is_going(&self, name: &InstanceName) -> Result<bool, InstancesError> {
        let instance = self.describe(name).await?;
        Ok(instance.is_none_or(|instance| instance.status == InstanceStatus::Deleting))
    }

    async fn request(&self, spec: &InstanceSpec) -> Result<(), Answer> {
        let storage_gib = i32::try_from(spec.storage_gib.max(SMALLEST_STORAGE_GIB)).unwrap_or(i32::MAX);
        let settings = &self.settings;
        let request = self.client.create_db_instance().db_instance_identifier(spec.name.as_str());
        let answer = request
            .engine("postgres")
            .engine_version(&spec.engine_version)
            .db_instance_class(&settings.instance_class)
            .allocated_storage(storage_gib)
            .storage_type("gp3")
            .storage_encrypted(true)
            .set_kms_key_id(settings.kms_key_id.clone())
            .db_name(&spec.database)
            .master_username("keepsake")
            .manage_master_user_password(true)
            .publicly_accessible(false)
            .multi_az(false)
            .backup_retention_period(0)
            .deletion_protection(false)
            .auto_minor_version_upgrade(false)
            .set_db_subnet_group_name(settings.subnet_group.clone())
            .set_vpc_security_group_ids(
                Some(settings.security_group_ids.clone()).filter(|ids| !ids.is_empty()),
            )
            .set_tags(Some(tags(spec)))
            .send()
            .await;
        answer.map(|_| ()).map_err(Answer::of)
    }
}

fn tags(spec: &InstanceSpec) -> Vec<Tag> {
    let execution_id: String = spec.execution_id.chars().take(TAG_LENGTH).collect();
    let all = [
        (PURPOSE.0, PURPOSE.1.to_owned()),
        (BACKUP_ID, spec.backup_id.to_string()),
        (EXECUTION_ID, execution_id),
    ];
    all.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Whether it was made by us, for the backup that its name says.
fn is_tagged(name: &InstanceName, instance: &DbInstance) -> bool {
    let has = |key: &str, value: &str| {
        instance.tag_list().iter().any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
    };
    let backup_id = name.as_str().strip_prefix(INSTANCE_PREFIX).unwrap_or_default();
    backup_id.parse::<BackupId>().is_ok() && has(PURPOSE.0, PURPOSE.1) && has(BACKUP_ID, backup_id)
}

/// Source of the states: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html>, read 2026-11-20.
fn status(instance: &DbInstance) -> InstanceStatus {
    match instance.db_instance_status().unwrap_or_default() {
        "available" => available(instance).unwrap_or(InstanceStatus::Preparing),
        "deleting" => InstanceStatus::Deleting,
        broken @ ("failed" | "storage-full" | "restore-error" | "insufficient-capacity") => {
            InstanceStatus::Broken(broken.to_owned())
        }
        broken if broken.starts_with("incompatible-") || broken.starts_with("inaccessible-") => {
            InstanceStatus::Broken(broken.to_owned())
        }
        _ => InstanceStatus::Preparing,
    }
}

/// `None` while its address or its secret is not there yet.
fn available(instance: &DbInstance) -> Option<InstanceStatus> {
    let endpoint = instance.endpoint()?;
    let secret = instance.master_user_secret()?;
    let is_active = secret.secret_status().is_none_or(|status| status == "active");
    Some(InstanceStatus::Available {
        host: endpoint.address()?.to_owned(),
        port: u16::try_from(endpoint.port()?).ok()?,
        secret: secret.secret_arn().filter(|_| is_active)?.to_owned(),
    })
}

fn failed(act: &str, name: &InstanceName, answer: Answer) -> InstancesError {
    let (act, cause) = (format!("{act} instance {name}"), answer.cause);
    if NO_ROOM.contains(&answer.code.as_str()) {
        InstancesError::NoRoom { act, cause }
    } else if answer.is_transient || answer.code == NOT_IN_THIS_STATE {
        InstancesError::Unavailable { act, cause }
    } else {
        InstancesError::Refused { act, cause }
    }
}

fn foreign(name: &InstanceName) -> InstancesError {
    InstancesError::Foreign { name: name.to_string() }
}

#[async_trait]
impl Instances for RdsInstances {
    async fn create(&self, spec: &InstanceSpec) -> Result<(), InstancesError> {
        let Err(answer) = self.request(spec).await else { return Ok(()) };
        if answer.code != "DBInstanceAlreadyExists" {
            return Err(failed("create", &spec.name, answer));
        }
        match self.describe(&spec.name).await? {
            Some(instance) if !instance.tagged => Err(foreign(&spec.name)),
            Some(instance) if instance.status != InstanceStatus::Deleting => Ok(()),
            // An earlier one is going away: its name is free in a few minutes.
            _ => {
                let act = format!("create instance {} while an earlier one is deleted", spec.name);
                Err(InstancesError::NoRoom { act, cause: answer.cause })
            }
        }
    }

    async fn describe(&self, name: &InstanceName) -> Result<Option<Instance>, InstancesError> {
        let request = self.client.describe_db_instances().db_instance_identifier(name.as_str());
        let found = match request.send().await.map_err(Answer::of) {
            Ok(found) => found,
            Err(answer) if is_absent(&answer) => return Ok(None),
            Err(answer) => return Err(failed("look at", name, answer)),
        };
        let instance =
            found.db_instances().iter().find(|one| one.db_instance_identifier() == Some(name.as_str()));
        Ok(instance.map(|it| Instance {
            name: name.clone(),
            status: status(it),
            tagged: is_tagged(name, it),
        }))
    }

    async fn delete(&self, name: &InstanceName) -> Result<(), InstancesError> {
        match self.describe(name).await? {
            None => return Ok(()),
            Some(instance) if !instance.tagged => return Err(foreign(name)),
            Some(instance) if instance.status == InstanceStatus::Deleting => return Ok(()),
            Some(_) => {}
        }
        let request = self.client.delete_db_instance().db_instance_identifier(name.as_str());
        let answer = request.skip_final_snapshot(true).delete_automated_backups(true).send().await;
        match answer.map_err(Answer::of) {
            Ok(_) => Ok(()),
            Err(answer) if is_absent(&answer) => Ok(()),
            // Somebody was faster since we looked, or it is in creation.
            Err(answer) if answer.code == NOT_IN_THIS_STATE && self.is_going(name).await? => Ok(()),
            Err(answer) => Err(failed("delete", name, answer)),
        }
    }
}

fn is_absent(answer: &Answer) -> bool {
    matches!(answer.code.as_str(), "DBInstanceNotFound" | "DBInstanceNotFoundFault")
}

#[cfg(test)]
mod tests;
