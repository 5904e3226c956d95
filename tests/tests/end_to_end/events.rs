//! The example events of `functions/events`, which are for `sam local invoke`, through the runtime API of the deployed
//! functions: real binaries, real catalog. Nothing stands of the run that they tell of.

use crate::cloud::Cloud;
use serde_json::Value;
use std::path::Path;

/// Every other example event, and the class of its error if it is one: the policy stands, the run's secret, bucket, lease
/// and verdict do not.
const EVENTS: [(&str, Option<&str>); 20] = [
    ("begin", None),
    ("hold-snapshot", Some("Keepsake.Permanent")),
    ("dump", Some("Keepsake.Permanent")),
    ("encrypt-upload", Some("Keepsake.Permanent")),
    ("release-snapshot", None),
    ("seal", Some("Keepsake.Permanent")),
    ("replicate", Some("Keepsake.Conflict")),
    ("provision-instance", Some("Keepsake.Conflict")),
    ("restore", Some("Keepsake.Conflict")),
    ("verify-restore", Some("Keepsake.Conflict")),
    ("drop-instance", None),
    ("record", Some("Keepsake.Integrity")),
    ("alert", None),
    ("alert.changes-lost", None),
    // The policy captures no changes, no run of that id is known, and there is no slot.
    ("protect", None),
    ("capture", Some("Keepsake.Permanent")),
    ("record-capture", Some("Keepsake.Permanent")),
    ("record-capture.failed", None),
    ("record-capture.from-rule", None),
    ("govern", None),
];

/// These end the run that begin opened, and wait a minute for the instance that it may still create; side by side.
const PATIENT: [&str; 2] = ["record-failure", "record-failure.from-rule"];

#[tokio::test(flavor = "multi_thread")]
async fn every_example_event_is_taken_by_its_deployed_function_which_answers_as_ours_do() {
    let cloud = Cloud::take();
    let folder = tempfile::tempdir().unwrap();
    for (event, class) in EVENTS {
        let answer = invoke(&cloud, event, folder.path());
        assert_eq!(answer["errorType"].as_str(), class, "{event}: {answer}");
    }
    std::thread::scope(|scope| {
        let (cloud, folder) = (&cloud, folder.path());
        let patient = PATIENT.map(|event| scope.spawn(move || (event, invoke(cloud, event, folder))));
        for (event, answer) in patient.map(|one| one.join().unwrap()) {
            assert!(answer["errorType"].is_null(), "{event}: {answer}");
        }
    });
    assert_eq!(cloud.instances(), [""; 0], "an instance for a run that never was");
}

fn invoke(cloud: &Cloud, event: &str, folder: &Path) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/events/{event}.json"));
    let (function, _) = event.split_once('.').unwrap_or((event, ""));
    let (name, payload) = (format!("keepsake-{function}"), format!("fileb://{}", file.display()));
    let out = folder.join(event);
    let invoke =
        ["lambda", "invoke", "--cli-read-timeout", "240", "--function-name", &name, "--payload", &payload];
    cloud.aws(&[invoke.as_slice(), &[out.to_str().unwrap()]].concat()).unwrap();
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}
