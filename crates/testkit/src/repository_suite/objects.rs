//! Small objects: written once, never again.

use super::{RepositoryBench, assert_absent, assert_stands, pattern};
use bytes::Bytes;
use keepsake_steps::ports::{Repository, RepositoryError};
use std::sync::Arc;

/// The bytes come back; the answer's numbers are theirs.
pub async fn put_new_keeps_the_bytes_and_reports_size_and_checksum(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let bytes = pattern(5_000, 1);
    let written = repository.put_new("a/b.json", bytes.clone()).await.expect("put");
    assert_eq!((written.key.as_str(), written.size_bytes), ("a/b.json", 5_000));
    assert!(written.crc32.is_none_or(|crc32| crc32 == crc32fast::hash(&bytes)));
    assert_stands(&*repository, "a/b.json", &bytes).await;
}

/// The first writer wins, for good, also against equal bytes.
pub async fn put_new_refuses_a_taken_key_and_keeps_what_stands(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let first = Bytes::from_static(b"first");
    repository.put_new("manifest.json", first.clone()).await.expect("put");
    for again in [Bytes::from_static(b"second"), first.clone(), Bytes::new()] {
        let answer = repository.put_new("manifest.json", again).await;
        assert!(
            matches!(&answer, Err(RepositoryError::AlreadyExists { key, .. }) if key == "manifest.json"),
            "{answer:?}"
        );
    }
    assert_stands(&*repository, "manifest.json", &first).await;
}

/// What decides that two runs never both seal.
pub async fn of_twelve_racers_exactly_one_wins(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let racers = (0..12u8).map(|number| {
        let repository = Arc::clone(&repository);
        tokio::spawn(async move { repository.put_new("race", Bytes::from(vec![number; 1_000])).await })
    });
    let mut winners = Vec::new();
    for (number, racer) in racers.collect::<Vec<_>>().into_iter().enumerate() {
        match racer.await.expect("joined") {
            Ok(_) => winners.push(number),
            Err(lost) => {
                assert!(matches!(lost, RepositoryError::AlreadyExists { .. }), "racer {number}: {lost:?}")
            }
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    let expected = Bytes::from(vec![u8::try_from(winners[0]).expect("small"); 1_000]);
    assert_stands(&*repository, "race", &expected).await;
}

/// No bytes are bytes too.
pub async fn an_object_may_be_empty(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    repository.put_new("empty", Bytes::new()).await.expect("put");
    assert_stands(&*repository, "empty", &Bytes::new()).await;
    let uploaded = super::upload(&*repository, "uploaded", &Bytes::new()).await.expect("upload");
    assert_eq!(uploaded.size_bytes, 0);
    assert_stands(&*repository, "uploaded", &Bytes::new()).await;
}

/// Keys go through URLs, XML and file systems unchanged.
pub async fn keys_keep_unusual_but_legal_characters(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let mut keys = [
        "with space/and+plus.json",
        "percent%20literal",
        "umlaut-äöü/日本.json",
        "brackets[1](2){3}",
        "quote'and\"double",
        "amp&hash#question?colon:semi;comma,at@equals=",
        "tilde~caret^dollar$star*bang!",
        "0/0-1.seg.zst.age",
        ".hidden/..twodots/...",
    ];
    for key in keys {
        repository.put_new(key, Bytes::copy_from_slice(key.as_bytes())).await.expect(key);
    }
    for key in keys {
        assert_stands(&*repository, key, &Bytes::copy_from_slice(key.as_bytes())).await;
    }
    keys.sort_unstable();
    let listed: Vec<_> =
        repository.list("").await.expect("list").into_iter().map(|object| object.key).collect();
    assert_eq!(listed, keys);
}

/// A person must be told which of the two to create.
pub async fn a_missing_repository_is_told_from_a_missing_object(bench: &dyn RepositoryBench) {
    assert_absent(&*bench.empty().await, "nothing").await;
    let missing = bench.missing().await;
    let bytes = Bytes::from_static(b"x");
    let is_missing = |error: Option<RepositoryError>, act: &str| {
        assert!(matches!(error, Some(RepositoryError::Missing { .. })), "{act}: {error:?}");
    };
    is_missing(missing.put_new("a", bytes.clone()).await.err(), "put_new");
    is_missing(super::upload(&*missing, "a", &bytes).await.err(), "upload");
    is_missing(missing.get("a", 10).await.err(), "get");
    is_missing(super::download(&*missing, "a").await.0.err(), "download");
    is_missing(missing.head("a").await.err(), "head");
    is_missing(missing.list("").await.err(), "list");
    is_missing(missing.sweep_unfinished("").await.err(), "sweep_unfinished");
}

/// Equal bytes under the same key, or `Ok(None)` and the caller streams.
pub async fn a_copy_within_its_own_kind_is_equal_and_never_overwrites(bench: &dyn RepositoryBench) {
    let (from, to) = (bench.empty().await, bench.empty().await);
    let (small, taken) = (pattern(70_000, 2), Bytes::from_static(b"stands already"));
    for key in ["dir one/small+ä", "taken"] {
        from.put_new(key, small.clone()).await.expect("put");
    }
    to.put_new("taken", taken.clone()).await.expect("put");

    let copied = to.copy_from(&from.url(), "dir one/small+ä").await.expect("copy");
    assert_eq!(copied.is_some(), bench.copies_by_itself());
    assert_eq!(to.copy_from("other://kind/of/store", "dir one/small+ä").await.expect("asked"), None);
    let Some(copied) = copied else { return };
    assert_eq!((copied.key.as_str(), copied.size_bytes), ("dir one/small+ä", 70_000));
    assert_stands(&*to, "dir one/small+ä", &small).await;
    let refused = to.copy_from(&from.url(), "taken").await;
    assert!(matches!(refused, Err(RepositoryError::AlreadyExists { .. })), "{refused:?}");
    assert_stands(&*to, "taken", &taken).await;
    let nothing = to.copy_from(&from.url(), "not there").await;
    assert!(matches!(nothing, Err(RepositoryError::NotFound { .. })), "{nothing:?}");
    assert_copies_what_was_uploaded(&*from, &*to).await;
}

async fn assert_copies_what_was_uploaded(from: &dyn Repository, to: &dyn Repository) {
    let large = pattern(super::CHUNK_BYTES + 1, 3);
    super::upload(from, "large", &large).await.expect("upload");
    to.copy_from(&from.url(), "large").await.expect("copy").expect("copied by itself");
    assert_stands(to, "large", &large).await;
}
