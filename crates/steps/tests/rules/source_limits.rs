//! Rule 6: where a bound of what the source bears is reached, the run gives way or gives up, and says so.

use crate::{ALL_IS_WELL, manifests, with_policy};
use keepsake_domain::FailureClass;
use keepsake_steps::ports::{Clock, GiveWay, Waiting};
use keepsake_steps::{Lane, Run};
use keepsake_testkit::SourceFault;
use keepsake_testkit::scenario::{Failed, Scenario, Setting};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time goes by second by second, so that holders show life. It has to be pushed: while a sealer waits for rows on its
/// thread, a paused clock does not go on by itself.
async fn let_pass(seconds: u64) {
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
}

/// Each read of a table takes this long, until it is changed.
fn slow_reads(scenario: &Scenario) -> Arc<AtomicU64> {
    let seconds = Arc::new(AtomicU64::new(60));
    let takes = Arc::clone(&seconds);
    scenario.source.between_reads(move || Box::pin(let_pass(takes.load(Ordering::SeqCst))));
    seconds
}

async fn gave_up(scenario: &Arc<Scenario>, failed: &Failed, says: &str) {
    assert_eq!(failed.class, FailureClass::Permanent, "{}: {}", failed.state, failed.text);
    assert!(failed.text.contains(says), "\"{says}\" is not in: {}", failed.text);
    assert_eq!(scenario.source.holders(), 0);
    assert!(scenario.source.readers_ended() > 0, "workers may read on");
    assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_snapshot_grows_too_old_is_given_up_and_the_next_one_succeeds() {
    let scenario = Scenario::new(Setting::default());
    // Many holders: the age is the snapshot's and not the holder's.
    with_policy(&scenario, |policy| {
        policy.limits.max_snapshot_age_seconds = 100;
        policy.relay_seconds = 10;
    })
    .await;
    let seconds = slow_reads(&scenario);
    let began = scenario.clock.now();

    let failed = scenario.run("run-1").await.unwrap_err();

    gave_up(&scenario, &failed, "this policy allows 100 s").await;
    let spent = scenario.clock.now().duration_since(began).as_secs();
    assert!(spent >= 100, "given up after {spent} s");
    seconds.store(0, Ordering::SeqCst);
    assert_eq!(scenario.run("run-2").await.unwrap().rows, 35);
}

#[tokio::test(start_paused = true)]
async fn a_run_during_which_too_many_transactions_begin_is_given_up() {
    let scenario = Scenario::new(Setting::default());
    with_policy(&scenario, |policy| policy.limits.max_snapshot_age_transactions = 1000).await;
    let source = Arc::clone(&scenario.source);
    let writes = Arc::new(AtomicU64::new(500));
    let each = Arc::clone(&writes);
    scenario.source.between_reads(move || {
        (0..each.load(Ordering::SeqCst)).for_each(|_| source.write(|_| {}));
        Box::pin(let_pass(2))
    });

    let failed = scenario.run("run-1").await.unwrap_err();

    gave_up(&scenario, &failed, "transactions began since the snapshot and this policy allows 1000").await;
    writes.store(10, Ordering::SeqCst);
    assert_eq!(scenario.run("run-2").await.unwrap().rows, 35);
}

fn waiting(reader_pid: i32, seconds: u64) -> Waiting {
    let wants = "AccessExclusiveLock on public.guests".to_owned();
    Waiting { reader_pid, wants, waited: Duration::from_secs(seconds) }
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_our_lock_for_too_long_comes_first() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let (it, held): (_, Run) = (Arc::clone(&scenario), run.clone());
    let lane = tokio::spawn(async move { it.hold(&held, Lane::First).await });
    // The default patience is ten seconds; a cancel that did not help for five more becomes the session's end.
    for (pid, seconds) in [(1, 9), (2, 10), (3, 14), (4, 15)] {
        scenario.source.wait_behind(waiting(pid, seconds));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let gave_way = [(2, GiveWay::Cancel), (3, GiveWay::Cancel), (4, GiveWay::Terminate)];
    assert_eq!(scenario.source.gave_way(), gave_way);
    scenario.release(&run).await.unwrap();
    lane.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_gave_way_is_read_again_and_the_backup_is_whole() {
    let scenario = Scenario::new(Setting::default());
    scenario.source.fail_with(SourceFault::SchemaGaveWay);
    for _ in 0..2 {
        scenario.source.fail_with(SourceFault::GaveWay { table: "guests".to_owned() });
    }
    assert_eq!(scenario.run("run-1").await.unwrap().rows, 35);
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_gives_way_every_time_fails_the_run_which_says_why() {
    let scenario = Scenario::new(Setting::default());
    // More than three tries in each of a machine's six calls.
    for _ in 0..100 {
        scenario.source.fail_with(SourceFault::GaveWay { table: "guests".to_owned() });
    }
    let failed = scenario.run("run-1").await.unwrap_err();
    assert_eq!(failed.class, FailureClass::Transient);
    let says = "reading table public.guests was cancelled on memory:5432/wedsync so that others could go on";
    assert!(failed.text.contains(says), "{}", failed.text);
    assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}
