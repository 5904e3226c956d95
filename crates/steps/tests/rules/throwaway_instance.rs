//! Rule 10: a throwaway instance is always deleted, and nothing that we did not create can be deleted.

use crate::{ALL_IS_WELL, dumped};
use async_trait::async_trait;
use keepsake_domain::{Classified, FailureClass, InstanceName, Timestamp};
use keepsake_steps::ports::Target;
use keepsake_steps::ports::{Clock, Instance, InstanceSpec, InstanceStatus, Instances, InstancesError};
use keepsake_steps::{drop_instance, drop_instance_patiently, drop_late_instance, provision_instance};
use keepsake_testkit::MemoryInstances;
use keepsake_testkit::scenario::{Failed, Scenario, Setting};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn an_instance_of_our_name_that_is_not_ours_is_never_deleted_and_never_used() {
    let scenario = Scenario::new(Setting::default());
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    let theirs = InstanceName::for_backup(run.backup_id);
    scenario.instances.add_foreign(&theirs);
    let failed = scenario.test_restore(&run).await.unwrap_err();
    assert_eq!((failed.state, failed.class), ("ProvisionInstance", FailureClass::Permanent));
    drop_instance(scenario.instances.as_ref(), run.backup_id).await.unwrap_err();
    scenario.fail("run-1", &failed).await;
    assert_eq!(scenario.instances.names(), std::slice::from_ref(&theirs));
    assert_eq!(scenario.target(&theirs).database().tables, []);
    assert_eq!(scenario.catalog.leases(), [], "the failure path ends all the same");
}

async fn sealed(instances: MemoryInstances) -> (Arc<Scenario>, keepsake_steps::Run) {
    let scenario = Scenario::with_instances(Setting::default(), instances);
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    (scenario, run)
}

async fn ends_without_instance(scenario: &Arc<Scenario>, run: &keepsake_steps::Run) -> Failed {
    let failed = scenario.test_restore(run).await.unwrap_err();
    assert_eq!(scenario.instances.names(), [], "after {}", failed.text);
    scenario.fail("run-1", &failed).await;
    assert_eq!(scenario.check().await, ALL_IS_WELL, "after {}", failed.text);
    failed
}

#[tokio::test(start_paused = true)]
async fn the_instance_is_dropped_whatever_state_of_the_test_fails() {
    let (scenario, run) = sealed(MemoryInstances::broken("storage-full")).await;
    assert_eq!(ends_without_instance(&scenario, &run).await.state, "ProvisionInstance");

    let (scenario, run) = sealed(MemoryInstances::never_ready()).await;
    let failed = ends_without_instance(&scenario, &run).await;
    assert_eq!((failed.state, failed.text.as_str()), ("ProvisionInstance", "never available"));

    let (scenario, run) = sealed(MemoryInstances::new()).await;
    scenario.target(&InstanceName::for_backup(run.backup_id)).begin("another backup").await.unwrap();
    assert_eq!(ends_without_instance(&scenario, &run).await.state, "RestorePrepare");

    for (object, state) in [("/data/000002", "RestoreRows"), ("/blobs/", "RestoreFinish")] {
        let (scenario, run) = sealed(MemoryInstances::new()).await;
        let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
        let key = manifest.objects().find(|stored| stored.key.contains(object)).unwrap().key.clone();
        scenario.primary.corrupt(&key, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let failed = scenario.test_restore(&run).await.unwrap_err();
        assert_eq!((failed.state, failed.class), (state, FailureClass::Integrity), "{}", failed.text);
        assert_eq!(scenario.instances.names(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_and_a_name_still_in_deletion_are_waited_for_as_an_instance_in_preparation_is() {
    // More often than a step is tried again.
    let (scenario, run) = sealed(MemoryInstances::crowded(7)).await;
    scenario.test_restore(&run).await.unwrap();
    assert_eq!(scenario.instances.names(), []);

    let (scenario, run) = sealed(MemoryInstances::new()).await;
    scenario.instances.add_going(&InstanceName::for_backup(run.backup_id));
    scenario.test_restore(&run).await.unwrap();

    let (scenario, run) = sealed(MemoryInstances::crowded(u32::MAX)).await;
    let failed = ends_without_instance(&scenario, &run).await;
    assert_eq!((failed.state, failed.text.as_str()), ("ProvisionInstance", "never available"));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_broke_once_is_repeated_and_no_part_is_loaded_twice() {
    let (scenario, run) = sealed(MemoryInstances::new()).await;
    let target = scenario.target(&InstanceName::for_backup(run.backup_id));
    target.break_next_load();
    scenario.test_restore(&run).await.unwrap();
    let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
    assert_eq!(target.loads() as usize, manifest.parts.len());
    assert_eq!(target.database().sorted_rows(), scenario.source.database().sorted_rows());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_created_behind_the_drop_does_not_stay() {
    let (scenario, run) = sealed(MemoryInstances::new()).await;
    let late = (Arc::clone(&scenario), run.clone());
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(59)).await;
        provision_instance(late.0.instances.as_ref(), &late.1, 0).await.unwrap();
    });
    let (instances, clock) = (scenario.instances.as_ref(), scenario.clock.as_ref());
    let until = clock.now() + Duration::from_secs(240);
    drop_late_instance(instances, run.backup_id, clock, until).await.unwrap();
    late.await.unwrap();
    // As RDS, the twin shows it once more while it is being deleted.
    drop_instance(instances, run.backup_id).await.unwrap();
    assert_eq!(scenario.instances.names(), []);
}

/// An instance in creation, as RDS has it: it cannot be deleted for so long. Notes when it was asked.
struct InCreation {
    scenario: Arc<Scenario>,
    until: Timestamp,
    asked_at: Mutex<Vec<Timestamp>>,
}

impl InCreation {
    fn new(scenario: &Arc<Scenario>, takes: Duration) -> Self {
        let until = scenario.clock.now() + takes;
        Self { scenario: Arc::clone(scenario), until, asked_at: Mutex::default() }
    }
}

#[async_trait]
impl Instances for InCreation {
    async fn create(&self, _: &InstanceSpec) -> Result<(), InstancesError> {
        unreachable!("nothing is created here")
    }

    async fn describe(&self, name: &InstanceName) -> Result<Option<Instance>, InstancesError> {
        let status = InstanceStatus::Preparing;
        let instance = Instance { name: name.clone(), status, tagged: true };
        Ok(Some(instance).filter(|_| self.scenario.clock.now() < self.until))
    }

    async fn delete(&self, name: &InstanceName) -> Result<(), InstancesError> {
        self.asked_at.lock().unwrap().push(self.scenario.clock.now());
        let act = format!("delete instance {name}");
        Err(InstancesError::Unavailable { act, cause: "it is being created".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_in_creation_is_waited_for_until_the_deadline_and_not_past_it() {
    let (scenario, run) = sealed(MemoryInstances::new()).await;
    let clock = scenario.clock.as_ref();
    let patience = Duration::from_secs(120);

    let soon = InCreation::new(&scenario, Duration::from_secs(60));
    let until = clock.now() + patience;
    drop_instance_patiently(&soon, run.backup_id, clock, until).await.unwrap();
    assert!(clock.now() < until, "it is gone, so nothing is waited for");

    let never = InCreation::new(&scenario, Duration::from_secs(3600));
    let until = clock.now() + patience;
    let refused = drop_late_instance(&never, run.backup_id, clock, until).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Transient, "{refused}");
    let asked_at = never.asked_at.lock().unwrap().clone();
    let last = *asked_at.last().unwrap();
    assert!(last <= until && last + Duration::from_secs(5) > until, "{asked_at:?} until {until}");
    assert!(asked_at[1] >= until - Duration::from_secs(60), "late creations are waited for in the same time");
}
