//! What is sealed comes back, and what is not whole is never sealed.

use crate::stored::{Stored, rows};
use bytes::Bytes;
use keepsake_archive::{
    BackupIdentity, CHUNK_BYTES, Content, CopyText, Detector, OpenError, SealError, Sealer, StoredObject,
    ZSTD_LEVEL, open, seal_bytes,
};
use keepsake_domain::{Classified, FailureClass, RowsDigest};
use proptest::prelude::*;
use rand::{RngCore, SeedableRng};
use std::io::{self, Read};

#[test]
fn rows_come_back_as_they_were() {
    for count in [0, 1, 12_000] {
        let raw = rows(count, 3);
        let stored = Stored::new(&raw);
        assert_eq!(stored.sealed.content.rows, count);
        assert_eq!(stored.sealed.content.raw_bytes, raw.len() as u64);
        assert_eq!(stored.read(&stored.bytes).unwrap(), raw);
    }
}

#[test]
fn opaque_bytes_come_back_and_only_their_length_is_noted() {
    let identity = BackupIdentity::generate();
    let (sealed, bytes) = seal_bytes(&identity.recipient(), Content::Opaque, b"no newline").unwrap();
    assert_eq!(sealed.content, CopyText { raw_bytes: 10, rows: 0, rows_digest: RowsDigest(0) });
    let mut raw = String::new();
    open(bytes.as_slice(), &identity, &sealed.object("k")).unwrap().read_to_string(&mut raw).unwrap();
    assert_eq!(raw, "no newline");
}

#[test]
fn what_is_told_of_the_stored_bytes_is_true() {
    let stored = Stored::large();
    assert_eq!(stored.object(), StoredObject::of_bytes("wedsync/part-1", &stored.bytes));
}

#[test]
fn stored_bytes_show_nothing_of_the_rows() {
    let stored = Stored::new(b"1\tAnna Bogenreuther\n");
    assert!(!stored.bytes.windows(4).any(|window| window == b"Anna"));
    assert!(stored.bytes.starts_with(b"age-encryption.org/v1\n"));
}

#[test]
fn chunks_are_exactly_one_upload_part_long_but_the_last() {
    let mut random = rand::rngs::StdRng::seed_from_u64(4);
    let mut raw = vec![0; 2 * CHUNK_BYTES + 1000];
    random.fill_bytes(&mut raw);
    let mut chunks: Vec<Bytes> = Vec::new();
    let identity = BackupIdentity::generate();
    let mut sealer = Sealer::new(&identity.recipient(), ZSTD_LEVEL, Content::Opaque, |chunk| {
        chunks.push(chunk);
        Ok(())
    })
    .unwrap();
    raw.chunks(100_000).for_each(|piece| sealer.write(piece).unwrap());
    let sealed = sealer.finish().unwrap();
    assert_eq!(chunks.iter().map(Bytes::len).take(2).collect::<Vec<_>>(), [CHUNK_BYTES; 2]);
    assert!(chunks.len() == 3 && (1..CHUNK_BYTES).contains(&chunks[2].len()));
    let object = sealed.object("k");
    let mut back = Vec::new();
    open(chunks.concat().as_slice(), &identity, &object).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == raw, "other bytes came back");
}

#[test]
fn a_sealer_that_is_dropped_leaves_nothing_that_opens() {
    let identity = BackupIdentity::generate();
    let mut stored = Vec::new();
    let mut sealer = Sealer::new(&identity.recipient(), ZSTD_LEVEL, Content::Opaque, |chunk: Bytes| {
        stored.extend_from_slice(&chunk);
        Ok(())
    })
    .unwrap();
    let mut raw = vec![0; 2 * CHUNK_BYTES];
    rand::rngs::StdRng::seed_from_u64(5).fill_bytes(&mut raw);
    sealer.write(&raw).unwrap();
    drop(sealer);
    assert_eq!(stored.len() % CHUNK_BYTES, 0);
    let object = StoredObject::of_bytes("k", &stored);
    let read = open(stored.as_slice(), &identity, &object).unwrap().read_to_end(&mut Vec::new());
    let error = OpenError::from_io("k", read.unwrap_err());
    assert!(matches!(error, OpenError::Integrity { found_by: Detector::AgePayload, .. }), "{error}");
}

#[test]
fn rows_that_end_inside_a_row_are_never_sealed() {
    let identity = BackupIdentity::generate();
    let sealed = seal_bytes(&identity.recipient(), Content::Rows, b"1\n2");
    assert!(matches!(sealed, Err(SealError::Torn(_))));
}

#[test]
fn after_a_refused_chunk_nothing_more_is_sealed() {
    let identity = BackupIdentity::generate();
    let mut calls = 0;
    let mut sealer = Sealer::new(&identity.recipient(), ZSTD_LEVEL, Content::Opaque, |_| {
        calls += 1;
        Err(io::Error::from(io::ErrorKind::Interrupted))
    })
    .unwrap();
    let mut raw = vec![0; CHUNK_BYTES + 1_000_000];
    rand::rngs::StdRng::seed_from_u64(6).fill_bytes(&mut raw);
    let refused = sealer.write(&raw).unwrap_err();
    assert!(matches!(refused, SealError::Sink(_)), "{refused}");
    assert_eq!(refused.class(), FailureClass::Transient);
    assert!(matches!(sealer.write(b"more"), Err(SealError::AlreadyFailed)));
    assert!(matches!(sealer.finish(), Err(SealError::AlreadyFailed)));
    assert_eq!(calls, 1);
}

#[test]
fn a_level_that_readers_could_not_open_is_refused() {
    let recipient = BackupIdentity::generate().recipient();
    for level in [-1, 0, 20, 22] {
        let sealer = Sealer::new(&recipient, level, Content::Opaque, |_| Ok(()));
        assert!(matches!(sealer.err(), Some(SealError::Level(found)) if found == level));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_cut_of_the_input_does_not_change_what_comes_back(
        raw in prop::collection::vec(any::<u8>(), 0..5000),
        piece in 1usize..700,
    ) {
        let identity = BackupIdentity::generate();
        let mut bytes = Vec::new();
        let mut sealer = Sealer::new(&identity.recipient(), ZSTD_LEVEL, Content::Opaque, |chunk: Bytes| {
            bytes.extend_from_slice(&chunk);
            Ok(())
        }).unwrap();
        raw.chunks(piece).for_each(|piece| sealer.write(piece).unwrap());
        let object = sealer.finish().unwrap().object("k");
        let mut opened = open(bytes.as_slice(), &identity, &object).unwrap();
        let mut back = Vec::new();
        let mut buffer = vec![0; piece];
        loop {
            let read = opened.read(&mut buffer).unwrap();
            if read == 0 { break }
            back.extend_from_slice(&buffer[..read]);
        }
        prop_assert_eq!(back, raw);
    }
}
