use super::*;
use aws_sdk_rds::types::{Endpoint, MasterUserSecret};
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
