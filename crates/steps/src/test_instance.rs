//! The throwaway instance of a test restore: provision it, and always drop it.

use crate::ports::{Clock, InstanceSpec, InstanceStatus, Instances, InstancesError};
use crate::{Run, StepError};
use keepsake_domain::{BackupId, Classified, FailureClass, InstanceName, Timestamp};
use std::time::Duration;

/// RDS gives PostgreSQL on general purpose storage at least 20 GiB.
/// Source: "Amazon RDS DB instance storage" in the RDS user guide, read 2026-11-21.
const SMALLEST_STORAGE_GIB: u32 = 20;

/// How far the instance is, as the state machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceProgress {
    /// Look again later.
    Preparing,
    /// Ready to restore into.
    Available,
    /// Being deleted; look again later.
    Deleting,
    /// Not there.
    Gone,
}

/// Storage for a backup: its rows and as much again for indexes and WAL, at least RDS's minimum.
#[must_use]
pub fn storage_gib(raw_bytes: u64) -> u32 {
    let needed = (raw_bytes * 3).div_ceil(1 << 30);
    u32::try_from(needed).unwrap_or(u32::MAX).max(SMALLEST_STORAGE_GIB)
}

/// Asks for the run's instance, or looks at it when it was asked for before.
///
/// # Errors
/// [`InstancesError::Foreign`] when the name is taken by something that is not ours; an instance that will never
/// become available is [`FailureClass::Permanent`].
pub async fn provision_instance(
    instances: &dyn Instances,
    run: &Run,
    raw_bytes: u64,
) -> Result<InstanceProgress, StepError> {
    let name = InstanceName::for_backup(run.backup_id);
    let Some(instance) = instances.describe(&name).await? else {
        return match instances.create(&spec(run, name, raw_bytes)).await {
            Err(no_room @ InstancesError::NoRoom { .. }) => {
                // The machine looks again, as often as for an instance in preparation, and then says what to look at.
                tracing::warn!("{}; asking again later", keepsake_domain::chain(&no_room));
                Ok(InstanceProgress::Preparing)
            }
            created => Ok(created.map(|()| InstanceProgress::Preparing)?),
        };
    };
    if !instance.tagged {
        return Err(InstancesError::Foreign { name: instance.name.to_string() }.into());
    }
    match &instance.status {
        // That of an earlier test of this backup: its name is free when it is gone, in minutes.
        InstanceStatus::Preparing | InstanceStatus::Deleting => Ok(InstanceProgress::Preparing),
        InstanceStatus::Available { .. } => Ok(InstanceProgress::Available),
        InstanceStatus::Broken(state) => Err(unusable(&instance.name, state)),
    }
}

fn spec(run: &Run, name: InstanceName, raw_bytes: u64) -> InstanceSpec {
    InstanceSpec {
        name,
        backup_id: run.backup_id,
        execution_id: run.execution_id.clone(),
        engine_version: (run.facts.server.server_version / 10_000).to_string(),
        storage_gib: storage_gib(raw_bytes),
        database: "keepsake_restore".to_owned(),
    }
}

/// A test restore belongs to its run, whose lease is given back at the end.
const PROVE_AGAIN: &str =
    "the instance is dropped; start the policy again, or prove this backup by keepsake restore";

fn unusable(name: &InstanceName, state: &str) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!("throwaway instance {name} is {state} and will not become available"),
        "the backup stands, but it is not proven by a restore",
        PROVE_AGAIN,
    )
}

/// The instance's address, once it is available.
///
/// # Errors
/// Transient when it is in one of RDS's passing states, or not shown for a moment: maintenance, a backup, a change of
/// its password; Permanent when it is broken or being deleted.
pub async fn available_instance(
    instances: &dyn Instances,
    backup_id: BackupId,
) -> Result<(String, u16, String), StepError> {
    let name = InstanceName::for_backup(backup_id);
    let instance = instances.describe(&name).await?;
    let class = match instance.map(|instance| instance.status) {
        Some(InstanceStatus::Available { host, port, secret }) => return Ok((host, port, secret)),
        Some(InstanceStatus::Preparing) | None => FailureClass::Transient,
        Some(InstanceStatus::Broken(_) | InstanceStatus::Deleting) => FailureClass::Permanent,
    };
    Err(StepError::found(
        class,
        format!("throwaway instance {name} is not available"),
        "the backup stands, but it is not proven by a restore",
        PROVE_AGAIN,
    ))
}

/// Asks for the deletion of a backup's instance, and says how far it is. A second call is success.
///
/// # Errors
/// [`InstancesError`]; the state machine tries again, and the failure rule after it.
pub async fn drop_instance(
    instances: &dyn Instances,
    backup_id: BackupId,
) -> Result<InstanceProgress, StepError> {
    let name = InstanceName::for_backup(backup_id);
    if instances.describe(&name).await?.is_none() {
        return Ok(InstanceProgress::Gone);
    }
    instances.delete(&name).await?;
    let left = instances.describe(&name).await?;
    Ok(if left.is_some() { InstanceProgress::Deleting } else { InstanceProgress::Gone })
}

/// Between two tries to drop an instance that RDS still creates.
const BETWEEN_DROPS: Duration = Duration::from_secs(5);

/// Drops an instance that may still be in creation: RDS refuses to delete it then, so this asks again until `until`, and
/// at least once.
///
/// # Errors
/// The last refusal, when the time was over.
pub async fn drop_instance_patiently(
    instances: &dyn Instances,
    backup_id: BackupId,
    clock: &dyn Clock,
    until: Timestamp,
) -> Result<InstanceProgress, StepError> {
    loop {
        let dropped = drop_instance(instances, backup_id).await;
        // Anything but "not now" will be refused again.
        let is_too_early = matches!(&dropped, Err(error) if error.class() == FailureClass::Transient);
        if !is_too_early || clock.now() + BETWEEN_DROPS > until {
            return dropped;
        }
        clock.sleep(BETWEEN_DROPS).await;
    }
}

/// The longest that a function which asks for an instance may go on after its execution was stopped: as its timeout in
/// `infra/template.yaml`.
pub const LATE_CREATION: Duration = Duration::from_secs(60);

/// Drops the instance at once, and what was created behind that: stopping an execution does not stop the function that it had called,
/// and this one may be about to create the instance. A second call is success.
///
/// # Errors
/// As [`drop_instance_patiently`].
pub async fn drop_late_instance(
    instances: &dyn Instances,
    backup_id: BackupId,
    clock: &dyn Clock,
    until: Timestamp,
) -> Result<InstanceProgress, StepError> {
    // What stands already goes at once; whether it went is seen below.
    drop(drop_instance(instances, backup_id).await);
    clock.sleep(LATE_CREATION).await;
    drop_instance_patiently(instances, backup_id, clock, until).await
}
