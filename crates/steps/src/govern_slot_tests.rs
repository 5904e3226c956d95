use super::*;
use crate::ports::SourceError;
use async_trait::async_trait;
use keepsake_domain::{Lsn, Timestamp};
use std::sync::Mutex;

/// A slot that keeps so many bytes at each look; the last one again and again.
struct Slot {
    looks: Mutex<Vec<u64>>,
    stands: Mutex<bool>,
}

impl Slot {
    fn keeping(looks: &[u64]) -> Self {
        Self { looks: Mutex::new(looks.iter().rev().copied().collect()), stands: Mutex::new(true) }
    }
}

#[async_trait]
impl GovernedSlot for Slot {
    fn name(&self) -> &str {
        "keepsake_wedsync"
    }

    async fn look(&self) -> Result<Option<SlotLook>, SourceError> {
        if !*self.stands.lock().unwrap() {
            return Ok(None);
        }
        let mut looks = self.looks.lock().unwrap();
        let retained_bytes = if looks.len() > 1 { looks.pop().unwrap() } else { looks[0] };
        Ok(Some(SlotLook {
            wal_lsn: Lsn(retained_bytes),
            retained_bytes,
            free_bytes: None,
            catalog_age_transactions: 0,
            oldest_transaction_seconds: 0,
            lost: None,
        }))
    }

    async fn release_tables(&self) -> Result<Vec<TableName>, SourceError> {
        let cause = "the publication cannot be asked".into();
        Err(SourceError::Unreachable { place: "memory".to_owned(), cause })
    }

    async fn drop_slot(&self) -> Result<bool, SourceError> {
        Ok(std::mem::replace(&mut *self.stands.lock().unwrap(), false))
    }
}

struct NoTime;

#[async_trait]
impl Clock for NoTime {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    async fn sleep(&self, _span: Duration) {}
}

const MIB: u64 = 1 << 20;

fn limits() -> GovernorLimits {
    GovernorLimits { wal_budget_bytes: 1_000 * MIB, ..GovernorLimits::default() }
}

#[tokio::test]
async fn a_slot_that_costs_too_much_goes_and_says_so_and_a_second_call_finds_none() {
    let slot = Slot::keeping(&[600 * MIB]);
    let governed = govern_slot(&slot, &NoTime, &limits(), None).await.unwrap();
    assert!(governed.dropped);
    let told = governed.dropped_is_a_failure().unwrap_err();
    assert!(told.to_string().contains("keepsake_wedsync was dropped"), "{told}");
    let again = govern_slot(&slot, &NoTime, &limits(), None).await.unwrap();
    assert_eq!((again.look, again.dropped), (None, false));
}

#[tokio::test]
async fn the_pace_between_the_two_looks_counts() {
    let storm = Slot::keeping(&[200 * MIB, 300 * MIB]);
    assert!(govern_slot(&storm, &NoTime, &limits(), None).await.unwrap().dropped);
    let calm = Slot::keeping(&[300 * MIB, 300 * MIB]);
    let governed = govern_slot(&calm, &NoTime, &limits(), None).await.unwrap();
    assert!(matches!(governed.decision, GovernorVerdict::Warn(_)) && !governed.dropped);
    assert!(governed.dropped_is_a_failure().is_ok());
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_counts() {
    let slot = Slot::keeping(&[300 * MIB]);
    assert!(govern_slot(&slot, &NoTime, &limits(), Some(500 * MIB)).await.unwrap().dropped);
}
