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
