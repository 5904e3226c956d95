#![allow(clippy::unwrap_used)]

use super::*;
use bytes::BufMut;
use keepsake_domain::SequenceName;
use proptest::prelude::*;

const HEADER: &[u8] = b"keepsake segment 1\n";

fn sequence() -> SequenceValue {
    let sequence = SequenceName { schema: "public".into(), name: "guests_id_seq".into() };
    SequenceValue { sequence, last_value: 7, is_called: true }
}

pub(crate) fn written(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let mut writer = SegmentWriter::begin(&mut bytes);
    for (at, message) in messages.iter().enumerate() {
        writer.message(Lsn(at as u64), message, &mut bytes);
    }
    writer.end(Lsn(99), &[sequence()], &mut bytes).unwrap();
    bytes.to_vec()
}

/// Everything that the decoder answers when the bytes come in pieces of one size.
fn read(bytes: &[u8], piece: usize) -> Result<(Vec<SegmentRecord>, SegmentEnd), SegmentError> {
    let (mut decoder, mut records) = (SegmentDecoder::new("k"), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
    }
    decoder.finish().map(|end| (records, end))
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop::sample::select(vec![b'B', b'C', b'I', b'U', b'D', b'T', b'R', b'Y', b'M']);
    let message = (kind, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, mut rest)| {
        rest.insert(0, kind);
        rest
    });
    prop::collection::vec(message, 0..20)
}

proptest! {
    #[test]
    fn what_was_written_comes_back_whatever_pieces_it_comes_in(messages in messages(), piece in 1_usize..64) {
        let (records, end) = read(&written(&messages), piece).unwrap();
        let back: Vec<Vec<u8>> = records
            .iter()
            .filter_map(|record| match record {
                SegmentRecord::Message { payload, .. } => Some(payload.to_vec()),
                _ => None,
            })
            .collect();
        let count = |kinds: &[u8]| messages.iter().filter(|message| kinds.contains(&message[0])).count() as u64;
        prop_assert_eq!(end, SegmentEnd { transactions: count(b"C"), changes: count(b"IUDT") });
        prop_assert_eq!(&records[back.len()..], [SegmentRecord::Sequences(vec![sequence()]), SegmentRecord::End(end)]);
        prop_assert_eq!(back, messages);
    }

    #[test]
    fn a_segment_that_is_cut_off_anywhere_is_never_whole(messages in messages(), cut in 0.0_f64..1.0) {
        let bytes = written(&messages);
        let cut = (bytes.len() as f64 * cut) as usize;
        prop_assert!(read(&bytes[..cut], 7).is_err());
    }

    #[test]
    fn a_transaction_that_is_dropped_or_doubled_is_found(messages in messages(), at in any::<prop::sample::Index>()) {
        let counted: Vec<usize> =
            (0..messages.len()).filter(|at| b"CIUDT".contains(&messages[*at][0])).collect();
        prop_assume!(!counted.is_empty());
        let at = counted[at.index(counted.len())];
        let end = |bytes: &[u8]| bytes.len() - tail();
        let (mut without, mut twice) = (messages.clone(), messages.clone());
        without.remove(at);
        twice.insert(at, messages[at].clone());
        let whole = written(&messages);
        for changed in [written(&without), written(&twice)] {
            // The messages of one with the end of the other.
            let mut bytes = changed[..end(&changed)].to_vec();
            bytes.extend_from_slice(&whole[end(&whole)..]);
            prop_assert!(read(&bytes, 64).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..64) {
        let mut all = HEADER.to_vec();
        all.extend_from_slice(&bytes);
        let _ = read(&all, piece);
        let _ = read(&bytes, piece);
    }
}

/// Bytes of the records behind the messages, when no count has two digits.
fn tail() -> usize {
    let mut bytes = BytesMut::new();
    SegmentWriter { counted: SegmentEnd::default() }.end(Lsn(0), &[sequence()], &mut bytes).unwrap();
    bytes.len()
}

#[test]
fn a_newer_segment_is_told_apart_from_damage() {
    let newer = read(b"keepsake segment 2\nall else is new", 64);
    assert!(matches!(newer, Err(SegmentError::UnknownVersion { found, .. }) if found == "2"));
    for other in [&b"keepsake segment x\n"[..], b"PK", b"keepsake segmenu 1\n"] {
        assert!(matches!(read(other, 64), Err(SegmentError::Damaged { .. })));
    }
}

#[test]
fn records_in_another_order_are_refused() {
    let mut bytes = BytesMut::from(HEADER);
    put(b's', Lsn(1), b"[]", &mut bytes);
    let behind = bytes.clone();
    put(b'w', Lsn(1), b"B", &mut bytes);
    assert!(read(&bytes, 64).is_err(), "a message behind the sequences");
    let mut bytes = BytesMut::from(HEADER);
    put(b'z', Lsn(1), br#"{"transactions":0,"changes":0}"#, &mut bytes);
    assert!(read(&bytes, 64).is_err(), "an end without sequences");
    let mut bytes = behind;
    put(b'z', Lsn(1), br#"{"transactions":0,"changes":0}"#, &mut bytes);
    assert!(read(&bytes, 64).is_ok());
    bytes.put_u8(0);
    assert!(read(&bytes, 64).is_err(), "bytes behind the end");
}

#[test]
fn a_record_longer_than_any_message_is_refused_before_it_is_held() {
    let mut bytes = BytesMut::from(HEADER);
    bytes.put_u8(b'w');
    bytes.put_u64(1);
    bytes.put_u32(u32::MAX);
    assert!(matches!(read(&bytes, 64), Err(SegmentError::Damaged { .. })));
}
