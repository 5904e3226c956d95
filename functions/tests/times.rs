//! Times that the code counts on are those that the template gives.
#![allow(clippy::unwrap_used)]

use keepsake_functions::handlers::RECORD_FAILURE_TIME;
use keepsake_steps::LATE_CREATION;
use std::path::Path;
use std::time::Duration;

/// `Timeout` of a function in `infra/template.yaml`.
fn timeout(function: &str) -> Duration {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/template.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, block) = text.split_once(&format!("\n  {function}:\n")).unwrap();
    let line = block.lines().find_map(|line| line.trim().strip_prefix("Timeout: ")).unwrap();
    Duration::from_secs(line.parse().unwrap())
}

#[test]
fn the_time_to_wait_for_an_instance_is_measured_from_the_functions_own_timeout() {
    assert_eq!(timeout("RecordFailureFunction"), RECORD_FAILURE_TIME);
    assert_eq!(timeout("ProvisionInstanceFunction"), LATE_CREATION);
}
