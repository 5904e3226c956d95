#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use tokio::io::AsyncReadExt;

/// Gives its pieces one by one, as a socket does.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(into.remaining()));
        into.put_slice(&piece);
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

fn read_through(pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut out = Vec::new();
        CopyFrames::new(Pieces(pieces.into())).read_to_end(&mut out).await.unwrap();
        out
    })
}

/// Messages of the stream, neighbouring rows as one.
fn meaning(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages: Vec<(u8, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let (tag, body) = (bytes[0], &bytes[5..=length]);
        match messages.last_mut() {
            Some((COPY_DATA, rows)) if tag == COPY_DATA => rows.extend_from_slice(body),
            _ => messages.push((tag, body.to_vec())),
        }
        bytes = &bytes[length + 1..];
    }
    messages
}

fn longest_message(mut bytes: &[u8]) -> usize {
    let mut longest = 0;
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize + 1;
        longest = longest.max(length);
        bytes = &bytes[length..];
    }
    longest
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let row = prop_oneof![0..40usize, 0..300usize, Just(3 * MESSAGE_BYTES)];
    prop_oneof![
        6 => row.prop_map(|bytes| message(COPY_DATA, &vec![b'x'; bytes])),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(|body| message(b'D', &body)),
        1 => Just(message(b'c', &[])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn rows_and_all_other_messages_come_out_as_they_went_in(
        messages in prop::collection::vec(any_message(), 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream = messages.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let pieces = cuts.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect();
        let out = read_through(pieces);
        let mut expected = meaning(&stream);
        // A row message without a byte says nothing, and may be left out.
        expected.retain(|(tag, body)| *tag != COPY_DATA || !body.is_empty());
        prop_assert_eq!(meaning(&out), expected);
    }
}

#[test]
fn short_rows_become_one_message_and_a_long_row_many() {
    let rows = vec![message(COPY_DATA, b"12345\n"); 1000];
    let out = read_through(vec![rows.concat()]);
    assert_eq!(out.len(), 1000 * 6 + HEADER_BYTES);
    let out = read_through(vec![message(COPY_DATA, &vec![b'x'; 10 * MESSAGE_BYTES])]);
    assert!(longest_message(&out) <= MESSAGE_BYTES + HEADER_BYTES, "{}", longest_message(&out));
}

#[test]
fn what_ends_in_the_middle_ends_in_the_middle() {
    let whole = [message(b'T', b"abc"), message(b'D', b"defg")].concat();
    for end in 0..whole.len() {
        assert_eq!(read_through(vec![whole[..end].to_vec()]), whole[..end]);
    }
}
