//! A whole backup with copy and test restore on the twins, in the order of the state machines.
//!
//! It waits by tokio's clock, which a test pauses (`#[tokio::test(start_paused = true)]`): nothing sleeps for real,
//! and time goes on only when every task waits.

mod backup;
mod check;
mod clock;
mod machine;
mod ports;
mod replicate;
mod sample;
mod test_restore;
mod verify;

pub use clock::TokioClock;
pub use machine::Failed;
pub use ports::Ports;
pub use sample::{MARKER, sample};

use crate::{
    Faults, FaultyRepository, Gate, MemoryCatalog, MemoryInstances, MemoryKeyHolder, MemoryNotices,
    MemoryRepository, MemorySource, MemoryTarget,
};
use keepsake_archive::RecoveryKey;
use keepsake_domain::{InstanceName, LocationId, PolicyId, SourceId};
use keepsake_steps::ports::{Clock, Policy, PolicyCopy, PolicySource, Provider, Repository};
use keepsake_steps::{Dumper, Run, Work};
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// What a scenario is run with.
#[derive(Default)]
pub struct Setting {
    /// Faults of the archive's repository.
    pub primary: Faults,
    /// Faults of the work bucket.
    pub work: Faults,
    /// Faults of the copy's repository.
    pub copy: Faults,
    /// Faults of all other ports.
    pub ports: Faults,
    /// Opened once the run is over, so that held answers come then.
    pub gate: Gate,
    /// Every step is called twice in a row, as after a lost answer.
    pub repeats_steps: bool,
}

/// One environment: source, repositories, catalog, topic, provider; and the runs in it.
pub struct Scenario {
    /// Time.
    pub clock: Arc<TokioClock>,
    /// The source.
    pub source: Arc<MemorySource>,
    /// The archive's repository without its faults.
    pub primary: Arc<MemoryRepository>,
    /// The work bucket without its faults.
    pub work: Arc<MemoryRepository>,
    /// The copy's repository without its faults.
    pub copy: Arc<MemoryRepository>,
    /// The catalog.
    pub catalog: Arc<MemoryCatalog>,
    /// The topic.
    pub notices: Arc<MemoryNotices>,
    /// The provider of throwaway instances.
    pub instances: Arc<MemoryInstances>,
    /// The key service.
    pub key_holder: MemoryKeyHolder,
    /// The offline recovery key.
    pub recovery: RecoveryKey,
    /// As the steps see it: with its faults.
    pub faulty_primary: Arc<dyn Repository>,
    /// As the steps see it: with its faults.
    pub faulty_work: Arc<dyn Repository>,
    /// As the steps see it: with its faults.
    pub faulty_copy: Arc<dyn Repository>,
    /// The scripts of primary, work and copy.
    pub faults: [Arc<Faults>; 3],
    /// All other ports as the steps see them: with their faults.
    pub ports: Ports,
    gate: Gate,
    repeats_steps: bool,
    targets: Mutex<HashMap<InstanceName, MemoryTarget>>,
    live: Arc<AtomicUsize>,
}

impl Scenario {
    /// A fresh environment with one policy, `nightly`, over [`sample`].
    #[must_use]
    pub fn new(setting: Setting) -> Arc<Self> {
        Self::with_instances(setting, MemoryInstances::new())
    }

    /// The same with a provider of its own kind.
    #[must_use]
    pub fn with_instances(setting: Setting, instances: MemoryInstances) -> Arc<Self> {
        let clock = Arc::new(TokioClock::at("2026-11-21T01:00:00Z".parse().expect("valid")));
        let repository = |kind: &str| Arc::new(MemoryRepository::new(&format!("{kind}-{}", Uuid::now_v7())));
        let (primary, work, copy) = (repository("primary"), repository("work"), repository("copy"));
        let faults = [Arc::new(setting.primary), Arc::new(setting.work), Arc::new(setting.copy)];
        let faulty = |inner: &Arc<MemoryRepository>, faults: &Arc<Faults>| -> Arc<dyn Repository> {
            Arc::new(FaultyRepository::new(Arc::clone(inner) as Arc<dyn Repository>, Arc::clone(faults)))
        };
        let recovery = RecoveryKey::generate(clock.now());
        let catalog = Arc::new(MemoryCatalog::new(Arc::clone(&clock) as Arc<dyn Clock>));
        catalog.add_policy(policy(&primary.url(), &copy.url(), &recovery));
        let source = Arc::new(MemorySource::new(Arc::clone(&clock) as Arc<dyn Clock>, sample()));
        let (notices, instances) = (Arc::new(MemoryNotices::new()), Arc::new(instances));
        let key_holder = MemoryKeyHolder::new("arn:aws:kms:eu-central-1:1:key/mrk-1");
        let ports = Ports::new(setting.ports, &catalog, &notices, &instances, &key_holder, &source);
        Arc::new(Self {
            source,
            ports,
            faulty_primary: faulty(&primary, &faults[0]),
            faulty_work: faulty(&work, &faults[1]),
            faulty_copy: faulty(&copy, &faults[2]),
            clock,
            primary,
            work,
            copy,
            catalog,
            notices,
            instances,
            key_holder,
            recovery,
            faults,
            gate: setting.gate,
            repeats_steps: setting.repeats_steps,
            targets: Mutex::default(),
            live: Arc::default(),
        })
    }

    /// What dump and upload need.
    #[must_use]
    pub fn dumper(&self, run: &Run) -> Dumper {
        Dumper {
            source: Arc::clone(&self.ports.source) as _,
            holds: Arc::clone(&self.ports.holds) as _,
            repository: Arc::clone(&self.faulty_primary),
            work: self.work_of(run),
            clock: Arc::clone(&self.clock) as _,
        }
    }

    /// The work objects of a run.
    #[must_use]
    pub fn work_of(&self, run: &Run) -> Work {
        Work::new(Arc::clone(&self.faulty_work), run.backup_id)
    }

    /// The database in the throwaway instance of that name.
    #[must_use]
    pub fn target(&self, name: &InstanceName) -> MemoryTarget {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(name.clone()).or_default().clone()
    }
}

fn policy(primary: &str, copy: &str, recovery: &RecoveryKey) -> Policy {
    let place = |number: u128, repository: &str, region: &str| PolicyCopy {
        location_id: LocationId(Uuid::from_u128(number)),
        repository: repository.to_owned(),
        region: region.to_owned(),
    };
    Policy {
        id: PolicyId(Uuid::from_u128(1)),
        name: "nightly".to_owned(),
        is_active: true,
        source: PolicySource {
            id: SourceId(Uuid::from_u128(2)),
            name: "wedsync".to_owned(),
            provider: Provider::Supabase,
            connection_secret: ports::SOURCE_SECRET.to_owned(),
        },
        primary: place(3, primary, "eu-central-1"),
        copies: vec![place(4, copy, "eu-west-1")],
        kms_key_id: "arn:aws:kms:eu-central-1:1:key/mrk-1".to_owned(),
        recovery_recipients: vec![recovery.recipient.to_string()],
        relay_seconds: 840,
        part_size_bytes: 400,
        max_parallel_jobs: 2,
        limits: keepsake_domain::SourceLimits::default(),
        compression: 1,
        test_restore: true,
        notify_success: true,
        capture: keepsake_domain::CapturePolicy::default(),
    }
}
