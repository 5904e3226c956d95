//! Rule 10: a throwaway instance is always deleted, and nothing that we did not create can be deleted.

use crate::{ALL_IS_WELL, dumped};
use keepsake_domain::{FailureClass, InstanceName};
use keepsake_steps::ports::Target;
use keepsake_steps::{drop_instance, drop_late_instance, provision_instance};
use keepsake_testkit::MemoryInstances;
use keepsake_testkit::scenario::{Failed, Scenario, Setting};
use std::sync::Arc;
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
    drop_instance(instances, run.backup_id).await.unwrap();
    drop_late_instance(instances, run.backup_id, clock, Duration::from_secs(180)).await.unwrap();
    late.await.unwrap();
    // As RDS, the twin shows it once more while it is being deleted.
    drop_instance(instances, run.backup_id).await.unwrap();
    assert_eq!(scenario.instances.names(), []);
}
