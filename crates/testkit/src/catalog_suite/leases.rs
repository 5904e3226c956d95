//! Policies and leases.
#![allow(clippy::panic, reason = "a claim that does not hold panics")]

use super::{CatalogBench, refused, single};
use keepsake_steps::ports::CatalogError;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

/// Nobody's decision is no decision.
pub async fn an_unknown_policy_is_an_error_and_never_a_default(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    refused!(catalog.policy("nobody-wrote-this").await, NotFound);
    assert_eq!(policy.source.name, "wedsync");
    assert_eq!(policy.copies.len(), 1, "the bench's policy has one copy");
    assert!(policy.is_active && !policy.kms_key_id.is_empty() && !policy.recovery_recipients.is_empty());
}

/// A repeated Begin is the same run.
pub async fn a_second_acquire_by_the_holder_keeps_the_token(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let first = catalog.acquire("policy", "ann", LONG).await.expect("a free lease");
    let second = catalog.acquire("policy", "ann", LONG).await.expect("our own lease");
    assert_eq!(second.token, first.token);
    assert!(second.expires_at >= first.expires_at, "a repeated step does not shorten the lease");
    catalog.renew(&first, LONG).await.expect("the holder renews");
    let other = catalog.acquire("another policy", "bob", LONG).await.expect("another lease is free");
    assert_eq!((other.name.as_str(), other.holder.as_str()), ("another policy", "bob"));
}

/// Whoever is refused can say why.
pub async fn a_held_lease_names_its_holder(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let held = catalog.acquire("policy", "ann", LONG).await.expect("a free lease");
    match catalog.acquire("policy", "bob", LONG).await {
        Err(CatalogError::Held { name, holder, expires_at }) => {
            assert_eq!((name.as_str(), holder.as_str(), expires_at), ("policy", "ann", held.expires_at));
        }
        other => panic!("expected Held, got {other:?}"),
    }
    let stolen = keepsake_steps::ports::Lease { holder: "bob".to_owned(), ..held };
    refused!(catalog.renew(&stolen, LONG).await, Fenced);
}

/// Two runs of one policy never overlap.
pub async fn of_twelve_racers_for_a_lease_exactly_one_wins(bench: &dyn CatalogBench) {
    let racers = bench.catalogs(12).await.into_iter().enumerate().map(|(number, catalog)| {
        tokio::spawn(async move { catalog.acquire("policy", &format!("racer {number}"), LONG).await })
    });
    let mut winners = Vec::new();
    let mut losers = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.expect("a racer ends") {
            Ok(lease) => winners.push(lease.holder),
            Err(CatalogError::Held { .. }) => losers += 1,
            Err(other) => panic!("a racer is told who holds it, not {other:?}"),
        }
    }
    assert_eq!((winners.len(), losers), (1, 11), "{winners:?}");
}

/// The old holder wakes up and finds that it is not the holder.
pub async fn an_expired_lease_goes_on_with_a_greater_token_and_fences_the_old_one(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let old = catalog.acquire("policy", "ann", SHORT).await.expect("a free lease");
    bench.pass(SHORT * 2).await;
    let new = catalog.acquire("policy", "bob", LONG).await.expect("an expired lease");
    assert!(new.token > old.token, "{} must be greater than {}", new.token, old.token);
    refused!(catalog.renew(&old, LONG).await, Fenced);
    catalog.release("policy", "ann", old.token).await.expect("a late release is success");
    refused!(catalog.acquire("policy", "cid", LONG).await, Held);
}

/// Whoever overslept must ask anew, also when nobody took the lease meanwhile: another might have come and gone.
pub async fn an_expired_lease_is_not_renewed(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let old = catalog.acquire("policy", "ann", SHORT).await.expect("a free lease");
    bench.pass(SHORT * 2).await;
    refused!(catalog.renew(&old, LONG).await, Fenced);
    let new = catalog.acquire("policy", "ann", LONG).await.expect("nobody took it");
    assert!(new.token > old.token, "{} must be greater than {}", new.token, old.token);
    refused!(catalog.renew(&old, LONG).await, Fenced);
    catalog.renew(&new, LONG).await.expect("the new one is ours");
}

/// A lost answer to a release does no harm.
pub async fn a_release_is_repeatable_and_takes_nothing_from_the_next_holder(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let first = catalog.acquire("policy", "ann", LONG).await.expect("a free lease");
    for _ in 0..2 {
        catalog.release("policy", "ann", first.token).await.expect("released");
    }
    let second = catalog.acquire("policy", "bob", LONG).await.expect("a released lease is free at once");
    assert!(second.token > first.token);
    catalog.release("policy", "ann", first.token).await.expect("a third release");
    catalog.renew(&second, LONG).await.expect("the next holder keeps it");
    catalog.release("no such lease", "ann", first.token).await.expect("nothing to give back");
}
