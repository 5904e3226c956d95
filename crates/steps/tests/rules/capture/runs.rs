//! Runs of a capture: undisturbed, with a fault or a death at any call, and two at once.

use super::{BOUNDS, Bench, ready};
use crate::one_fault::Kind;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::{CaptureSeen, StandingChanges, Until, capture_changes, protect_source};
use keepsake_testkit::{Fault, Faults, Gate};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn what_was_written_is_captured_once_and_confirmed_and_nothing_is_recorded_too() {
    let bench = Bench::new();
    bench.protect().await;
    bench.write();
    let first = bench.once().await;
    assert!(first.segments > 1 && first.transactions == 5 && first.changes == 74, "{first:?}");
    bench.check("after the first run").await;
    let idle = bench.once().await;
    assert_eq!((idle.segments, idle.transactions), (1, 0));
    bench.write();
    bench.once().await;
    bench.check("after the third run").await;
    let standing = bench.standing().await;
    let tables: u64 = standing
        .iter()
        .filter_map(StandingChanges::segment)
        .flat_map(|one| &one.tables)
        .map(|one| one.inserts)
        .sum();
    assert_eq!(tables, 148);
}

#[tokio::test]
async fn a_run_that_follows_ends_segments_by_time_also_when_nothing_happens() {
    let bench = Bench::new();
    bench.protect().await;
    let process = bench.process(&Arc::default());
    let until = Until::After(Duration::from_secs(35));
    let idle = capture_changes(&process.capture(), BOUNDS, until, &|_| {}).await.unwrap();
    assert_eq!((idle.segments, idle.transactions), (4, 0));
    let (source, committed, clock) =
        (bench.source.clone(), Arc::new(Mutex::new(Vec::new())), bench.clock.clone());
    let written = committed.clone();
    let write = move |_: CaptureSeen<'_>| {
        clock.advance(Duration::from_secs(1));
        written.lock().unwrap().push(source.commit(2, 50));
    };
    let busy = capture_changes(&process.capture(), BOUNDS, until, &write).await.unwrap();
    // What the last segment's observer wrote is left to the next run.
    assert_eq!(busy.transactions + 1, busy.segments);
    bench.once().await;
    *bench.committed.lock().unwrap() = committed.lock().unwrap().clone();
    bench.check("after the last run").await;
}

/// One call of a run: kind and number.
async fn calls(bench: &Bench) -> Vec<(String, usize)> {
    let faults = Arc::new(Faults::new());
    let process = bench.process(&faults);
    process.once().await.unwrap();
    let calls = faults.calls().into_iter();
    calls.flat_map(|(kind, count)| (0..count).map(move |number| (kind.clone(), number))).collect()
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_capture_and_a_death_at_any_converges_without_loss() {
    let all = calls(&ready().await).await;
    let mut failed = 0;
    for (kind, number) in &all {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let bench = ready().await;
            let faults = how.at(kind, *number);
            let faulty = bench.process(&faults);
            tokio::select! {
                biased;
                outcome = faulty.once() => assert!(outcome.is_err(), "{at}: a fault looks good"),
                () = how.dies(&faults, kind, *number) => {}
            }
            failed += 1;
            bench.write();
            bench.once().await;
            bench.check(&at).await;
        }
    }
    println!("capture: {} calls, {failed} runs that failed and were followed by one that went on", all.len());
    assert!(all.len() > 30, "{all:?}");
}

#[tokio::test]
async fn a_fault_while_a_source_is_protected_leaves_nothing_that_looks_protected_and_is_not() {
    let faults = Arc::new(Faults::new());
    let process = Bench::new().process(&faults);
    protect_source(&process.capture()).await.unwrap();
    let all = faults.calls();
    for (kind, number) in all.into_iter().flat_map(|(kind, count)| (0..count).map(move |n| (kind.clone(), n)))
    {
        for fault in [Fault::Refuse, Fault::DoAndReportFailure] {
            let bench = Bench::new();
            let faulty = bench.process(&Arc::new(Faults::new().at_call(&kind, number, fault)));
            let refused = protect_source(&faulty.capture()).await;
            assert!(refused.is_err(), "{kind} {number}");
            // Without a chain nothing is captured, and the answer says what to do.
            if bench.standing().await.is_empty() {
                let error = bench.process(&Arc::default()).once().await.unwrap_err();
                assert_eq!(error.class(), FailureClass::Permanent);
                assert!(error.explanation().next.contains("keepsake protect"), "{error}");
            }
            bench.protect().await;
            bench.write();
            assert_eq!(bench.once().await.gap, None, "{kind} {number}");
            bench.check(&format!("{kind} {number}")).await;
        }
    }
}

#[tokio::test]
async fn of_two_captures_that_race_one_wins_and_the_other_confirms_nothing() {
    let bench = ready().await;
    bench.source.share_slot();
    let gate = Gate::default();
    let faults = Arc::new(Faults::new().at_call("ChangeSource.boundary", 0, Fault::HoldAnswer(gate.clone())));
    let (slow, fast) = (bench.process(&faults), bench.process(&Arc::default()));
    let race = async {
        let captured = fast.once().await.unwrap();
        gate.open();
        captured
    };
    let (slow, fast) = tokio::join!(slow.once(), race);
    let error = slow.unwrap_err();
    assert_eq!(error.class(), FailureClass::Conflict, "{error}");
    assert!(!faults.calls().contains_key("ChangeStream.confirm"));
    assert!(fast.segments > 1);
    bench.check("after the race").await;
}
