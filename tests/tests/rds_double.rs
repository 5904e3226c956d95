//! The double of RDS behaves as RDS does, wrong calls included, and leaves nothing behind.
#![allow(clippy::unwrap_used, missing_docs)]

use aws_sdk_rds::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::types::{DbInstance, Tag};
use aws_sdk_rds::{Client, Config};
use keepsake_testkit::rds::{RdsDouble, RdsOptions};
use std::path::Path;
use std::time::Duration;

const SERVER: &str = "/usr/lib/postgresql/15/bin";
const NAME: &str = "keepsake-test-01890a5d-ac96-774b-bcce-b302099a8057";

async fn double(root: &Path, create_delay: Duration) -> (RdsDouble, Client) {
    let options = RdsOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: root.to_path_buf(),
        pg_bins: vec![SERVER.into()],
        create_delay,
        secrets_endpoint: None,
    };
    let double = RdsDouble::start(options).await.unwrap();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(double.endpoint_url())
        .build();
    (double, Client::from_conf(config))
}

/// A folder that the server's user can enter, which a temporary folder of root's may not be.
fn root() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::Builder::new().prefix("keepsake-rds-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    root
}

async fn create(client: &Client, version: &str) -> Result<(), String> {
    let create =
        client.create_db_instance().db_instance_identifier(NAME).engine("postgres").engine_version(version);
    let create = create.db_instance_class("db.t4g.medium").allocated_storage(20).db_name("keepsake_restore");
    let create = create.master_username("keepsake").master_user_password("secret-1234");
    let create = create.tags(Tag::builder().key("keepsake:backup-id").value("x").build());
    create.send().await.map(drop).map_err(|error| code(&error))
}

async fn describe(client: &Client) -> Result<DbInstance, String> {
    let found = client.describe_db_instances().db_instance_identifier(NAME).send().await;
    Ok(found.map_err(|error| code(&error))?.db_instances()[0].clone())
}

async fn delete(client: &Client, skip_final_snapshot: bool) -> Result<(), String> {
    let delete =
        client.delete_db_instance().db_instance_identifier(NAME).skip_final_snapshot(skip_final_snapshot);
    delete.send().await.map(drop).map_err(|error| code(&error))
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.code().unwrap_or("none").to_owned()
}

/// Looks until the instance is as wished, for at most a minute.
async fn until(
    client: &Client,
    wished: impl Fn(&Result<DbInstance, String>) -> bool,
) -> Result<DbInstance, String> {
    for _ in 0..600 {
        let found = describe(client).await;
        if wished(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("the instance did not become what was waited for: {:?}", describe(client).await);
}

async fn until_available(client: &Client) -> DbInstance {
    let available = |found: &Result<DbInstance, String>| {
        found.as_ref().is_ok_and(|instance| instance.db_instance_status() == Some("available"))
    };
    until(client, available).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_a_cluster_of_the_version_that_refuses_plain_connections() {
    let root = root();
    let (double, client) = double(&root.path().join("rds"), Duration::ZERO).await;

    create(&client, "15").await.unwrap();
    let instance = until_available(&client).await;

    let endpoint = instance.endpoint().unwrap();
    let (host, port) = (endpoint.address().unwrap(), endpoint.port().unwrap());
    let ask = |mode: &str| {
        std::process::Command::new("psql")
            .arg(format!("host={host} port={port} user=keepsake password=secret-1234 dbname=keepsake_restore sslmode={mode}"))
            .args(["-Atc", "show server_version_num"])
            .output()
            .unwrap()
    };
    let version = String::from_utf8(ask("require").stdout).unwrap();
    assert!(version.starts_with("15"), "{version}");
    assert!(String::from_utf8(ask("disable").stderr).unwrap().contains("no encryption"));
    assert_eq!(instance.tag_list()[0].key(), Some("keepsake:backup-id"));
    double.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_answer_as_rds_does() {
    let root = root();
    let (double, client) = double(&root.path().join("rds"), Duration::from_millis(1500)).await;

    assert_eq!(describe(&client).await.unwrap_err(), "DBInstanceNotFound");
    assert_eq!(delete(&client, true).await.unwrap_err(), "DBInstanceNotFound");
    assert_eq!(create(&client, "99").await.unwrap_err(), "InvalidParameterCombination");
    create(&client, "15").await.unwrap();
    assert_eq!(create(&client, "15").await.unwrap_err(), "DBInstanceAlreadyExists");
    assert_eq!(delete(&client, true).await.unwrap_err(), "InvalidDBInstanceState");
    assert!(until_available(&client).await.endpoint().is_some());
    assert_eq!(delete(&client, false).await.unwrap_err(), "InvalidParameterCombination");
    double.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_instance_and_a_stopped_double_leave_nothing() {
    let root = root();
    let folder = root.path().join("rds");
    let (double, client) = double(&folder, Duration::ZERO).await;
    create(&client, "15").await.unwrap();
    let port = until_available(&client).await.endpoint().unwrap().port().unwrap();

    delete(&client, true).await.unwrap();
    let gone = until(&client, Result::is_err).await.unwrap_err();

    assert_eq!(gone, "DBInstanceNotFound");
    assert!(!folder.join(NAME).exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).is_err());
    double.stop().await;
    assert!(!folder.exists());
}
