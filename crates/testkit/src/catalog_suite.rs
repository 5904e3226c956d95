//! What every catalog must do, as one test per claim. An adapter runs it with [`crate::catalog_suite!`].

mod captures;
mod executions;
mod holds;
mod leases;
mod records;
pub mod samples;

use async_trait::async_trait;
use keepsake_domain::BackupId;
use keepsake_steps::ports::{
    AlertLog, CaptureLog, Copies, Executions, Holds, Leases, Policies, Policy, Tests,
};
use std::{sync::Arc, time::Duration};

pub use captures::*;
pub use executions::*;
pub use holds::*;
pub use leases::*;
pub use records::*;

/// All ports of the catalog in one.
pub trait Catalog: Policies + Leases + Executions + Holds + Copies + Tests + AlertLog + CaptureLog {}

impl<C: Policies + Leases + Executions + Holds + Copies + Tests + AlertLog + CaptureLog> Catalog for C {}

/// Makes catalogs for the suite.
#[async_trait]
pub trait CatalogBench: Send + Sync {
    /// A fresh catalog without runs that knows [`suite_policy`]'s name, and as many handles on it: each as another
    /// process would have it.
    async fn catalogs(&self, handles: usize) -> Vec<Arc<dyn Catalog>>;
    /// Lets the catalog's time go by.
    async fn pass(&self, time: Duration);
    /// Status and error of a backup's only copy, as they stand in the store: no step reads them.
    async fn copy_status(&self, backup_id: BackupId) -> (String, Option<String>);
}

/// The policy that a bench declares: source `wedsync`, one copy. Ids are the catalog's own.
#[must_use]
pub fn suite_policy() -> &'static str {
    "wedsync-nightly"
}

/// One `#[tokio::test]` per claim of the suite; `$bench` is an expression that makes a [`CatalogBench`].
#[macro_export]
macro_rules! catalog_suite {
    ($bench:expr) => {
        $crate::catalog_suite!(@ $bench;
            an_unknown_policy_is_an_error_and_never_a_default,
            a_second_acquire_by_the_holder_keeps_the_token,
            a_held_lease_names_its_holder,
            of_twelve_racers_for_a_lease_exactly_one_wins,
            an_expired_lease_goes_on_with_a_greater_token_and_fences_the_old_one,
            an_expired_lease_is_not_renewed,
            a_release_is_repeatable_and_takes_nothing_from_the_next_holder,
            a_repeated_open_finds_the_first_run,
            of_six_that_open_one_execution_all_get_one_run,
            an_unknown_execution_is_none,
            sealed_twice_is_one_recovery_point,
            another_manifest_for_the_same_backup_is_refused,
            a_run_without_recovery_point_does_not_complete,
            completing_twice_is_success,
            a_failed_run_does_not_complete,
            a_completed_run_does_not_fail_afterwards,
            a_first_failure_stands,
            a_repeated_step_is_counted,
            holders_are_numbered_from_one_and_the_newest_counts,
            two_lanes_that_announce_at_once_never_share_a_number,
            a_silent_holder_is_taken_for_dead,
            an_ended_holder_is_not_current,
            a_release_reaches_every_holder_and_is_repeatable,
            a_holder_after_the_release_is_never_current,
            a_copy_is_recorded_from_its_first_attempt_to_its_proof,
            a_run_that_fails_ends_its_open_copies_and_no_others,
            a_running_test_is_found_again,
            a_verdict_is_final,
            the_newest_verdict_counts,
            a_notice_is_told_once_it_was_delivered_and_not_again,
            a_run_that_never_opened_is_told_once_too,
            a_capture_completes_only_with_what_it_captured,
            a_gap_is_news_until_a_run_that_captured_behind_it_has_completed,
            a_changed_schema_is_remembered_behind_its_run,
            a_schema_change_that_is_run_again_is_a_boundary_to_join_at_and_no_news,
            fulls_are_known_to_a_capture_with_what_joins_them,
            no_more_fulls_are_looked_at_than_a_month_has,
            a_full_that_was_found_damaged_joins_no_changes,
            a_position_moves_on_and_never_back,
            the_governors_newest_look_is_kept,
            what_was_read_back_of_a_copy_is_kept_whatever_failed_there,
        );
    };
    (@ $bench:expr; $($claim:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::catalog_suite::$claim(&$bench).await;
            }
        )+
    };
}

/// One handle on a fresh catalog, and the suite's policy.
async fn single(bench: &dyn CatalogBench) -> (Arc<dyn Catalog>, Policy) {
    let catalog = bench.catalogs(1).await.remove(0);
    let policy = catalog.policy(suite_policy()).await.expect("the bench declares the suite's policy");
    (catalog, policy)
}

/// The claim holds when this is an error of that variant.
macro_rules! refused {
    ($outcome:expr, $variant:ident) => {{
        let outcome = $outcome;
        assert!(
            matches!(outcome, Err(keepsake_steps::ports::CatalogError::$variant { .. })),
            "expected {}, got {outcome:?}",
            stringify!($variant)
        );
    }};
}
use refused;
