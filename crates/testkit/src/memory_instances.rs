use async_trait::async_trait;
use keepsake_domain::InstanceName;
use keepsake_steps::ports::{Instance, InstanceSpec, InstanceStatus, Instances, InstancesError};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
struct Held {
    looks: u32,
    is_deleting: bool,
    is_tagged: bool,
}

/// The twin of the provider of throwaway instances: ready on the third look, gone on the second after deletion.
#[derive(Debug, Default)]
pub struct MemoryInstances {
    held: Mutex<HashMap<InstanceName, Held>>,
    broken: Option<String>,
    is_never_ready: bool,
    /// So many creations find no room.
    no_room: Mutex<u32>,
}

/// Reference of the secret of every instance here.
pub(crate) const INSTANCE_SECRET: &str = "secret/throwaway";
/// Looks until an instance is available.
const LOOKS_UNTIL_READY: u32 = 3;

impl MemoryInstances {
    /// No instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Instances never become available, and say why.
    #[must_use]
    pub fn broken(reason: &str) -> Self {
        Self { broken: Some(reason.to_owned()), ..Self::default() }
    }

    /// Instances stay in preparation for ever.
    #[must_use]
    pub fn never_ready() -> Self {
        Self { is_never_ready: true, ..Self::default() }
    }

    /// The first creations are refused for want of room: quotas are spent.
    #[must_use]
    pub fn crowded(creations: u32) -> Self {
        Self { no_room: Mutex::new(creations), ..Self::default() }
    }

    /// Ours from an earlier test, which is being deleted: seen once more.
    pub fn add_going(&self, name: &InstanceName) {
        self.lock()
            .insert(name.clone(), Held { looks: LOOKS_UNTIL_READY, is_deleting: true, is_tagged: true });
    }

    /// Someone else's instance that happens to carry a name of ours.
    pub fn add_foreign(&self, name: &InstanceName) {
        self.lock()
            .insert(name.clone(), Held { looks: LOOKS_UNTIL_READY, is_deleting: false, is_tagged: false });
    }

    /// What stands now, in whatever state.
    #[must_use]
    pub fn names(&self) -> Vec<InstanceName> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, name: &InstanceName, held: &Held) -> InstanceStatus {
        match &self.broken {
            _ if held.is_deleting => InstanceStatus::Deleting,
            Some(reason) => InstanceStatus::Broken(reason.clone()),
            None if self.is_never_ready || held.looks < LOOKS_UNTIL_READY => InstanceStatus::Preparing,
            None => InstanceStatus::Available {
                host: format!("{name}.memory"),
                port: 5432,
                secret: INSTANCE_SECRET.to_owned(),
            },
        }
    }
}

fn foreign(name: &InstanceName) -> InstancesError {
    InstancesError::Foreign { name: name.to_string() }
}

#[async_trait]
impl Instances for MemoryInstances {
    async fn create(&self, spec: &InstanceSpec) -> Result<(), InstancesError> {
        let mut no_room = self.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        if *no_room > 0 {
            *no_room -= 1;
            let act = format!("create instance {}", spec.name);
            return Err(InstancesError::NoRoom { act, cause: "InstanceQuotaExceeded".into() });
        }
        let mut all = self.lock();
        match all.get(&spec.name) {
            Some(held) if !held.is_tagged => Err(foreign(&spec.name)),
            Some(_) => Ok(()),
            None => {
                all.insert(spec.name.clone(), Held { looks: 0, is_deleting: false, is_tagged: true });
                Ok(())
            }
        }
    }

    async fn describe(&self, name: &InstanceName) -> Result<Option<Instance>, InstancesError> {
        let mut all = self.lock();
        let Some(held) = all.get_mut(name) else { return Ok(None) };
        held.looks += 1;
        let seen = Instance { name: name.clone(), status: self.status(name, held), tagged: held.is_tagged };
        if held.is_deleting {
            all.remove(name);
        }
        Ok(Some(seen))
    }

    async fn delete(&self, name: &InstanceName) -> Result<(), InstancesError> {
        match self.lock().get_mut(name) {
            Some(held) if !held.is_tagged => Err(foreign(name)),
            Some(held) => {
                held.is_deleting = true;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::BackupId;

    #[tokio::test]
    async fn a_foreign_instance_survives_and_ours_is_gone_after_a_while() {
        let (theirs, ours) = (BackupId(uuid::Uuid::from_u128(1)), BackupId(uuid::Uuid::from_u128(2)));
        let instances = MemoryInstances::new();
        instances.add_foreign(&InstanceName::for_backup(theirs));
        let name = InstanceName::for_backup(ours);
        let spec = InstanceSpec {
            name: name.clone(),
            backup_id: ours,
            execution_id: "run".to_owned(),
            engine_version: "15".to_owned(),
            storage_gib: 20,
            database: "wedsync".to_owned(),
        };
        instances.create(&spec).await.expect("create");
        instances.create(&spec).await.expect("a repeat finds it there");
        for _ in 1..LOOKS_UNTIL_READY {
            let seen = instances.describe(&name).await.expect("asked").expect("there");
            assert_eq!(seen.status, InstanceStatus::Preparing);
        }
        let seen = instances.describe(&name).await.expect("asked").expect("there");
        assert!(matches!(seen.status, InstanceStatus::Available { .. }) && seen.tagged);
        instances.delete(&name).await.expect("delete");
        instances.delete(&name).await.expect("again");
        assert_eq!(
            instances.describe(&name).await.expect("asked").expect("going").status,
            InstanceStatus::Deleting
        );
        assert_eq!(instances.describe(&name).await.expect("asked"), None);
        let refused = instances.delete(&InstanceName::for_backup(theirs)).await;
        assert!(matches!(refused, Err(InstancesError::Foreign { .. })), "{refused:?}");
        assert_eq!(instances.names(), [InstanceName::for_backup(theirs)]);
    }
}
