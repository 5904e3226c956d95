//! Fresh catalogs on the test cluster: a database each, migrated, with the suite's policy.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each of them uses a part")]

use async_trait::async_trait;
use keepsake_domain::{BackupId, ConnectionUrl};
use keepsake_postgres::catalog::{Declaration, PostgresCatalog};
use keepsake_testkit::catalog_suite::{Catalog, CatalogBench};
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use uuid::Uuid;

/// What the suite's claims and the tests here stand on.
pub const DECLARATION: &str = r#"{
  "sources": [{"name": "wedsync", "provider": "supabase", "connection_secret": "env:WEDSYNC_URL"}],
  "locations": [
    {"name": "main", "url": "s3://suite/main", "region": "eu-central-1", "kms_key_id": "alias/main"},
    {"name": "copy", "url": "s3://suite/copy", "region": "eu-west-1"},
    {"name": "folder", "url": "file:///suite", "region": "local", "storage_type": "on_premise"}
  ],
  "policies": [{
    "name": "wedsync-nightly", "source": "wedsync", "primary": "main", "copies": ["copy"],
    "kms_key_id": "alias/suite", "recovery_recipients": ["age1maeq8lhyy5554azj4w3md27r0j88am77tjm4rwdxh9elq5lh8g5smnc06x"], "schedule_cron": "cron(0 2 * * ? *)",
    "timezone": "Europe/Vienna"
  }]
}"#;

/// One login per role, made once for the cluster; all share a password that nothing else has.
const LOGINS: [&str; 3] = ["function", "viewer", "admin"];

/// A fresh database, migrated and declared.
pub struct Fresh {
    superuser: String,
    database: String,
}

impl Fresh {
    /// An empty database without schema.
    pub async fn empty() -> Self {
        let superuser = std::env::var("KEEPSAKE_TEST_CATALOG_URL")
            .expect("KEEPSAKE_TEST_CATALOG_URL is not set: run cargo x test, which starts a cluster");
        let database = format!("catalog_{}", Uuid::now_v7().simple());
        let fresh = Self { superuser, database };
        fresh
            .client("postgres", None)
            .await
            .batch_execute(&format!("create database {}", fresh.database))
            .await
            .unwrap();
        fresh
    }

    /// A migrated database without policies.
    pub async fn migrated() -> Self {
        let fresh = Self::empty().await;
        PostgresCatalog::migrate(&fresh.url(None)).await.unwrap();
        let logins = LOGINS.map(|role| {
            format!(
                "do $$ begin create role keepsake_suite_{role} login password 'suite-secret' in role keepsake_{role};
                 exception when duplicate_object or unique_violation then null; end $$;"
            )
        });
        // Roles belong to the cluster; two tests that create one at once must not trip over each other.
        let lock = "select pg_advisory_xact_lock(1)";
        let statements = format!("begin; {lock}; {} commit", logins.concat());
        fresh.client("postgres", None).await.batch_execute(&statements).await.unwrap();
        fresh
    }

    /// A migrated database with [`DECLARATION`].
    pub async fn declared() -> Self {
        let fresh = Self::migrated().await;
        let declaration = Declaration::parse(DECLARATION).unwrap();
        fresh.catalog("admin").await.apply(&declaration, "the bench").await.unwrap();
        fresh
    }

    /// The catalog as a login of this role.
    pub async fn catalog(&self, role: &str) -> PostgresCatalog {
        PostgresCatalog::connect(self.url(Some(role))).await.unwrap()
    }

    /// The database as its superuser, or as a role's login.
    pub fn url(&self, role: Option<&str>) -> ConnectionUrl {
        self.text(&self.database, role).parse().unwrap()
    }

    /// A plain connection.
    pub async fn sql(&self, role: Option<&str>) -> Client {
        self.client(&self.database, role).await
    }

    /// One text that a superuser reads.
    pub async fn text_of(&self, statement: &str) -> String {
        self.sql(None).await.query_one(statement, &[]).await.unwrap().get(0)
    }

    async fn client(&self, database: &str, role: Option<&str>) -> Client {
        keepsake_postgres::connect(&self.text(database, role).parse().unwrap()).await.unwrap()
    }

    fn text(&self, database: &str, role: Option<&str>) -> String {
        let (base, options) = self.superuser.split_once('?').unwrap_or((&self.superuser, ""));
        let (scheme, rest) = base.split_once("://").unwrap();
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let authority = match role {
            Some(role) => format!("keepsake_suite_{role}:suite-secret@{host}"),
            None => authority.to_owned(),
        };
        format!("{scheme}://{authority}/{database}?{options}")
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let (url, database) = (self.text("postgres", None), self.database.clone());
        // A failed test leaves its database for a look; the cluster is a throwaway anyway.
        if std::thread::panicking() {
            return;
        }
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = keepsake_postgres::connect(&url.parse().unwrap()).await.unwrap();
                client
                    .batch_execute(&format!("drop database if exists {database} with (force)"))
                    .await
                    .unwrap();
            });
        });
        dropping.join().unwrap();
    }
}

/// Catalogs for the contract suite, used as the functions use them.
#[derive(Default)]
pub struct Functions {
    fresh: OnceCell<Fresh>,
}

#[async_trait]
impl CatalogBench for Functions {
    async fn catalogs(&self, handles: usize) -> Vec<Arc<dyn Catalog>> {
        let fresh = self.fresh.get_or_init(Fresh::declared).await;
        let mut catalogs: Vec<Arc<dyn Catalog>> = Vec::new();
        for _ in 0..handles {
            catalogs.push(Arc::new(fresh.catalog("function").await));
        }
        catalogs
    }

    /// Part of a second really goes by; more than that is written into the rows.
    async fn pass(&self, time: Duration) {
        if time < Duration::from_secs(1) {
            return tokio::time::sleep(time).await;
        }
        let age =
            "update keepsake.snapshot_holds set heartbeat_at = heartbeat_at - make_interval(secs => $1)";
        let client = self.fresh.get().unwrap().sql(None).await;
        client.execute(age, &[&time.as_secs_f64()]).await.unwrap();
    }

    async fn copy_status(&self, backup_id: BackupId) -> (String, Option<String>) {
        let statement = "select status, error from keepsake.backup_copies where snapshot_id = $1";
        let client = self.fresh.get().unwrap().sql(None).await;
        let row = client.query_one(statement, &[&backup_id.0]).await.unwrap();
        (row.get(0), row.get(1))
    }
}
