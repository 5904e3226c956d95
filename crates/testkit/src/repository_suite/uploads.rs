//! Uploads: whole or not at all.

use super::{CHUNK_BYTES, RepositoryBench, assert_absent, assert_stands, download, pattern, upload};
use bytes::Bytes;
use keepsake_steps::ports::{Chunk, RepositoryError, chunks};
use std::{sync::Arc, time::Duration};

const KEY: &str = "full/1/data/1.copy.zst.age";

/// All bytes may have arrived: without the end there is no object.
pub async fn an_upload_is_visible_only_after_its_end(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let bytes = pattern(CHUNK_BYTES + 100, 1);
    let (to, from) = chunks();
    let uploading = tokio::spawn({
        let repository = Arc::clone(&repository);
        async move { repository.upload(KEY, from).await }
    });
    to.send(Chunk::Data(bytes.slice(..CHUNK_BYTES))).await.expect("taken");
    to.send(Chunk::Data(bytes.slice(CHUNK_BYTES..))).await.expect("taken");
    // The channel holds one chunk: when there is room again, the adapter has taken both.
    let _room = to.reserve().await.expect("still taken");
    assert_absent(&*repository, KEY).await;
    drop(_room);
    to.send(Chunk::End).await.expect("taken");
    let written = uploading.await.expect("joined").expect("upload");
    assert_eq!((written.key.as_str(), written.size_bytes), (KEY, bytes.len() as u64));
    assert_stands(&*repository, KEY, &bytes).await;
}

/// A stream that stops is not a short object, whether it stops in the first chunk or later; the retry starts afresh.
pub async fn a_cut_upload_leaves_nothing_and_the_next_one_succeeds(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let chunk = pattern(CHUNK_BYTES, 2);
    for sent in 0..3 {
        let (to, from) = chunks();
        let sender = async {
            for _ in 0..sent {
                to.send(Chunk::Data(chunk.clone())).await.expect("taken");
            }
            drop(to);
        };
        let (answer, ()) = tokio::join!(repository.upload(KEY, from), sender);
        assert!(matches!(answer, Err(RepositoryError::CutOff { .. })), "after {sent} chunks: {answer:?}");
        assert_absent(&*repository, KEY).await;
    }
    assert_eq!(repository.sweep_unfinished("").await.expect("sweep"), 0, "a cut upload removes what it sent");
    let bytes = pattern(10, 3);
    upload(&*repository, KEY, &bytes).await.expect("the next one");
    assert_stands(&*repository, KEY, &bytes).await;
}

/// A caller that gives up, as a function does at its time limit.
pub async fn a_dropped_upload_leaves_nothing_visible(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let (to, from) = chunks();
    let chunk = pattern(CHUNK_BYTES, 2);
    let uploading = async {
        tokio::join!(repository.upload(KEY, from), async {
            for _ in 0..3 {
                to.send(Chunk::Data(chunk.clone())).await.expect("taken");
            }
            std::future::pending::<()>().await;
        })
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), uploading).await.is_err(), "it waits for the end");
    drop(to);
    assert_absent(&*repository, KEY).await;
    repository.sweep_unfinished("").await.expect("sweep");
    let bytes = pattern(10, 3);
    upload(&*repository, KEY, &bytes).await.expect("the next one");
    assert_stands(&*repository, KEY, &bytes).await;
}

/// Small and large uploads alike.
pub async fn an_upload_to_a_taken_key_is_refused_and_the_old_object_stays(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let old = Bytes::from_static(b"old");
    repository.put_new(KEY, old.clone()).await.expect("put");
    for length in [3, CHUNK_BYTES, CHUNK_BYTES + 1] {
        let answer = upload(&*repository, KEY, &pattern(length, 4)).await;
        assert!(matches!(answer, Err(RepositoryError::AlreadyExists { .. })), "{length} bytes: {answer:?}");
    }
    assert_stands(&*repository, KEY, &old).await;
    assert_eq!(
        repository.sweep_unfinished("").await.expect("sweep"),
        0,
        "a refused upload removes what it sent"
    );
}

/// Two workers that were given the same part.
pub async fn of_six_uploads_to_one_key_exactly_one_wins(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let racers = (0..6u64).map(|number| {
        let repository = Arc::clone(&repository);
        tokio::spawn(
            async move { upload(&*repository, KEY, &pattern(CHUNK_BYTES + 1_000, number * 2)).await },
        )
    });
    let mut winners = Vec::new();
    for (number, racer) in (0u64..).zip(racers.collect::<Vec<_>>()) {
        match racer.await.expect("joined") {
            Ok(_) => winners.push(number),
            Err(lost) => {
                assert!(matches!(lost, RepositoryError::AlreadyExists { .. }), "racer {number}: {lost:?}")
            }
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    assert_stands(&*repository, KEY, &pattern(CHUNK_BYTES + 1_000, winners[0] * 2)).await;
}

/// Several parts, the last one short.
pub async fn twenty_mebibytes_make_the_round_trip(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let bytes = pattern(20 * 1024 * 1024, 5);
    let written = upload(&*repository, KEY, &bytes).await.expect("upload");
    assert_eq!(written.size_bytes, bytes.len() as u64);
    let (answer, read, ended) = download(&*repository, KEY).await;
    answer.expect("download");
    assert!(ended && read == bytes, "{} bytes, end {ended}", read.len());
}

/// The boundary between one request and several.
pub async fn an_upload_of_exactly_one_chunk_is_whole(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    for (key, length) in [("a", CHUNK_BYTES), ("b", 2 * CHUNK_BYTES)] {
        let bytes = pattern(length, 6);
        upload(&*repository, key, &bytes).await.expect("upload");
        assert_stands(&*repository, key, &bytes).await;
    }
}

/// What a killed process left is found by its prefix, once.
pub async fn abandoned_uploads_are_swept_under_their_prefix_only(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    for key in ["full/1/data/1", "full/1/data/2", "full/10/data/1"] {
        bench.abandon(&*repository, key).await;
        assert_absent(&*repository, key).await;
    }
    assert_eq!(repository.sweep_unfinished("full/1/").await.expect("sweep"), 2);
    assert_eq!(repository.sweep_unfinished("full/1/").await.expect("sweep"), 0);
    assert_eq!(repository.sweep_unfinished("").await.expect("sweep"), 1);
    upload(&*repository, "full/1/data/1", &pattern(10, 1)).await.expect("the key is free");
}
