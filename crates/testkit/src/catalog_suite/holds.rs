//! Who holds a run's snapshot.

use super::samples::opened;
use super::{Catalog, CatalogBench, refused, single, suite_policy};
use keepsake_domain::{ExecutionRowId, Timestamp};
use keepsake_steps::ports::{CatalogError, LiveHold};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

fn later() -> Timestamp {
    // The catalog keeps microseconds.
    let micros = (Timestamp::now() + Duration::from_secs(900)).as_microsecond();
    Timestamp::from_microsecond(micros).expect("within the calendar")
}

async fn publish(
    catalog: &dyn Catalog,
    run: ExecutionRowId,
    lane: &str,
    name: &str,
) -> Result<u32, CatalogError> {
    catalog.publish(run, lane, name, 7, later()).await
}

async fn current(catalog: &dyn Catalog, run: ExecutionRowId) -> Option<LiveHold> {
    catalog.current(run).await.expect("read the holder")
}

/// Readers import from the newest.
pub async fn holders_are_numbered_from_one_and_the_newest_counts(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await.id;
    assert_eq!((current(&*catalog, run).await, catalog.announced(run).await.expect("count")), (None, 0));
    let ends_at = later();
    assert_eq!(catalog.publish(run, "first", "snapshot-1", 7, ends_at).await.expect("publish"), 1);
    let first = LiveHold { relay_number: 1, snapshot_name: "snapshot-1".to_owned(), ends_at };
    assert_eq!(current(&*catalog, run).await, Some(first));
    assert_eq!(publish(&*catalog, run, "second", "snapshot-2").await.expect("publish"), 2);
    let newest = current(&*catalog, run).await.expect("a holder");
    assert_eq!((newest.relay_number, newest.snapshot_name.as_str()), (2, "snapshot-2"));
    assert_eq!(catalog.announced(run).await.expect("count"), 2);
    let other = opened(&*catalog, &policy).await.id;
    assert_eq!(publish(&*catalog, other, "first", "snapshot-3").await.expect("another run counts anew"), 1);
}

/// A shared number would let one lane end the other's hold.
pub async fn two_lanes_that_announce_at_once_never_share_a_number(bench: &dyn CatalogBench) {
    let catalogs = bench.catalogs(2).await;
    let policy = catalogs[0].policy(suite_policy()).await.expect("the suite's policy");
    let run = opened(&*catalogs[0], &policy).await.id;
    let lanes = catalogs.iter().zip(["first", "second"]).map(|(catalog, lane)| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            for relay in 0..10 {
                let name = format!("{lane}-{relay}");
                numbers.push(publish(&*catalog, run, lane, &name).await.expect("publish"));
            }
            numbers
        })
    });
    let mut numbers = BTreeSet::new();
    for lane in lanes.collect::<Vec<_>>() {
        numbers.extend(lane.await.expect("a lane ends"));
    }
    assert_eq!(numbers, (1..=20).collect());
    assert_eq!(catalogs[1].announced(run).await.expect("count"), 20);
}

/// A holder that died took its snapshot with it.
pub async fn a_silent_holder_is_taken_for_dead(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await.id;
    let number = publish(&*catalog, run, "first", "snapshot-1").await.expect("publish");
    assert!(!catalog.heartbeat(run, number).await.expect("alive"), "not released yet");
    bench.pass(Duration::from_secs(31)).await;
    assert_eq!(current(&*catalog, run).await, None);
    assert!(!catalog.heartbeat(run, number).await.expect("alive again"));
    assert_eq!(current(&*catalog, run).await.expect("it was only slow").relay_number, number);
    refused!(catalog.heartbeat(run, number + 1).await, NotFound);
}

/// The next newest takes its place.
pub async fn an_ended_holder_is_not_current(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await.id;
    let first = publish(&*catalog, run, "first", "snapshot-1").await.expect("publish");
    let second = publish(&*catalog, run, "second", "snapshot-2").await.expect("publish");
    for _ in 0..2 {
        catalog.ended(run, second).await.expect("ended");
    }
    assert_eq!(current(&*catalog, run).await.expect("the other lane").relay_number, first);
    catalog.ended(run, first).await.expect("ended");
    assert_eq!(current(&*catalog, run).await, None);
    assert_eq!(catalog.announced(run).await.expect("count"), 2, "ended holders were announced all the same");
}

/// A source's transaction does not stay open after the dump.
pub async fn a_release_reaches_every_holder_and_is_repeatable(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await.id;
    let first = publish(&*catalog, run, "first", "snapshot-1").await.expect("publish");
    let second = publish(&*catalog, run, "second", "snapshot-2").await.expect("publish");
    assert!(!catalog.is_released(run).await.expect("look"));
    for _ in 0..2 {
        catalog.release_all(run).await.expect("release");
        assert!(catalog.is_released(run).await.expect("look"));
        assert!(catalog.heartbeat(run, first).await.expect("alive"));
        assert!(catalog.heartbeat(run, second).await.expect("alive"));
    }
    catalog.ended(run, first).await.expect("an end after the release");
    assert_eq!(catalog.announced(run).await.expect("count"), 2);
    let other = opened(&*catalog, &policy).await.id;
    assert!(!catalog.is_released(other).await.expect("look"), "another run's snapshot is its own");
    assert!(catalog.announced(ExecutionRowId(Uuid::now_v7())).await.expect("count") == 0);
}

/// A holder that started late gets a number and no hold, and is told to end at its first sign of life.
pub async fn a_holder_after_the_release_is_never_current(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await.id;
    let first = publish(&*catalog, run, "first", "snapshot-1").await.expect("publish");
    catalog.release_all(run).await.expect("release");
    catalog.ended(run, first).await.expect("ended");
    let late = publish(&*catalog, run, "second", "snapshot-2").await.expect("a number, and no hold");
    assert_eq!(late, 2);
    assert!(catalog.heartbeat(run, late).await.expect("alive"), "it is told to end");
    catalog.ended(run, late).await.expect("an end of what never held");
    assert_eq!(current(&*catalog, run).await, None);
    assert_eq!(catalog.announced(run).await.expect("count"), 1, "it never held");
}
