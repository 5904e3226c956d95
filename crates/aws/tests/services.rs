//! Keys, notices and secrets, against a cloud.
#![allow(clippy::unwrap_used)]

mod support;

use keepsake_archive::{BackupIdentity, WrappedKey};
use keepsake_aws::{KmsKeyHolder, SecretsManagerSecrets, SnsNotices};
use keepsake_domain::{BackupId, Explanation, Notice, NoticeKind, Severity};
use keepsake_steps::ports::{KeyHolder, KeyHolderError, Notices, Secrets, SecretsError};
use std::collections::HashMap;
use uuid::Uuid;

async fn kms_key() -> String {
    let kms = aws_sdk_kms::Client::new(&support::cloud().await);
    kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

#[tokio::test]
async fn kms_opens_a_key_for_the_backup_it_was_wrapped_for_and_no_other() {
    let (clients, key) = (support::clients().await, kms_key().await);
    let (backup, other) = (BackupId(Uuid::now_v7()), BackupId(Uuid::now_v7()));
    let identity = BackupIdentity::generate();
    let holder = KmsKeyHolder::new(&clients, &key);
    let wrapped = holder.wrap(&identity, backup).await.unwrap();
    for opener in [holder, KmsKeyHolder::for_reading(&clients)] {
        let opened = opener.unwrap(&wrapped, backup).await.unwrap().unwrap();
        assert_eq!(opened.recipient(), identity.recipient());
        let swapped = opener.unwrap(&wrapped, other).await;
        assert!(matches!(swapped, Err(KeyHolderError::Tampered { .. })), "{swapped:?}");
    }
}

#[tokio::test]
async fn a_key_wrapped_by_another_holder_is_not_ours_and_a_missing_key_is_denied() {
    let (clients, key) = (support::clients().await, kms_key().await);
    let (backup, identity) = (BackupId(Uuid::now_v7()), BackupIdentity::generate());
    let wrapped = KmsKeyHolder::new(&clients, &key).wrap(&identity, backup).await.unwrap();
    let other = KmsKeyHolder::new(&clients, kms_key().await);
    assert!(other.unwrap(&wrapped, backup).await.unwrap().is_none());
    let offline = WrappedKey::Age { recipient: identity.recipient(), armored: String::new() };
    assert!(other.unwrap(&offline, backup).await.unwrap().is_none());
    let missing = KmsKeyHolder::new(&clients, Uuid::now_v7().to_string()).wrap(&identity, backup).await;
    assert!(matches!(missing, Err(KeyHolderError::Denied { .. })), "{missing:?}");
}

fn notice() -> Notice {
    Notice {
        kind: NoticeKind::BackupFailed,
        severity: Severity::Critical,
        source: "wedsync".to_owned(),
        execution_id: "run".to_owned(),
        backup_id: None,
        happened: "the source refused the login".to_owned(),
        explanation: Explanation { at_risk: "no new recovery point".to_owned(), next: "look".to_owned() },
    }
}

#[tokio::test]
async fn a_notice_is_handed_over_and_a_missing_topic_is_no_passing_failure() {
    let config = support::cloud().await;
    let sns = aws_sdk_sns::Client::new(&config);
    let topic = sns.create_topic().name(Uuid::now_v7().to_string()).send().await.unwrap().topic_arn.unwrap();
    let message_id = SnsNotices::new(&support::clients().await, &topic).publish(&notice()).await.unwrap();
    assert!(!message_id.is_empty());
    let missing = format!("{topic}-not-there");
    let refused = SnsNotices::new(&support::clients().await, &missing).publish(&notice()).await.unwrap_err();
    assert!(!refused.transient && refused.topic == missing, "{refused:?}");
}

#[tokio::test]
async fn a_secret_is_read_and_never_shown() {
    let (config, clients) = (support::cloud().await, support::clients().await);
    let manager = aws_sdk_secretsmanager::Client::new(&config);
    let create = async |text: &str| {
        let name = Uuid::now_v7().to_string();
        manager.create_secret().name(&name).secret_string(text).send().await.unwrap();
        name
    };
    let texts = HashMap::from([
        (create("postgres://anna:s3cret@h:1/d").await, "postgres://anna:s3cret@h:1/d"),
        (
            create(r#"{"username":"anna","password":"s/cret","host":"h","port":2,"dbname":"d"}"#).await,
            "postgres://anna:s%2Fcret@h:2/d?sslmode=require",
        ),
    ]);
    let secrets = SecretsManagerSecrets::new(&clients);
    for (name, expected) in texts {
        assert_eq!(secrets.connection(&name).await.unwrap().expose(), expected);
    }
    let managed = create(r#"{"username":"anna","password":"s3cret"}"#).await;
    let refused = secrets.connection(&managed).await.unwrap_err();
    assert!(
        matches!(refused, SecretsError::NotAConnection { .. }) && !format!("{refused:?}").contains("s3cret")
    );
    let at = secrets.connection_at(&managed, "db.example.org", 5432, "wedsync").await.unwrap();
    assert_eq!(at.expose(), "postgres://anna:s3cret@db.example.org:5432/wedsync?sslmode=require");
    let missing = secrets.connection("not there").await;
    assert!(matches!(missing, Err(SecretsError::Denied { .. })), "{missing:?}");
}
