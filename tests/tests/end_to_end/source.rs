//! A source of its own for each test: database, secret, policy.

use crate::cloud::{Cloud, connect};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

pub struct TestSource {
    pub policy: String,
    pub name: String,
    pub url: String,
    secret: String,
}

impl TestSource {
    /// Makes a database with what `schema` says, and a policy for it; `policy` overrides the policy's fields, and may name
    /// `locations` that are declared beside it.
    pub async fn create(cloud: &Cloud, schema: &str, policy: Value) -> Self {
        let name = format!("s{}", &Uuid::now_v7().simple().to_string()[16..]);
        let admin = connect(&cloud.source_url()).await;
        admin.batch_execute(&format!("create database {name}")).await.unwrap();
        let url = format!("{}/{name}", cloud.source_url().rsplit_once('/').unwrap().0);
        connect(&url).await.batch_execute(schema).await.unwrap();
        let made = cloud
            .aws(&["secretsmanager", "create-secret", "--name", &name, "--secret-string", &url])
            .unwrap();
        let secret = made["ARN"].as_str().unwrap().to_owned();
        let source = Self { policy: format!("{name}-policy"), name, url, secret };
        source.declare(cloud, policy);
        source
    }

    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Replaces the secret's content.
    pub fn set_secret(&self, cloud: &Cloud, url: &str) {
        cloud
            .aws(&["secretsmanager", "put-secret-value", "--secret-id", &self.secret, "--secret-string", url])
            .unwrap();
    }

    /// Declares the policy anew, with these fields.
    pub fn change(&self, cloud: &Cloud, policy: Value) {
        self.declare(cloud, policy);
    }

    /// Name of the source's replication slot and publication.
    pub fn slot(&self) -> String {
        format!("keepsake_{}", self.name)
    }

    /// Somebody drops the slot.
    pub async fn drop_slot(&self) {
        self.client()
            .await
            .query_one("select pg_drop_replication_slot($1)::text", &[&self.slot()])
            .await
            .unwrap();
    }

    /// Gives the server its slot back: it has 20 for all tests.
    pub async fn unprotect(&self) {
        self.drop_slot().await;
    }

    /// Restores the newest state that stands, changes and all.
    pub async fn restore_newest(&self, cloud: &Cloud) -> Client {
        let repository = cloud.text("repository");
        // Names the source: the repository holds more than one.
        let backup_id = self.newest_backup(cloud, &repository);
        self.restore_with(cloud, &repository, &["--backup", &backup_id, "--latest"]).await
    }

    fn declare(&self, cloud: &Cloud, overrides: Value) {
        let recipient = recovery_recipient(&cloud.text("recovery_key"));
        let mut policy = json!({
            "name": self.policy,
            "source": self.name,
            "primary": "first-region",
            "copies": ["second-region"],
            "kms_key_id": cloud.output("BackupKeyArn"),
            "recovery_recipients": [recipient],
            "schedule_cron": "cron(0 2 * * ? *)",
            "relay_seconds": 60,
            "notify_success": true,
            "test_restore": true,
        });
        let mut overrides = overrides;
        let locations = overrides.as_object_mut().unwrap().remove("locations").unwrap_or_else(|| json!([]));
        for (name, value) in overrides.as_object().unwrap() {
            policy[name] = value.clone();
        }
        let declaration = json!({
            "sources": [{"name": self.name, "provider": "plain", "connection_secret": self.secret}],
            "locations": locations,
            "policies": [policy],
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("declaration.json");
        std::fs::write(&file, declaration.to_string()).unwrap();
        let catalog = std::env::var("KEEPSAKE_TEST_CATALOG_URL").unwrap();
        let applied = std::process::Command::new(cloud.text("keepsake"))
            .args(["catalog", "apply", file.to_str().unwrap(), "--catalog", "env:CATALOG"])
            .env("CATALOG", catalog)
            .output()
            .unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }

    /// Restores the newest backup from `repository` by the command line and the recovery key into a new database.
    pub async fn restore_from(&self, cloud: &Cloud, repository: &str) -> Client {
        let backup_id = self.newest_backup(cloud, repository);
        self.restore_with(cloud, repository, &["--backup", &backup_id]).await
    }

    /// Restores from the second region with nothing but what it has: the copy, and the key's replica there.
    pub async fn restore_in_second_region(&self, cloud: &Cloud, what: &[&str]) -> Client {
        let repository = cloud.text("copy_repository");
        let backup_id = self.newest_backup(cloud, &repository);
        let url = self.new_target(cloud).await;
        let restore = ["restore", "--repo", &repository, "--to", &url, "--kms", "--backup", &backup_id];
        let restored = cloud.keepsake_in("eu-west-1", &[restore.as_slice(), what].concat());
        let said = String::from_utf8_lossy(&restored.stderr).into_owned();
        assert!(restored.status.success(), "{said}{}", String::from_utf8_lossy(&restored.stdout));
        connect(&url).await
    }

    async fn new_target(&self, cloud: &Cloud) -> String {
        let target = format!("{}_restored", self.name);
        let admin = connect(&cloud.source_url()).await;
        admin.batch_execute(&format!("drop database if exists {target}; ")).await.unwrap();
        admin.batch_execute(&format!("create database {target} template template0")).await.unwrap();
        format!("{}/{target}", cloud.source_url().rsplit_once('/').unwrap().0)
    }

    async fn restore_with(&self, cloud: &Cloud, repository: &str, what: &[&str]) -> Client {
        let url = self.new_target(cloud).await;
        let key = cloud.text("recovery_key");
        let restore = ["restore", "--repo", repository, "--to", &url, "--key-file", &key];
        let restored = cloud.keepsake(&[restore.as_slice(), what].concat());
        let said = String::from_utf8_lossy(&restored.stderr).into_owned();
        assert!(restored.status.success(), "{said}{}", String::from_utf8_lossy(&restored.stdout));
        connect(&url).await
    }

    /// Backups of this source that stand in a repository, oldest first.
    pub fn backups(&self, cloud: &Cloud, repository: &str) -> Vec<String> {
        let bucket = repository.trim_start_matches("s3://").split('/').next().unwrap().to_owned();
        let prefix = format!("archive/{}/", self.name);
        let listed =
            cloud.aws(&["s3api", "list-objects-v2", "--bucket", &bucket, "--prefix", &prefix]).unwrap();
        let keys =
            listed["Contents"].as_array().into_iter().flatten().filter_map(|object| object["Key"].as_str());
        let manifests = keys.filter(|key| key.ends_with("/manifest.json"));
        let mut ids: Vec<String> = manifests.map(|key| key.rsplit('/').nth(1).unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    fn newest_backup(&self, cloud: &Cloud, repository: &str) -> String {
        self.backups(cloud, repository).pop().expect("a backup of this source stands")
    }
}

fn recovery_recipient(key_file: &str) -> String {
    let text = std::fs::read_to_string(key_file).unwrap();
    let start = text.find("age1").unwrap();
    text[start..].split_whitespace().next().unwrap().to_owned()
}

/// Every row of a table as text, sorted, so that two databases can be compared by rows.
pub async fn rows(client: &Client, table: &str) -> Vec<String> {
    let sql = format!("select t::text from {table} t order by t::text");
    let rows = client.query(&sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
