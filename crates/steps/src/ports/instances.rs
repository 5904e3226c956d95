use async_trait::async_trait;
use keepsake_domain::{BackupId, Classified, Explanation, FailureClass, InstanceName};

/// What a throwaway instance must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// Its name, which follows from the backup.
    pub name: InstanceName,
    /// The backup, for the tag `keepsake:backup-id`.
    pub backup_id: BackupId,
    /// The execution, for the tag `keepsake:execution-id`.
    pub execution_id: String,
    /// Engine version: the source's major version, for example `15`.
    pub engine_version: String,
    /// Storage in GiB.
    pub storage_gib: u32,
    /// Name of the database that is created in it.
    pub database: String,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceStatus {
    /// Being created or changed: look again.
    Preparing,
    /// Ready.
    Available {
        /// Host name.
        host: String,
        /// Port.
        port: u16,
        /// Reference of the secret with user and password, kept by the provider.
        secret: String,
    },
    /// Being deleted.
    Deleting,
    /// It will not become available.
    Broken(String),
}

/// An instance as the provider reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: InstanceName,
    /// How far it is.
    pub status: InstanceStatus,
    /// Whether it carries our tag; one without is never deleted, whatever its name.
    pub tagged: bool,
}

/// Throwaway database instances. Nothing else can be named here: see [`InstanceName`].
#[async_trait]
pub trait Instances: Send + Sync {
    /// Asks for an instance. Success when one of this name is there already and carries our tag.
    ///
    /// # Errors
    /// [`InstancesError`]; [`InstancesError::NoRoom`] may pass while the caller waits.
    async fn create(&self, spec: &InstanceSpec) -> Result<(), InstancesError>;

    /// Looks; `None` when there is none.
    ///
    /// # Errors
    /// [`InstancesError`].
    async fn describe(&self, name: &InstanceName) -> Result<Option<Instance>, InstancesError>;

    /// Asks for deletion without final snapshot and with automated backups removed. Success when it is gone or
    /// being deleted already.
    ///
    /// # Errors
    /// [`InstancesError::Foreign`] when it lacks our tag; nothing was deleted then.
    async fn delete(&self, name: &InstanceName) -> Result<(), InstancesError>;
}

/// Why an instance could not be had or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstancesError {
    /// An instance has the name and not our tag.
    #[error("instance {name} was not created by keepsake (tag missing)")]
    Foreign {
        /// The name.
        name: String,
    },
    /// Quotas or capacity are spent, or an earlier instance of this name is still being deleted: a matter of minutes or
    /// hours, so that whoever asks looks again as for an instance in preparation.
    #[error("the provider has no room to {act}")]
    NoRoom {
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not reachable, or a state that does not allow it now.
    #[error("the provider could not {act} now")]
    Unavailable {
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rights, parameters or versions that will not do.
    #[error("the provider refused to {act}")]
    Refused {
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for InstancesError {
    fn class(&self) -> FailureClass {
        match self {
            Self::NoRoom { .. } | Self::Unavailable { .. } => FailureClass::Transient,
            Self::Foreign { .. } | Self::Refused { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Foreign { name } => format!("look at instance {name}: rename it or remove it yourself"),
            Self::NoRoom { .. } => {
                "check the quotas of RDS in this region, then start the policy again".to_owned()
            }
            Self::Unavailable { .. } => "run the test restore again, when RDS answers".to_owned(),
            Self::Refused { .. } => "correct role, subnet group or engine version, then run again".to_owned(),
        };
        Explanation {
            at_risk: "the backup stands, but it is not proven by a restore; a throwaway instance may cost money until \
                      it is deleted"
                .to_owned(),
            next,
        }
    }
}
