//! The catalog's twin keeps the catalog's contract.

use async_trait::async_trait;
use keepsake_domain::{BackupId, LocationId, PolicyId, SourceId, Timestamp};
use keepsake_steps::ports::{Policy, PolicyCopy, PolicySource, Provider};
use keepsake_testkit::catalog_suite::{Catalog, CatalogBench, suite_policy};
use keepsake_testkit::{MemoryCatalog, TestClock};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

struct Twins {
    clock: Arc<TestClock>,
    catalog: Arc<MemoryCatalog>,
}

fn twins() -> Twins {
    let clock = Arc::new(TestClock::at(Timestamp::now()));
    let catalog = Arc::new(MemoryCatalog::new(clock.clone()));
    catalog.add_policy(policy());
    Twins { clock, catalog }
}

fn place(number: u128, repository: &str, region: &str) -> PolicyCopy {
    PolicyCopy {
        location_id: LocationId(Uuid::from_u128(number)),
        repository: repository.to_owned(),
        region: region.to_owned(),
    }
}

fn policy() -> Policy {
    Policy {
        id: PolicyId(Uuid::from_u128(1)),
        name: suite_policy().to_owned(),
        is_active: true,
        source: PolicySource {
            id: SourceId(Uuid::from_u128(2)),
            name: "wedsync".to_owned(),
            provider: Provider::Plain,
            connection_secret: "env:WEDSYNC_URL".to_owned(),
        },
        primary: place(3, "s3://suite/main", "eu-central-1"),
        copies: vec![place(4, "s3://suite/copy", "eu-west-1")],
        kms_key_id: "alias/suite".to_owned(),
        recovery_recipients: vec!["age1suite".to_owned()],
        relay_seconds: 600,
        part_size_bytes: 1 << 28,
        max_parallel_jobs: 2,
        limits: keepsake_domain::SourceLimits::default(),
        compression: 3,
        test_restore: true,
        notify_success: false,
        capture: keepsake_domain::CapturePolicy::default(),
    }
}

#[async_trait]
impl CatalogBench for Twins {
    async fn catalogs(&self, handles: usize) -> Vec<Arc<dyn Catalog>> {
        let catalog: Arc<dyn Catalog> = self.catalog.clone();
        vec![catalog; handles]
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn copy_status(&self, backup_id: BackupId) -> (String, Option<String>) {
        let copies = self.catalog.copies();
        let (copy, _) = copies.into_iter().find(|(copy, _)| copy.backup_id == backup_id).expect("a copy");
        let status = serde_json::to_value(copy.state).expect("a name").as_str().expect("a text").to_owned();
        (status, copy.error)
    }
}

keepsake_testkit::catalog_suite!(twins());
