//! Reading and listing.

use super::{RepositoryBench, assert_stands, download, pattern, upload};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keepsake_steps::ports::{RepositoryError, chunks};
use std::time::Duration;

/// One more than a page of S3's listing and then some.
const MANY_OBJECTS: usize = 1_100;

/// The limit is the last size that passes.
pub async fn get_refuses_more_than_the_caller_can_hold(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    repository.put_new("a", pattern(1_000, 1)).await.expect("put");
    let refused = repository.get("a", 999).await;
    assert!(matches!(refused, Err(RepositoryError::TooLarge { limit_bytes: 999, .. })), "{refused:?}");
    assert_eq!(repository.get("a", 1_000).await.expect("get").len(), 1_000);
}

/// An object that is not there is an answer, not an error; neither a longer nor a shorter name is taken for it.
pub async fn head_tells_none_from_some(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    repository.put_new("dir/a", Bytes::from_static(b"x")).await.expect("put");
    for absent in ["dir", "dir/", "dir/a2", "dir/a/b", "di"] {
        assert_eq!(repository.head(absent).await.expect(absent), None, "{absent}");
    }
    assert_stands(&*repository, "dir/a", &Bytes::from_static(b"x")).await;
}

/// Every byte, in order, and only then the end.
pub async fn a_download_brings_the_exact_bytes_and_then_the_end(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    for (key, length) in [("empty", 0), ("one", 1), ("many", 300_001)] {
        let bytes = pattern(length, 7);
        repository.put_new(key, bytes.clone()).await.expect("put");
        let (answer, read, ended) = download(&*repository, key).await;
        answer.expect("download");
        assert!(ended && read == bytes, "{key}: {} bytes, end {ended}", read.len());
    }
}

/// An end that nobody sent must not be seen.
pub async fn a_download_of_a_missing_object_sends_no_end(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let (answer, read, ended) = download(&*repository, "nothing").await;
    assert!(matches!(answer, Err(RepositoryError::NotFound { .. })), "{answer:?}");
    assert!(read.is_empty() && !ended);
}

/// A reader that failed must not leave its download hanging, nor have it succeed.
pub async fn a_download_stops_when_nobody_listens(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    repository.put_new("many", pattern(2_000_000, 5)).await.expect("put");
    let (to, from) = chunks();
    drop(from);
    let answer = tokio::time::timeout(Duration::from_secs(20), repository.download("many", to)).await;
    assert!(matches!(answer, Ok(Err(RepositoryError::CutOff { .. }))), "{answer:?}");
}

/// No page is lost, no neighbour is taken for a child.
pub async fn a_listing_is_complete_sorted_and_bound_to_its_prefix(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let mut keys: Vec<_> = (0..MANY_OBJECTS).map(|number| format!("full/a/{number}")).collect();
    keys.extend(["full/ab/1".to_owned(), "other".to_owned()]);
    stream::iter(&keys)
        .map(|key| repository.put_new(key, Bytes::copy_from_slice(key.as_bytes())))
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await
        .expect("put");
    upload(&*repository, "full/a/uploaded", &pattern(9_000_000, 4)).await.expect("upload");
    keys.push("full/a/uploaded".to_owned());
    keys.sort_unstable();
    for prefix in ["", "full/a", "full/a/", "full/a/10", "other", "nothing"] {
        let listed = repository.list(prefix).await.expect("list");
        let expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(
            listed.iter().map(|object| &object.key).collect::<Vec<_>>(),
            expected,
            "prefix {prefix:?}"
        );
        for object in listed.iter().filter(|object| object.key != "full/a/uploaded") {
            assert_eq!(object.size_bytes, object.key.len() as u64, "{}", object.key);
        }
    }
}

/// What is behind a key, which need not be there itself; fewer than asked for only at the end.
pub async fn a_listing_goes_on_behind_a_key_and_ends_at_its_limit(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    for key in ["a/1", "a/2", "a/3", "a/30/x", "b/1"] {
        repository.put_new(key, Bytes::from_static(b"x")).await.expect("put");
    }
    let expected: [(&str, &str, usize, &[&str]); 7] = [
        ("a/", "a/1", 2, &["a/2", "a/3"]),
        ("a/", "a/15", 5, &["a/2", "a/3", "a/30/x"]),
        ("a/", "", 1, &["a/1"]),
        ("a/3", "a/3", 9, &["a/30/x"]),
        ("", "a/30/x", 9, &["b/1"]),
        ("a/", "a/30/x", 9, &[]),
        ("a/", "b", 9, &[]),
    ];
    for (prefix, after, limit, keys) in expected {
        let listed = repository.list_after(prefix, after, limit).await.expect("list");
        let listed: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(listed, keys, "{limit} behind {after:?} under {prefix:?}");
    }
}

/// However much lies in a folder, it is one name; objects beside folders and neighbours of the prefix are none.
pub async fn folders_are_told_once_each_without_what_is_in_them(bench: &dyn RepositoryBench) {
    let repository = bench.empty().await;
    let keys = ["a/full/2/x", "a/full/10/x", "a/full/2/y/z", "a/full/object", "a/fuller/3/x", "b/full/4/x"];
    for key in keys {
        repository.put_new(key, Bytes::from_static(b"x")).await.expect("put");
    }
    // An upload that was begun at the root is hidden in every repository, and so is the place where it lies.
    upload(&*repository, "c/uploaded", &pattern(9_000_000, 4)).await.expect("upload");
    let expected: [(&str, &[&str]); 5] = [
        ("a/full/", &["10", "2"]),
        ("a/", &["full", "fuller"]),
        ("a/full/2/", &["y"]),
        ("z/", &[]),
        ("", &["a", "b", "c"]),
    ];
    for (prefix, folders) in expected {
        assert_eq!(repository.folders(prefix).await.expect("list"), folders, "in {prefix:?}");
    }
}
