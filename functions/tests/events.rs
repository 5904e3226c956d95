//! The events for `sam local invoke` are what the handlers take.
#![allow(clippy::unwrap_used)]

use keepsake_functions::handlers::{
    AlertInput, BeginInput, CaptureInput, CopyChangesInput, CopyInput, DropInput, EncryptUploadInput,
    FailureInput, GovernInput, HoldInput, RecordCaptureInput, RecordInput, RestoreInput, RunInput,
    VerifyInput,
};
use serde::de::DeserializeOwned;
use std::path::Path;

fn parse<I: DeserializeOwned>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("events").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    if let Err(error) = serde_json::from_str::<I>(&text) {
        unreachable!("{}: {error}", path.display());
    }
}

#[test]
fn every_example_event_is_what_its_handler_takes() {
    parse::<BeginInput>("begin");
    parse::<HoldInput>("hold-snapshot");
    parse::<EncryptUploadInput>("encrypt-upload");
    parse::<CopyInput>("replicate");
    parse::<RestoreInput>("restore");
    parse::<VerifyInput>("verify-restore");
    parse::<DropInput>("drop-instance");
    parse::<RecordInput>("record");
    parse::<AlertInput>("alert");
    parse::<FailureInput>("record-failure");
    parse::<FailureInput>("record-failure.from-rule");
    parse::<BeginInput>("protect");
    parse::<CaptureInput>("capture");
    parse::<CopyChangesInput>("copy-changes");
    parse::<CopyChangesInput>("probe-rpo");
    parse::<GovernInput>("govern");
    parse::<RecordCaptureInput>("record-capture");
    parse::<RecordCaptureInput>("record-capture.failed");
    parse::<RecordCaptureInput>("record-capture.from-rule");
    parse::<RecordCaptureInput>("record-capture.copy-failed");
    parse::<AlertInput>("alert.changes-lost");
    for name in ["dump", "release-snapshot", "seal", "provision-instance"] {
        parse::<RunInput>(name);
    }
}

#[test]
fn a_failure_of_a_copy_that_is_not_understood_completes_no_run() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/record-capture.copy-failed.json");
    let event: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let read = |event: serde_json::Value| serde_json::from_value::<RecordCaptureInput>(event);
    assert!(matches!(read(event.clone()).unwrap(), RecordCaptureInput::CopyFailed(_)));
    for (field, wrong) in [
        ("copy", serde_json::Value::Null),
        ("copy", serde_json::json!({})),
        ("failure", serde_json::Value::Null),
        ("failure", serde_json::json!("other")),
    ] {
        let mut event = event.clone();
        event[field] = wrong;
        assert!(read(event).is_err(), "{field}");
    }
    assert!(matches!(
        read(serde_json::json!({"run": event["run"]})).unwrap(),
        RecordCaptureInput::Completed(_)
    ));
}
