//! What is sealed comes back, and every kind of damage is found; each test names the detector that found it.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use keepsake_archive::{
    BackupIdentity, CHUNK_BYTES, Content, CopyText, Detector, OpenError, SealError, Sealed, Sealer,
    StoredObject, ZSTD_LEVEL, open, open_rows, seal_bytes,
};
use keepsake_domain::{Classified, FailureClass, RowsDigest};
use proptest::prelude::*;
use rand::{RngCore, SeedableRng};
use std::io::{self, Read, Write};

/// `COPY` text that compresses little, so that its object has several age blocks of 64 KiB.
fn rows(count: u64, seed: u64) -> Vec<u8> {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let row = |id| format!("{id}\tguest {:016x}{:016x}\t\\N\n", random.next_u64(), random.next_u64());
    (0..count).map(row).collect::<String>().into_bytes()
}

struct Stored {
    identity: BackupIdentity,
    sealed: Sealed,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(raw: &[u8]) -> Self {
        let identity = BackupIdentity::generate();
        let (sealed, bytes) = seal_bytes(&identity.recipient(), Content::Rows, raw).unwrap();
        Self { identity, sealed, bytes }
    }

    /// Several age blocks, the last of them not full.
    fn large() -> Self {
        let stored = Self::new(&rows(12_000, 1));
        assert!(stored.bytes.len() > 3 * 65_536, "{}", stored.bytes.len());
        stored
    }

    fn small() -> Self {
        Self::new(&rows(3, 2))
    }

    /// Where age's blocks begin: after the header's MAC line and the nonce of 16 bytes.
    fn payload(&self) -> usize {
        let mac = b"\n--- ";
        let line = self.bytes.windows(mac.len()).position(|window| window == mac).unwrap();
        line + mac.len() + 43 + 1 + 16
    }

    fn object(&self) -> StoredObject {
        self.sealed.object("wedsync/part-1")
    }

    /// What reading `bytes` in place of the stored object ends with.
    fn read(&self, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        read_rows(bytes, &self.identity, &self.object(), self.sealed.content)
    }

    /// The same when the manifest describes `bytes`: as if they had been written so, and only then hashed.
    fn read_as_described(&self, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let object = StoredObject::of_bytes("wedsync/part-1", bytes);
        read_rows(bytes, &self.identity, &object, self.sealed.content)
    }
}

fn read_rows(
    bytes: &[u8],
    identity: &BackupIdentity,
    object: &StoredObject,
    content: CopyText,
) -> Result<Vec<u8>, OpenError> {
    let mut reader = open_rows(bytes, identity, object, content)?;
    let mut raw = Vec::new();
    let read = reader.read_to_end(&mut raw).map_err(|error| OpenError::from_io(&object.key, error));
    if read.is_err() {
        let again = reader.read(&mut [0; 1]).map_err(|error| OpenError::from_io(&object.key, error));
        assert!(again.is_err(), "after an error a read said {again:?}");
    }
    read.map(|_| raw)
}

fn found_by(read: Result<Vec<u8>, OpenError>) -> Detector {
    match read {
        Err(OpenError::Integrity { key, found_by, .. }) => {
            assert_eq!(key, "wedsync/part-1");
            found_by
        }
        other => panic!("not found to be corrupt: {:?}", other.map(|raw| raw.len())),
    }
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

/// Encrypts any bytes for the backup as age alone would.
fn age_of(identity: &BackupIdentity, inner: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = identity.recipient().to_string().parse().unwrap();
    age::encrypt(&recipient, inner).unwrap()
}

fn zstd_of(raw: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

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

#[test]
fn a_flipped_byte_in_a_small_object_is_found_by_the_stored_sha256() {
    let stored = Stored::small();
    for place in 0..stored.bytes.len() {
        assert_eq!(found_by(stored.read(&flipped(&stored.bytes, place))), Detector::StoredSha256, "{place}");
    }
}

#[test]
fn a_flipped_byte_in_the_header_of_a_large_object_is_found_by_the_stored_sha256_and_not_taken_for_a_wrong_key()
 {
    let stored = Stored::large();
    for place in 0..stored.payload() - 16 {
        assert_eq!(found_by(stored.read(&flipped(&stored.bytes, place))), Detector::StoredSha256, "{place}");
    }
}

#[test]
fn a_flipped_byte_in_the_body_is_found_by_age_before_the_block_is_used() {
    let stored = Stored::large();
    for place in [stored.payload(), 30_000, 70_000, 140_000] {
        assert_eq!(found_by(stored.read(&flipped(&stored.bytes, place))), Detector::AgePayload, "{place}");
    }
}

#[test]
fn a_flipped_byte_in_the_last_block_is_found_by_the_stored_sha256() {
    let stored = Stored::large();
    let end = stored.bytes.len();
    for place in [end - 1, end - 16, end - 17, end - 1000] {
        assert_eq!(found_by(stored.read(&flipped(&stored.bytes, place))), Detector::StoredSha256, "{place}");
    }
}

#[test]
fn a_flipped_byte_that_the_manifest_describes_is_still_found_by_age() {
    let stored = Stored::large();
    let end = stored.bytes.len();
    for place in [stored.payload(), 70_000, end - 1] {
        let read = stored.read_as_described(&flipped(&stored.bytes, place));
        assert_eq!(found_by(read), Detector::AgePayload, "{place}");
    }
    let mac = stored.payload() - 16 - 40;
    assert_eq!(found_by(stored.read_as_described(&flipped(&stored.bytes, mac))), Detector::AgeHeader);
}

#[test]
fn a_cut_anywhere_is_found_by_the_stored_length() {
    let stored = Stored::large();
    let end = stored.bytes.len();
    let payload = stored.payload();
    let block = 65_536 + 16;
    let interesting =
        [0, 1, 21, 22, 100, payload - 16, payload, payload + 1, payload + block - 1, payload + block];
    for cut in interesting.into_iter().chain([payload + 2 * block, end - 17, end - 16, end - 1]) {
        assert_eq!(found_by(stored.read(&stored.bytes[..cut])), Detector::StoredLength, "{cut}");
    }
}

#[test]
fn a_cut_that_the_manifest_describes_is_found_by_age() {
    let stored = Stored::large();
    let payload = stored.payload();
    let block = 65_536 + 16;
    for cut in [payload, payload + 1, payload + block, payload + 2 * block, stored.bytes.len() - 1] {
        let read = stored.read_as_described(&stored.bytes[..cut]);
        assert_eq!(found_by(read), Detector::AgePayload, "{cut}");
    }
    for cut in [0, 1, 22, 100, payload - 16] {
        let read = stored.read_as_described(&stored.bytes[..cut]);
        assert_eq!(found_by(read), Detector::AgeHeader, "{cut}");
    }
}

#[test]
fn an_appended_byte_is_found_by_the_stored_length_and_if_described_by_age() {
    for stored in [Stored::large(), Stored::small()] {
        let longer = [stored.bytes.as_slice(), b"x"].concat();
        assert_eq!(found_by(stored.read(&longer)), Detector::StoredLength);
        assert_eq!(found_by(stored.read_as_described(&longer)), Detector::AgePayload);
    }
}

#[test]
fn a_byte_after_a_full_last_block_is_found_too() {
    // The one length at which age cannot see from the block's size that it is the last one.
    let identity = BackupIdentity::generate();
    let mut raw = vec![0; 65_536];
    rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut raw);
    let compressed = (1..64).find_map(|less| {
        let compressed = zstd_of(&raw[..raw.len() - less]);
        (compressed.len() == 65_536).then_some(compressed)
    });
    let whole = age_of(&identity, &compressed.unwrap());
    let longer = [whole.as_slice(), b"x"].concat();
    let read = |bytes: &[u8]| {
        let object = StoredObject::of_bytes("wedsync/part-1", bytes);
        let mut back = Vec::new();
        let mut opened = open(bytes, &identity, &object)?;
        opened.read_to_end(&mut back).map_err(|error| OpenError::from_io("k", error))?;
        Ok(back)
    };
    assert!(raw.starts_with(&read(&whole).unwrap()));
    assert_eq!(found_by(read(&longer)), Detector::AgePayload);
}

#[test]
fn a_wrong_checksum_or_a_cut_frame_inside_good_encryption_is_found_by_zstd() {
    let stored = Stored::large();
    let frame = zstd_of(&rows(12_000, 1));
    let end = frame.len();
    for inner in
        [flipped(&frame, end - 1), flipped(&frame, 0), frame[..end - 1].to_vec(), frame[..9].to_vec(), vec![]]
    {
        let read = stored.read_as_described(&age_of(&stored.identity, &inner));
        assert_eq!(found_by(read), Detector::Zstd);
    }
}

#[test]
fn bytes_after_the_frame_are_found_even_if_they_are_a_frame() {
    let stored = Stored::small();
    let frame = zstd_of(&rows(3, 2));
    for inner in [[frame.as_slice(), b"x"].concat(), [frame.as_slice(), &zstd_of(b"4\n")].concat()] {
        let read = stored.read_as_described(&age_of(&stored.identity, &inner));
        assert_eq!(found_by(read), Detector::TrailingBytes);
    }
}

#[test]
fn an_object_that_is_whole_but_of_another_key_is_told_apart_from_damage() {
    for stored in [Stored::large(), Stored::small()] {
        let other = BackupIdentity::generate();
        let read = read_rows(&stored.bytes, &other, &stored.object(), stored.sealed.content);
        let error = read.unwrap_err();
        assert!(
            matches!(&error, OpenError::WrongKey { recipient, .. } if *recipient == other.recipient().to_string())
        );
        assert_eq!(error.class(), FailureClass::Integrity);
    }
}

#[test]
fn two_swapped_objects_of_one_backup_are_found_by_the_stored_sha256_or_length() {
    let (small, stored) = (Stored::small(), Stored::large());
    let recipient = stored.identity.recipient();
    // age adds a stanza of random length to each header, so two objects of one length are rare; draw until two are.
    let same_length = (0..20_000)
        .map(|_| seal_bytes(&recipient, Content::Rows, &rows(3, 9)).unwrap())
        .find(|(sealed, _)| sealed.stored_bytes == small.sealed.stored_bytes);
    let (_, same_length) = same_length.unwrap();
    assert_eq!(found_by(small.read(&same_length)), Detector::StoredSha256);
    let (_, shorter) = seal_bytes(&recipient, Content::Rows, &rows(9_000, 1)).unwrap();
    assert_eq!(found_by(stored.read(&shorter)), Detector::StoredLength);
}

#[test]
fn rows_that_differ_from_the_manifest_are_found_by_their_digest() {
    let raw = b"1\tAnna\n2\tBert\n";
    let stored = Stored::new(raw);
    for other in
        [b"1\tAnna\n".as_slice(), b"1\tAnna\n2\tBerT\n", b"1\tAnna\n2\tBert\n2\tBert\n", b"1\tAnna\n2\tBert"]
    {
        let read = stored.read_as_described(&age_of(&stored.identity, &zstd_of(other)));
        assert_eq!(found_by(read), Detector::Rows, "{}", String::from_utf8_lossy(other));
    }
    let reordered = stored.read_as_described(&age_of(&stored.identity, &zstd_of(b"2\tBert\n1\tAnna\n")));
    assert!(reordered.is_ok());
}

/// Delivers some bytes and then fails, as a connection does.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            read => Ok(read),
        }
    }
}

#[test]
fn a_repository_that_fails_is_no_corruption() {
    let stored = Stored::large();
    for cut in [0, 100, 5_000, 150_000] {
        let opened = open(Broken(&stored.bytes[..cut]), &stored.identity, &stored.object());
        let error = opened.and_then(|mut opened| {
            opened.read_to_end(&mut Vec::new()).map_err(|error| OpenError::from_io("k", error))
        });
        let error = error.unwrap_err();
        assert!(
            matches!(&error, OpenError::Read { cause, .. } if cause.kind() == io::ErrorKind::ConnectionReset)
        );
        assert_eq!(error.class(), FailureClass::Transient);
    }
}

#[test]
fn the_typed_error_is_found_inside_the_reads_error() {
    let stored = Stored::large();
    let bytes = flipped(&stored.bytes, 70_000);
    let mut opened = open(bytes.as_slice(), &stored.identity, &stored.object()).unwrap();
    let error = opened.read_to_end(&mut Vec::new()).unwrap_err();
    let found = OpenError::of(&error).map(|error| error.class());
    assert_eq!(found, Some(FailureClass::Integrity));
    assert!(error.to_string().contains("wedsync/part-1"));
}

#[test]
fn both_ends_can_move_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Sealer<fn(Bytes) -> io::Result<()>>>();
    sendable::<keepsake_archive::RowsReader<std::fs::File>>();
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

    #[test]
    fn any_change_to_a_stored_object_is_an_error(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let stored = Stored::small();
        let place = place.index(stored.bytes.len());
        let mut bytes = stored.bytes.clone();
        if cut { bytes.truncate(place) } else { bytes[place] = byte }
        prop_assert_eq!(stored.read(&bytes).is_ok(), bytes == stored.bytes);
    }
}
