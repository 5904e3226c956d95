use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn look(wal_mib: u64, retained_mib: u64) -> SlotLook {
    SlotLook {
        wal_lsn: Lsn(wal_mib * MIB),
        retained_bytes: retained_mib * MIB,
        free_bytes: None,
        catalog_age_transactions: 0,
        oldest_transaction_seconds: 0,
        lost: None,
    }
}

fn limits(budget_mib: u64) -> GovernorLimits {
    GovernorLimits { wal_budget_bytes: budget_mib * MIB, ..GovernorLimits::default() }
}

#[test]
fn a_slot_that_keeps_little_stays() {
    assert_eq!(govern(&limits(1_000), None, &look(5_000, 249)), GovernorVerdict::Keep);
}

#[test]
fn people_are_told_before_the_slot_goes() {
    assert!(matches!(govern(&limits(1_000), None, &look(5_000, 250)), GovernorVerdict::Warn(_)));
    assert!(matches!(govern(&limits(1_000), None, &look(5_000, 500)), GovernorVerdict::Drop(_)));
}

#[test]
fn a_storm_that_would_pass_the_budget_before_the_look_after_the_next_ends_the_slot_at_once() {
    let (before, now) = (look(0, 0), look(400, 300));
    let verdict = govern(&limits(1_000), Some((&before, Duration::from_secs(60))), &now);
    let expected_bytes = (300 * MIB) + 400 * MIB / 60 * 120;
    let pace = Reason::Pace { expected_bytes, budget_bytes: 1_000 * MIB };
    assert_eq!(verdict, GovernorVerdict::Drop(vec![pace]));
}

#[test]
fn a_nearly_full_disk_lowers_the_budget() {
    let now = SlotLook { free_bytes: Some(500 * MIB), ..look(5_000, 300) };
    // Half of 800 MiB is the budget; 300 of 400 are more than half.
    assert!(matches!(govern(&limits(10_000), None, &now), GovernorVerdict::Drop(_)));
    let roomy = SlotLook { free_bytes: Some(50_000 * MIB), ..now };
    assert_eq!(govern(&limits(10_000), None, &roomy), GovernorVerdict::Keep);
}

#[test]
fn catalogs_that_cannot_be_cleaned_up_end_the_slot_too() {
    let old = |transactions| SlotLook { catalog_age_transactions: transactions, ..look(1, 0) };
    assert_eq!(govern(&limits(1_000), None, &old(249_999_999)), GovernorVerdict::Keep);
    assert!(matches!(govern(&limits(1_000), None, &old(250_000_000)), GovernorVerdict::Warn(_)));
    assert!(matches!(govern(&limits(1_000), None, &old(500_000_000)), GovernorVerdict::Drop(_)));
}

#[test]
fn a_transaction_that_is_open_for_long_is_told_and_ends_nothing() {
    let now = SlotLook { oldest_transaction_seconds: 3_600, ..look(1, 0) };
    let told = GovernorVerdict::Warn(vec![Reason::OldTransaction { seconds: 3_600 }]);
    assert_eq!(govern(&limits(1_000), None, &now), told);
}

/// What happens in one interval.
#[derive(Debug, Clone, Copy)]
struct Minute {
    /// WAL written, in MiB.
    written: u64,
    /// Capture confirms nothing: it is dead, its repository is away, or a transaction is open since long.
    capture_stands: bool,
    /// The governor does not run.
    look_is_missed: bool,
}

fn minutes(most_written: u64) -> impl Strategy<Value = Vec<Minute>> {
    // Failures last: a coin for each minute alone would mend them at once.
    let spell = (0..=most_written, prop::bool::weighted(0.7), 1_usize..60, prop::bool::weighted(0.2));
    prop::collection::vec(spell, 1..20).prop_map(|spells| {
        let mut minutes: Vec<Minute> = Vec::new();
        for (written, capture_stands, length, misses) in spells {
            for minute in 0..length {
                let missed_before = minutes.last().is_some_and(|last| last.look_is_missed);
                let look_is_missed = misses && minute % 3 == 0 && !missed_before;
                minutes.push(Minute { written, capture_stands, look_is_missed });
            }
        }
        minutes
    })
}

/// The most that the slot ever kept, and whether it went.
fn simulate(limits: &GovernorLimits, minutes: &[Minute]) -> (u64, bool, bool) {
    let (mut wal, mut retained, mut most, mut warned) = (0, 0, 0, false);
    let mut before: Option<(SlotLook, u64)> = None;
    for (minute, happens) in minutes.iter().enumerate() {
        wal += happens.written;
        retained = if happens.capture_stands { retained + happens.written } else { happens.written };
        most = most.max(retained);
        if happens.look_is_missed {
            continue;
        }
        let now = look(wal, retained);
        let since = before.as_ref().map(|(look, at)| (look, Duration::from_secs((minute as u64 - at) * 60)));
        match govern(limits, since, &now) {
            GovernorVerdict::Keep => {}
            GovernorVerdict::Warn(_) => warned = true,
            GovernorVerdict::Drop(_) => return (most, true, warned),
        }
        before = Some((now, minute as u64));
    }
    (most, false, warned)
}

proptest! {
    /// Capture dead, repository away, writes in storms, looks missed, in any order and for any time: the budget holds.
    #[test]
    fn the_budget_holds_whatever_fails_and_for_how_long(minutes in minutes(249)) {
        let limits = limits(1_000);
        let (most, _, _) = simulate(&limits, &minutes);
        prop_assert!(most < 1_000, "the slot kept {most} MiB of 1000");
    }

    /// A slot whose capture never stands still is not dropped for what the source writes.
    #[test]
    fn a_slot_whose_capture_keeps_up_stays(minutes in minutes(120)) {
        let alive: Vec<Minute> = minutes.into_iter().map(|m| Minute { capture_stands: false, ..m }).collect();
        prop_assert!(!simulate(&limits(1_000), &alive).1);
    }

    /// A slow leak is told before it ends the slot.
    #[test]
    fn a_slow_leak_is_told_before_the_slot_goes(minutes in minutes(40)) {
        let (_, dropped, warned) = simulate(&limits(1_000), &minutes);
        prop_assert!(!dropped || warned);
    }
}
