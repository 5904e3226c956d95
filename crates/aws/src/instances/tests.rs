use super::*;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_rds::types::{Endpoint, MasterUserSecret};
use keepsake_domain::{Classified, FailureClass};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use uuid::Uuid;

const BACKUP: BackupId = BackupId(Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057));

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[test]
fn only_both_tags_of_this_very_backup_make_an_instance_ours() {
    let name = InstanceName::for_backup(BACKUP);
    let with = |tags: Vec<Tag>| is_tagged(&name, &DbInstance::builder().set_tag_list(Some(tags)).build());
    let (purpose, backup) = (tag(PURPOSE.0, PURPOSE.1), tag(BACKUP_ID, &BACKUP.to_string()));
    assert!(with(vec![tag("team", "data"), purpose.clone(), backup.clone()]));
    assert!(!with(vec![]));
    assert!(!with(vec![purpose.clone()]));
    assert!(!with(vec![backup.clone()]));
    assert!(!with(vec![purpose, tag(BACKUP_ID, &Uuid::from_u128(7).to_string())]));
    assert!(!with(vec![tag(PURPOSE.0, "production"), backup]));
}

#[test]
fn available_is_only_what_can_be_connected_to() {
    let secret =
        |status: &str| MasterUserSecret::builder().secret_arn("arn:secret").secret_status(status).build();
    let endpoint = Endpoint::builder().address("db.example.org").port(5432).build();
    let instance = |secret| {
        let built = DbInstance::builder().db_instance_status("available").endpoint(endpoint.clone());
        status(&built.master_user_secret(secret).build())
    };
    assert_eq!(instance(secret("creating")), InstanceStatus::Preparing);
    let (host, secret_arn) = ("db.example.org".to_owned(), "arn:secret".to_owned());
    assert_eq!(
        instance(secret("active")),
        InstanceStatus::Available { host, port: 5432, secret: secret_arn }
    );
}

#[test]
fn states_that_never_end_well_are_broken() {
    let of = |text: &str| status(&DbInstance::builder().db_instance_status(text).build());
    for text in ["failed", "incompatible-network", "inaccessible-encryption-credentials", "storage-full"] {
        assert_eq!(of(text), InstanceStatus::Broken(text.to_owned()));
    }
    for text in ["creating", "backing-up", "modifying", "configuring-enhanced-monitoring", "something-new"] {
        assert_eq!(of(text), InstanceStatus::Preparing);
    }
    assert_eq!(of("deleting"), InstanceStatus::Deleting);
}

/// RDS that answers each call with the next of these, status and body. What is asked beyond them finds nobody.
fn rds(script: Vec<(u16, String)>) -> RdsInstances {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for (status, body) in script {
            let (stream, _) = listener.accept().expect("a call");
            read_call(&stream);
            let length = body.len();
            write!(
                &stream,
                "HTTP/1.1 {status} -\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .expect("an answer");
        }
    });
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
        .build();
    let settings = RdsSettings {
        instance_class: "db.t4g.medium".to_owned(),
        subnet_group: None,
        security_group_ids: Vec::new(),
        kms_key_id: None,
    };
    RdsInstances { client: aws_sdk_rds::Client::new(&config), settings }
}

fn read_call(stream: &std::net::TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).expect("a header") > 2 {
        if let Some((_, number)) = line.to_lowercase().split_once("content-length:") {
            length = number.trim().parse().expect("a length");
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
}

fn refusal(code: &str) -> (u16, String) {
    let body =
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
    (400, body)
}

/// Ours, in this state.
fn standing(state: &str) -> (u16, String) {
    let name = InstanceName::for_backup(BACKUP);
    let tag = |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags = tag(PURPOSE.0, PURPOSE.1) + &tag(BACKUP_ID, &BACKUP.to_string());
    let body = format!(
        "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance>
         <DBInstanceIdentifier>{name}</DBInstanceIdentifier><DBInstanceStatus>{state}</DBInstanceStatus>
         <TagList>{tags}</TagList></DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
    );
    (200, body)
}

fn spec() -> InstanceSpec {
    InstanceSpec {
        name: InstanceName::for_backup(BACKUP),
        backup_id: BACKUP,
        execution_id: "run".to_owned(),
        engine_version: "15".to_owned(),
        storage_gib: 20,
        database: "keepsake_restore".to_owned(),
    }
}

#[tokio::test]
async fn spent_quotas_and_a_name_that_is_not_free_yet_are_no_room_and_no_failure() {
    for code in NO_ROOM {
        let error = rds(vec![refusal(code)]).create(&spec()).await.expect_err(code);
        assert!(matches!(error, InstancesError::NoRoom { .. }), "{code}: {error:?}");
        assert_eq!(error.class(), FailureClass::Transient);
    }
    let taken = || refusal("DBInstanceAlreadyExists");
    let error = rds(vec![taken(), standing("deleting")]).create(&spec()).await.expect_err("taken");
    assert!(matches!(error, InstancesError::NoRoom { .. }), "{error:?}");
    rds(vec![taken(), standing("creating")]).create(&spec()).await.expect("ours already");
    let error = rds(vec![refusal("InvalidVPCNetworkStateFault")]).create(&spec()).await.expect_err("wrong");
    assert!(matches!(error, InstancesError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn an_instance_that_somebody_else_deletes_meanwhile_is_deleted_and_one_in_creation_is_not_yet() {
    let name = InstanceName::for_backup(BACKUP);
    let wrong_state = || refusal(NOT_IN_THIS_STATE);
    let going = rds(vec![standing("available"), wrong_state(), standing("deleting")]);
    going.delete(&name).await.expect("it goes already");
    let gone = rds(vec![standing("available"), wrong_state(), refusal("DBInstanceNotFound")]);
    gone.delete(&name).await.expect("it is gone");
    let creating = rds(vec![standing("creating"), wrong_state(), standing("creating")]);
    let error = creating.delete(&name).await.expect_err("not yet");
    assert!(matches!(error, InstancesError::Unavailable { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
}
