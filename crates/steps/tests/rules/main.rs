//! The rules that must never break, each with what tries to break it, on the twins.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod applying;
mod batches;
mod capture;
mod capture_run;
mod copy_run;
mod cut_streams;
mod differential;
mod failed_run;
mod fault_sweep;
mod fencing;
mod full_backups;
mod held_snapshot;
mod killed_upload;
mod manifest_last;
mod negative_controls;
mod next_part;
mod one_fault;
mod repository_alone;
mod schema_replay;
mod source_limits;
mod telling;
mod throwaway_instance;
mod told_later;
mod waiting_rows;
mod whole_run;

use keepsake_steps::Run;
use keepsake_steps::ports::{Policies, Policy, Repository};
use keepsake_testkit::scenario::Scenario;
use std::sync::Arc;

/// A run that is ready to be sealed.
async fn dumped(scenario: &Arc<Scenario>, execution_id: &str) -> Run {
    let run = scenario.begin(execution_id).await.unwrap();
    scenario.dump_on_held_snapshot(&run).await.unwrap();
    run
}

/// Keys of all manifests in a repository.
async fn manifests(repository: &dyn Repository) -> Vec<String> {
    let objects = repository.list("").await.unwrap();
    objects.into_iter().map(|object| object.key).filter(|key| key.ends_with("manifest.json")).collect()
}

/// Changes the scenario's policy.
async fn with_policy(scenario: &Scenario, change: impl FnOnce(&mut Policy)) {
    let mut policy = scenario.catalog.policy("nightly").await.unwrap();
    change(&mut policy);
    scenario.catalog.add_policy(policy);
}

/// What a check says when all is well.
const ALL_IS_WELL: Vec<String> = Vec::new();
