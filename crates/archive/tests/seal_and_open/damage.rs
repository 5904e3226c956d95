//! Every kind of damage is found, by the detector that should find it.

use crate::stored::{Stored, age_of, flipped, found_by, read_rows, rows, zstd_of};
use keepsake_archive::{BackupIdentity, Content, Detector, OpenError, StoredObject, open, seal_bytes};
use keepsake_domain::{Classified, FailureClass};
use proptest::prelude::*;
use rand::{RngCore, SeedableRng};
use std::io::Read;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
