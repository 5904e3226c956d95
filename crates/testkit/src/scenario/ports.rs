//! The ports as the steps see them: the twins, with the faults of one script.

use crate::memory_instances::INSTANCE_SECRET;
use crate::{
    Faults, Faulty, MemoryCatalog, MemoryInstances, MemoryKeyHolder, MemoryNotices, MemorySecrets,
    MemorySource, MemoryTarget,
};
use keepsake_steps::ports::{
    AlertLog, Copies, Executions, Holds, Instances, KeyHolder, Leases, Notices, Policies, Secrets, Source,
    Target, Tests,
};
use std::sync::Arc;

/// Reference of the source's secret.
pub(super) const SOURCE_SECRET: &str = "secret/wedsync";

/// Every port but the repositories, whose scripts are their own.
pub struct Ports {
    /// The script.
    pub faults: Arc<Faults>,
    /// Policies.
    pub policies: Faulty<dyn Policies>,
    /// Leases.
    pub leases: Faulty<dyn Leases>,
    /// Runs.
    pub executions: Faulty<dyn Executions>,
    /// Who holds snapshots.
    pub holds: Arc<Faulty<dyn Holds>>,
    /// Copies.
    pub copies: Faulty<dyn Copies>,
    /// Test restores.
    pub tests: Faulty<dyn Tests>,
    /// Which notices were sent.
    pub alert_log: Faulty<dyn AlertLog>,
    /// The topic.
    pub notices: Faulty<dyn Notices>,
    /// The key service.
    pub key_holder: Faulty<dyn KeyHolder>,
    /// The secrets of source and throwaway instances.
    pub secrets: Faulty<dyn Secrets>,
    /// The provider of throwaway instances.
    pub instances: Faulty<dyn Instances>,
    /// The source.
    pub source: Arc<Faulty<dyn Source>>,
}

impl Ports {
    pub(super) fn new(
        faults: Faults,
        catalog: &Arc<MemoryCatalog>,
        notices: &Arc<MemoryNotices>,
        instances: &Arc<MemoryInstances>,
        key_holder: &MemoryKeyHolder,
        source: &Arc<MemorySource>,
    ) -> Self {
        let faults = &Arc::new(faults);
        let url = "postgres://keepsake@memory/wedsync".parse().expect("a valid URL");
        let secrets = [SOURCE_SECRET, INSTANCE_SECRET];
        let secrets =
            secrets.iter().fold(MemorySecrets::new(), |all, name| all.with(name, Clone::clone(&url)));
        Self {
            faults: Arc::clone(faults),
            policies: Faulty::new(Arc::clone(catalog) as _, faults),
            leases: Faulty::new(Arc::clone(catalog) as _, faults),
            executions: Faulty::new(Arc::clone(catalog) as _, faults),
            holds: Arc::new(Faulty::new(Arc::clone(catalog) as _, faults)),
            copies: Faulty::new(Arc::clone(catalog) as _, faults),
            tests: Faulty::new(Arc::clone(catalog) as _, faults),
            alert_log: Faulty::new(Arc::clone(catalog) as _, faults),
            notices: Faulty::new(Arc::clone(notices) as _, faults),
            key_holder: Faulty::new(Arc::new(key_holder.clone()) as _, faults),
            secrets: Faulty::new(Arc::new(secrets) as _, faults),
            instances: Faulty::new(Arc::clone(instances) as _, faults),
            source: Arc::new(Faulty::new(Arc::clone(source) as _, faults)),
        }
    }

    /// A target, with the faults of the same script.
    #[must_use]
    pub fn target(&self, target: MemoryTarget) -> Faulty<dyn Target> {
        Faulty::new(Arc::new(target) as _, &self.faults)
    }
}
