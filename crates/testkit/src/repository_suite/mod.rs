//! What every repository must do, as one test per claim. An adapter runs it with [`crate::repository_suite!`].

mod objects;
mod reading;
mod uploads;

use async_trait::async_trait;
use bytes::Bytes;
use keepsake_steps::ports::{Chunk, ObjectInfo, Repository, RepositoryError, chunks};
use std::sync::Arc;

pub use objects::*;
pub use reading::*;
pub use uploads::*;

/// Makes repositories for the suite.
#[async_trait]
pub trait RepositoryBench: Send + Sync {
    /// A fresh repository without objects.
    async fn empty(&self) -> Arc<dyn Repository>;
    /// One whose bucket or folder does not exist.
    async fn missing(&self) -> Arc<dyn Repository>;
    /// Leaves an upload of `key` behind as a process does that is killed in the middle.
    async fn abandon(&self, repository: &dyn Repository, key: &str);
    /// Whether it copies from its own kind on the store's side.
    fn copies_by_itself(&self) -> bool {
        true
    }
}

/// One `#[tokio::test]` per claim of the suite; `$bench` is an expression that makes a [`RepositoryBench`].
#[macro_export]
macro_rules! repository_suite {
    ($bench:expr) => {
        $crate::repository_suite!(@ $bench;
            put_new_keeps_the_bytes_and_reports_size_and_checksum,
            put_new_refuses_a_taken_key_and_keeps_what_stands,
            of_twelve_racers_exactly_one_wins,
            an_object_may_be_empty,
            keys_keep_unusual_but_legal_characters,
            a_missing_repository_is_told_from_a_missing_object,
            a_copy_within_its_own_kind_is_equal_and_never_overwrites,
            get_refuses_more_than_the_caller_can_hold,
            head_tells_none_from_some,
            a_download_brings_the_exact_bytes_and_then_the_end,
            a_download_of_a_missing_object_sends_no_end,
            a_download_stops_when_nobody_listens,
            a_listing_is_complete_sorted_and_bound_to_its_prefix,
            a_listing_goes_on_behind_a_key_and_ends_at_its_limit,
            folders_are_told_once_each_without_what_is_in_them,
            an_upload_is_visible_only_after_its_end,
            a_cut_upload_leaves_nothing_and_the_next_one_succeeds,
            a_dropped_upload_leaves_nothing_visible,
            an_upload_to_a_taken_key_is_refused_and_the_old_object_stays,
            of_six_uploads_to_one_key_exactly_one_wins,
            twenty_mebibytes_make_the_round_trip,
            an_upload_of_exactly_one_chunk_is_whole,
            abandoned_uploads_are_swept_under_their_prefix_only,
        );
    };
    (@ $bench:expr; $($claim:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::repository_suite::$claim(&$bench).await;
            }
        )+
    };
}

/// The size of an upload's chunks.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that differ everywhere, so that a swapped or repeated piece is seen.
fn pattern(length: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Uploads `bytes` as the port asks: chunks of 8 MiB and a last, shorter one, then the end.
async fn upload(
    repository: &dyn Repository,
    key: &str,
    bytes: &Bytes,
) -> Result<ObjectInfo, RepositoryError> {
    let (to, from) = chunks();
    let mut rest = bytes.clone();
    let sender = async move {
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(CHUNK_BYTES));
            // Whoever gave up says why through its own answer.
            if to.send(Chunk::Data(piece)).await.is_err() {
                return;
            }
        }
        let _ = to.send(Chunk::End).await;
    };
    tokio::join!(repository.upload(key, from), sender).0
}

/// Downloads an object; its bytes, and whether the end was sent.
async fn download(repository: &dyn Repository, key: &str) -> (Result<(), RepositoryError>, Vec<u8>, bool) {
    let (to, mut from) = chunks();
    let receiver = async {
        let (mut bytes, mut ended) = (Vec::new(), false);
        while let Some(chunk) = from.recv().await {
            assert!(!ended, "something came after the end");
            match chunk {
                Chunk::Data(piece) => bytes.extend_from_slice(&piece),
                Chunk::End => ended = true,
            }
        }
        (bytes, ended)
    };
    let (answer, (bytes, ended)) = tokio::join!(repository.download(key, to), receiver);
    (answer, bytes, ended)
}

/// The object stands with exactly these bytes, by every way of asking.
async fn assert_stands(repository: &dyn Repository, key: &str, bytes: &Bytes) {
    let head = repository.head(key).await.expect("head").expect("it stands");
    assert_eq!((head.key.as_str(), head.size_bytes), (key, bytes.len() as u64));
    if let Some(crc32) = head.crc32 {
        assert_eq!(crc32, crc32fast::hash(bytes), "checksum of {key}");
    }
    let read = repository.get(key, bytes.len() as u64).await.expect("get");
    assert!(read == bytes, "{key} holds other bytes");
}

/// The object is not there, by every way of asking.
async fn assert_absent(repository: &dyn Repository, key: &str) {
    assert_eq!(repository.head(key).await.expect("head"), None, "{key} is there");
    assert!(
        matches!(repository.get(key, 10).await, Err(RepositoryError::NotFound { .. })),
        "{key} can be read"
    );
    assert_eq!(repository.list(key).await.expect("list"), [], "{key} is listed");
}
