//! Whatever stands in a repository is read or refused: no panic, nothing accepted that is not consistent, and nothing
//! but the bytes that were read is held.
//!
//! Each run draws a seed and prints it. `KEEPSAKE_FUZZ_SEED` repeats one, and `KEEPSAKE_FUZZ_CASES` (2,000 without it)
//! makes a long run: `KEEPSAKE_FUZZ_CASES=2000000 cargo nextest run -p keepsake-archive fuzz`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use crate::manifest_file::tests::{key, manifest, seal_key};
use crate::manifest_seal::seal;
use crate::{
    ArchiveLayout, BackupIdentity, Content, KeyFile, Manifest, RecoveryKey, StoredObject, open, seal_bytes,
    wrap_for,
};
use age::secrecy::ExposeSecret;
use keepsake_domain::{BackupId, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::io::Read;
use uuid::Uuid;

/// What parsers stumble over.
const TOKENS: [&str; 14] = [
    "null",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"\\u0000\"",
    "../",
    "[[[[[[[[",
    "{\"a\":",
    "\"",
    "\\",
    "\u{feff}",
    "full/",
    "9999999999",
    "\n",
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Calls `case` often, each time with another generator; a panic's output ends with what repeats it.
fn fuzz(name: &str, mut case: impl FnMut(&mut StdRng)) {
    let seed = number("KEEPSAKE_FUZZ_SEED").unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1);
    let cases = number("KEEPSAKE_FUZZ_CASES").unwrap_or(2_000);
    println!("{name}: {cases} cases; repeat with KEEPSAKE_FUZZ_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..cases {
        case(&mut random);
    }
}

/// One to four changes of any kind.
fn mutated(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 64));
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            5 => drop(bytes.splice(at..end, (0..random.random_range(0..9)).map(|_| random.random::<u8>()))),
            _ => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                bytes.splice(at..end, token.bytes());
            }
        }
    }
    bytes
}

/// Changes values of a JSON document where they lie, so that it stays JSON.
fn edited(value: &mut Value, random: &mut StdRng) {
    let inner = match value {
        Value::Array(items) if !items.is_empty() && random.random_ratio(3, 4) => {
            let at = random.random_range(0..items.len());
            match random.random_range(0..8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => return edited(&mut items[at], random),
            }
            return;
        }
        Value::Object(fields) if !fields.is_empty() && random.random_ratio(7, 8) => {
            let name = fields.keys().nth(random.random_range(0..fields.len())).unwrap().clone();
            if random.random_ratio(1, 16) {
                fields.remove(&name);
                return;
            }
            return edited(&mut fields[&name], random);
        }
        other => other,
    };
    *inner = match (random.random_range(0..8), &*inner) {
        (0, _) => Value::Null,
        (1, _) => json!(u64::MAX),
        (2, _) => json!(i64::MIN),
        (3, _) => json!([]),
        (4 | 5, Value::Number(n)) => json!(n.as_u64().unwrap_or(0).wrapping_add(1)),
        (_, Value::String(text)) => {
            json!(String::from_utf8_lossy(&mutated(text.as_bytes(), random)).into_owned())
        }
        _ => json!(random.random::<u64>()),
    };
}

/// What was accepted can be used without care, and is written again as it is.
fn is_consistent(found: &Manifest) {
    assert_eq!(Manifest::parse(&key(), &found.to_json(&seal_key()).unwrap()).unwrap(), *found);
    let root = ArchiveLayout::of_manifest_key(&key()).unwrap().root();
    // Two dots lead out of a folder only where they are all of a name.
    let leads_out = |key: &str| key.split('/').any(|name| name == "..");
    for object in found.objects() {
        assert!(object.key.starts_with(&root) && !leads_out(&object.key), "{}", object.key);
    }
    assert_eq!(found.expected().tables.iter().map(|table| table.rows).sum::<u64>(), found.rows());
    let _ = (found.raw_bytes(), found.stored_bytes());
}

#[test]
fn a_manifest_with_any_other_byte_is_never_accepted() {
    let whole = manifest().to_json(&seal_key()).unwrap();
    fuzz("manifest, bytes", |random| {
        let bytes = mutated(&whole, random);
        assert_eq!(Manifest::parse(&key(), &bytes).is_ok(), bytes == whole);
    });
}

#[test]
fn a_manifest_that_was_sealed_over_any_content_is_consistent_or_refused() {
    let whole = serde_json::to_value(manifest()).unwrap();
    let mut accepted = 0_u64;
    fuzz("manifest, sealed content", |random| {
        let mut value = whole.clone();
        for _ in 0..random.random_range(1..=3) {
            edited(&mut value, random);
        }
        let mut body = serde_json::to_vec_pretty(&value).unwrap();
        if random.random_ratio(1, 4) {
            body = mutated(&body, random);
        }
        if let Ok(found) = Manifest::parse(&key(), &seal(body, &seal_key())) {
            accepted += 1;
            is_consistent(&found);
        }
    });
    assert!(accepted > 0, "a fuzzer whose every input is refused tries only the first check");
}

#[test]
fn a_key_file_is_consistent_or_refused_and_never_opens_another_key() {
    let backup_id = BackupId(Uuid::from_u128(1));
    let (identity, recovery) = (BackupIdentity::generate(), RecoveryKey::generate(Timestamp::UNIX_EPOCH));
    let holders = vec![wrap_for(&identity, &recovery.recipient).unwrap()];
    let file = KeyFile::new(backup_id, identity.recipient(), holders, Timestamp::UNIX_EPOCH).unwrap();
    let (whole, key) = (file.to_json().unwrap(), format!("full/{backup_id}/keys/000001.json"));
    let text = recovery.file_text.expose_secret();
    fuzz("key file", |random| {
        let bytes = if random.random() {
            mutated(&whole, random)
        } else {
            let mut value: Value = serde_json::from_slice(&whole).unwrap();
            edited(&mut value, random);
            serde_json::to_vec(&value).unwrap()
        };
        let Ok(found) = KeyFile::parse(&key, &bytes) else { return };
        assert!(!found.holders.is_empty() && found.fingerprint == found.recipient.fingerprint());
        assert_eq!(KeyFile::parse(&key, &found.to_json().unwrap()).unwrap(), found);
        if let Ok(opened) = found.unwrap_with_age(text) {
            assert_eq!(opened.recipient(), identity.recipient());
        }
    });
}

#[test]
fn a_listed_name_is_a_manifests_key_in_exactly_one_form() {
    let whole = key();
    fuzz("object names", |random| {
        let name = String::from_utf8_lossy(&mutated(whole.as_bytes(), random)).into_owned();
        if let Some(layout) = ArchiveLayout::of_manifest_key(&name) {
            assert_eq!(layout.manifest(), name);
            assert!(!layout.root().contains("..") && !layout.root().starts_with('/'));
        }
    });
}

#[test]
fn an_object_of_any_bytes_opens_to_what_was_sealed_or_not_at_all() {
    let identity = BackupIdentity::generate();
    let raw = "1\tguest\\n\t\\N\n".repeat(300).into_bytes();
    let (_, whole) = seal_bytes(&identity.recipient(), Content::Rows, &raw).unwrap();
    let frame = zstd::encode_all(raw.as_slice(), 1).unwrap();
    fuzz("objects", |random| {
        let stored = random.random();
        let bytes = if stored {
            mutated(&whole, random)
        } else {
            // Under good encryption, so that what lies within is reached.
            age::encrypt(identity.recipient().age(), &mutated(&frame, random)).unwrap()
        };
        let object = StoredObject::of_bytes("k", &bytes);
        let Ok(opened) = open(bytes.as_slice(), &identity, &object) else { return };
        let mut read = Vec::new();
        let ended = opened.take(64 << 20).read_to_end(&mut read);
        assert!(ended.is_err() || read.len() < 64 << 20, "a small object gave {} bytes", read.len());
        // Whoever has the public key can encrypt other bytes; whoever has not cannot change these.
        assert!(!stored || ended.is_err() || read == raw);
    });
}
