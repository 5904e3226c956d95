//! Times that the code counts on are those that the template gives.
#![allow(clippy::unwrap_used)]

use keepsake_aws::CALL_TIMEOUT;
use keepsake_functions::handlers::RECORD_FAILURE_TIME;
use keepsake_steps::LATE_CREATION;
use std::path::Path;
use std::time::Duration;

fn template() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/template.yaml");
    std::fs::read_to_string(path).unwrap()
}

fn timeouts(text: &str) -> impl Iterator<Item = Duration> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Timeout: "));
    lines.map(|seconds| Duration::from_secs(seconds.parse().unwrap()))
}

/// `Timeout` of a function in `infra/template.yaml`.
fn timeout(function: &str) -> Duration {
    let text = template();
    let (_, block) = text.split_once(&format!("\n  {function}:\n")).unwrap();
    timeouts(block).next().unwrap()
}

#[test]
fn the_time_to_wait_for_an_instance_is_measured_from_the_functions_own_timeout() {
    assert_eq!(timeout("RecordFailureFunction"), RECORD_FAILURE_TIME);
    assert_eq!(timeout("ProvisionInstanceFunction"), LATE_CREATION);
}

#[test]
fn every_function_may_run_longer_than_a_call_that_is_never_answered_takes() {
    let text = template();
    assert!(timeouts(&text).count() > 10);
    assert!(timeouts(&text).all(|runs| runs > CALL_TIMEOUT + Duration::from_secs(10)));
}
