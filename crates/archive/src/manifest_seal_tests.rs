#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Write;
use std::process::Command;

const KEY: &str = "wedsync/7-1-5/full/00000000-0000-0000-0000-000000000001/manifest.json";

fn seal_key(byte: &str) -> SealKey {
    SealKey::try_from(byte.repeat(32)).unwrap()
}

fn sealed() -> Vec<u8> {
    seal(b"{\n  \"format_version\": 1,\n  \"rows\": 7\n}".to_vec(), &seal_key("07"))
}

#[test]
fn what_was_sealed_is_read_and_still_json() {
    let bytes = sealed();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["rows"], 7);
    ManifestSeal::read(KEY, &bytes).unwrap().unwrap().check(KEY, &seal_key("07")).unwrap();
}

#[test]
fn any_changed_byte_is_found_by_the_digest_or_leaves_no_seal() {
    let bytes = sealed();
    for place in 0..bytes.len() {
        for flip in [1, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[place] ^= flip;
            assert!(!matches!(ManifestSeal::read(KEY, &changed), Ok(Some(_))), "byte {place} by {flip:#x}");
        }
    }
}

#[test]
fn whoever_seals_again_without_the_key_is_found_by_the_mac() {
    let forged = seal(b"{\n  \"format_version\": 1,\n  \"rows\": 8\n}".to_vec(), &seal_key("08"));
    let seal = ManifestSeal::read(KEY, &forged).unwrap().unwrap();
    assert!(matches!(seal.check(KEY, &seal_key("07")), Err(ManifestError::Forged { .. })));
}

#[test]
fn the_seal_key_follows_from_the_backups_key_alone_and_shows_nothing_of_it() {
    let (one, other) = (BackupIdentity::generate(), BackupIdentity::generate());
    assert_eq!(one.seal_key(), one.seal_key());
    assert_ne!(one.seal_key(), other.seal_key());
    assert_eq!(format!("{:?}", one.seal_key()), "SealKey(…)");
    let json = serde_json::to_string(&one.seal_key()).unwrap();
    assert_eq!(serde_json::from_str::<SealKey>(&json).unwrap(), one.seal_key());
}

/// What the module says about checking by hand, with the tools that it names.
#[test]
fn coreutils_alone_compare_a_manifest_with_its_digest() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sealed()).unwrap();
    let shown = Command::new("sh").args(["-c", "head -n -3 \"$0\" | sha256sum"]).arg(file.path()).output();
    let value: serde_json::Value = serde_json::from_slice(&sealed()).unwrap();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert_eq!(shown.split_whitespace().next(), value["seal"]["sha256"].as_str());
}
