//! Keys: whoever holds one gets the backup's identity back, and nobody else; swaps and damage are told apart.
#![allow(clippy::unwrap_used)]

use keepsake_archive::{
    ArchiveLayout, BackupIdentity, ExposeSecret, KeyError, KeyFile, Recipient, RecoveryKey, WrappedKey,
    wrap_for,
};
use keepsake_domain::{BackupId, Classified, FailureClass, Lineage, Timestamp};
use std::collections::BTreeMap;
use std::io::Read;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn backup(number: u128) -> BackupId {
    BackupId(Uuid::from_u128(number))
}

fn key_of(file: &KeyFile) -> String {
    let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
    ArchiveLayout::new("wedsync", lineage, file.backup_id).unwrap().keys(file.generation)
}

fn kms() -> WrappedKey {
    let context = BTreeMap::from([("backup_id".to_owned(), backup(1).to_string())]);
    WrappedKey::Kms {
        key_id: "arn:aws:kms:eu-central-1:1:key/mrk-1".into(),
        ciphertext: vec![0, 159, 255],
        context,
    }
}

struct Fixture {
    identity: BackupIdentity,
    recovery: RecoveryKey,
    file: KeyFile,
}

fn fixture() -> Fixture {
    let (identity, recovery) = (BackupIdentity::generate(), RecoveryKey::generate(NOW));
    let other = RecoveryKey::generate(NOW);
    let holders = vec![
        kms(),
        wrap_for(&identity, &other.recipient).unwrap(),
        wrap_for(&identity, &recovery.recipient).unwrap(),
    ];
    let file = KeyFile::new(backup(1), identity.recipient(), holders, NOW).unwrap();
    Fixture { identity, recovery, file }
}

fn secret(identity: &BackupIdentity) -> String {
    identity.expose_secret().expose_secret().to_owned()
}

fn parse(file: &KeyFile) -> Result<KeyFile, KeyError> {
    KeyFile::parse(&key_of(file), &file.to_json().unwrap())
}

#[test]
fn a_key_file_reads_back_as_it_was_written() {
    let Fixture { file, .. } = fixture();
    assert_eq!(parse(&file).unwrap(), file);
    let json: serde_json::Value = serde_json::from_slice(&file.to_json().unwrap()).unwrap();
    assert_eq!(json["holders"][0]["holder"], "kms");
    assert_eq!(json["holders"][0]["ciphertext"], "AJ//");
    assert_eq!(json["holders"][2]["holder"], "age");
    assert_eq!(json["recipient"], file.recipient.to_string());
}

#[test]
fn the_recovery_key_gives_the_backups_identity_back() {
    let Fixture { identity, recovery, file } = fixture();
    let text = recovery.file_text.expose_secret();
    assert_eq!(secret(&file.unwrap_with_age(text).unwrap()), secret(&identity));
}

#[test]
fn a_file_with_comments_windows_line_ends_and_several_identities_is_read() {
    let Fixture { identity, recovery, file } = fixture();
    let stranger = RecoveryKey::generate(NOW);
    let text = format!(
        "# two keys\r\n\r\n{}\r\n  {}",
        stranger.file_text.expose_secret().replace('\n', "\r\n"),
        recovery.file_text.expose_secret()
    );
    assert_eq!(secret(&file.unwrap_with_age(&text).unwrap()), secret(&identity));
}

#[test]
fn a_key_that_is_no_holder_is_told_who_is() {
    let Fixture { recovery, file, .. } = fixture();
    let stranger = RecoveryKey::generate(NOW);
    let error = file.unwrap_with_age(stranger.file_text.expose_secret()).unwrap_err();
    assert!(matches!(&error, KeyError::NotAHolder { holders, .. } if holders.len() == 3));
    assert!(error.to_string().contains(&format!("age {}", recovery.recipient)), "{error}");
    assert!(error.explanation().next.contains("kms arn:aws:kms:eu-central-1:1:key/mrk-1"));
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[test]
fn a_damaged_holder_is_not_taken_for_a_wrong_key() {
    let Fixture { recovery, mut file, .. } = fixture();
    let WrappedKey::Age { armored, .. } = &mut file.holders[2] else { unreachable!("the third holder") };
    for damage in
        [armored.replacen("\n", "\nAAAA", 1), armored[..armored.len() / 2].to_owned(), String::new()]
    {
        let mut file = file.clone();
        file.holders[2] = WrappedKey::Age { recipient: recovery.recipient.clone(), armored: damage };
        let error = file.unwrap_with_age(recovery.file_text.expose_secret()).unwrap_err();
        assert!(matches!(error, KeyError::DamagedHolder { .. }), "{error}");
        assert_eq!(error.class(), FailureClass::Integrity);
    }
}

#[test]
fn a_key_file_that_holds_another_backups_key_is_found() {
    let Fixture { recovery, mut file, .. } = fixture();
    let other = BackupIdentity::generate();
    file.holders[2] = wrap_for(&other, &recovery.recipient).unwrap();
    let error = file.unwrap_with_age(recovery.file_text.expose_secret()).unwrap_err();
    assert!(matches!(&error, KeyError::Foreign { found, .. } if *found == other.recipient().to_string()));
    assert_eq!(error.class(), FailureClass::Integrity);
    assert!(matches!(file.recovered(secret(&other).as_bytes()), Err(KeyError::Foreign { .. })));
}

#[test]
fn what_kms_decrypted_is_taken_with_or_without_its_newline() {
    let Fixture { identity, file, .. } = fixture();
    for text in [secret(&identity), secret(&identity) + "\n"] {
        assert_eq!(file.recovered(text.as_bytes()).unwrap().recipient(), identity.recipient());
    }
    for text in [b"".as_slice(), b"AGE-SECRET-KEY-1", &[0xFF, 0xFE]] {
        assert!(matches!(file.recovered(text), Err(KeyError::NotAnIdentity)));
    }
}

#[test]
fn what_is_no_identity_file_is_refused_without_showing_it() {
    let Fixture { file, .. } = fixture();
    let text = "# comment\nAGE-SECRET-KEY-1QQQQ\n";
    let error = file.unwrap_with_age(text).unwrap_err();
    assert!(matches!(error, KeyError::NotAnIdentityFile { line: 2 }));
    assert!(!format!("{error} {error:?}").contains("QQQQ"));
    assert!(matches!(file.unwrap_with_age("# nothing\n"), Err(KeyError::NotAnIdentity)));
}

#[test]
fn the_next_generation_keeps_the_key_pair_and_has_other_holders() {
    let Fixture { identity, recovery, file } = fixture();
    let fresh = RecoveryKey::generate(NOW);
    let holders = vec![wrap_for(&identity, &fresh.recipient).unwrap()];
    let next = parse(&file.next_generation(&identity, holders.clone(), NOW).unwrap()).unwrap();
    assert_eq!((next.generation, &next.recipient), (2, &file.recipient));
    assert!(key_of(&next) > key_of(&file));
    assert_eq!(secret(&next.unwrap_with_age(fresh.file_text.expose_secret()).unwrap()), secret(&identity));
    assert!(matches!(
        next.unwrap_with_age(recovery.file_text.expose_secret()),
        Err(KeyError::NotAHolder { .. })
    ));
    let stranger = BackupIdentity::generate();
    assert!(matches!(file.next_generation(&stranger, holders, NOW), Err(KeyError::Foreign { .. })));
}

#[test]
fn there_is_no_key_without_a_holder() {
    let Fixture { identity, file, .. } = fixture();
    let none = KeyFile::new(backup(1), identity.recipient(), vec![], NOW);
    assert!(matches!(none, Err(KeyError::NoHolders { .. })));
    assert!(matches!(file.next_generation(&identity, vec![], NOW), Err(KeyError::NoHolders { .. })));
}

#[test]
fn another_version_is_told_apart_from_damage_and_contradiction() {
    let Fixture { file, .. } = fixture();
    let key = key_of(&file);
    let edited = |field: &str, value: serde_json::Value| {
        let mut json = serde_json::to_value(&file).unwrap();
        json[field] = value;
        KeyFile::parse(&key, &serde_json::to_vec(&json).unwrap()).unwrap_err()
    };
    assert!(matches!(edited("format_version", 2.into()), KeyError::UnknownVersion { found: 2, .. }));
    assert!(matches!(edited("format_version", 0.into()), KeyError::UnknownVersion { found: 0, .. }));
    for (field, value) in [("format_version", "1".into()), ("recipient", "age1x".into()), ("more", 1.into())]
    {
        assert!(matches!(edited(field, value), KeyError::Damaged { .. }), "{field}");
    }
    let contradictions = [
        ("fingerprint", "00".into()),
        ("generation", 2.into()),
        ("backup_id", backup(2).to_string().into()),
        ("recipient", BackupIdentity::generate().recipient().to_string().into()),
        ("holders", serde_json::json!([])),
    ];
    for (field, value) in contradictions {
        assert!(matches!(edited(field, value), KeyError::Contradiction { .. }), "{field}");
    }
    let bytes = file.to_json().unwrap();
    for end in 0..bytes.len() {
        assert!(matches!(KeyFile::parse(&key, &bytes[..end]), Err(KeyError::Damaged { .. })), "{end}");
    }
}

#[test]
fn the_wrapped_text_is_an_identity_file_for_age() {
    let Fixture { identity, recovery, file } = fixture();
    let WrappedKey::Age { armored, .. } = &file.holders[2] else { unreachable!("the third holder") };
    let file_text = recovery.file_text.expose_secret();
    let offline: age::x25519::Identity = file_text.lines().last().unwrap().parse().unwrap();
    let mut text = String::new();
    age::Decryptor::new(age::armor::ArmoredReader::new(armored.as_bytes()))
        .unwrap()
        .decrypt(std::iter::once(&offline as &dyn age::Identity))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, secret(&identity) + "\n");
}

#[test]
fn a_recipient_prints_as_it_was_read_and_has_a_fixed_fingerprint() {
    let text = "age1ehm8cx8c3uecvmp0yf6x48u586gkgplq0aq6udv9hvk0w62xcv5q6rvqve";
    let recipient: Recipient = text.parse().unwrap();
    assert_eq!(recipient.to_string(), text);
    assert_eq!(recipient.fingerprint(), FINGERPRINT);
    for text in ["", "age1", "AGE-SECRET-KEY-1", &text[..60]] {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
    }
}

const FINGERPRINT: &str = "683452bfd42c3c3f10a9324a2b250ed6dee393f056beef01cdcbdf504d2e8443";

#[test]
fn nothing_of_a_key_shows_in_debug() {
    let Fixture { identity, file, .. } = fixture();
    let shown = format!("{identity:?} {:?} {file:?}", identity.expose_secret());
    assert!(!shown.contains("AGE-SECRET-KEY") && shown.contains(&identity.recipient().to_string()));
}
