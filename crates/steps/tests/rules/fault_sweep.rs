//! Rule 7: every call through every port fails once at every index, in four ways, in a good run and on the way down from
//! a bad one; whatever happens then, the next run converges and nothing is left behind.

use crate::ALL_IS_WELL;
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Fault, Faults, Gate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const KINDS: [&str; 4] = ["refused", "done and reported as failed", "held until the run is over", "late"];

/// Tries of a step, so that a call that fails so often ends its run.
const TRIES: usize = 4;

/// What happens before the fault that is swept.
struct Story {
    name: &'static str,
    /// A call that fails until its run gives up; then only what comes after it is swept.
    fails_at: Option<&'static str>,
}

const GOOD_RUN: Story = Story { name: "a good run", fails_at: None };

const BAD_RUNS: [Story; 4] = [
    Story { name: "a run that is never opened", fails_at: Some("Executions.open") },
    Story { name: "a run whose dump fails", fails_at: Some("Source.shape") },
    Story { name: "a run whose seal fails", fails_at: Some("Executions.sealed") },
    Story { name: "a run whose test restore fails", fails_at: Some("Target.begin") },
];

/// Which script a call takes its turn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    Repository,
    WorkBucket,
    Copy,
    Ports,
}

const SCRIPTS: [Script; 4] = [Script::Repository, Script::WorkBucket, Script::Copy, Script::Ports];

/// One call of a run: the how manieth of its kind, from 0.
#[derive(Debug, Clone)]
struct Call {
    script: Script,
    kind: String,
    number: usize,
}

impl Call {
    /// `Leases.renew`; the three stores are one port.
    fn operation(&self) -> String {
        if self.script == Script::Ports { self.kind.clone() } else { format!("Repository.{}", self.kind) }
    }
}

impl Story {
    fn setting(&self, fault: Option<(&Call, Fault)>, gate: Gate) -> Setting {
        let mut setting = Setting { gate, ..Setting::default() };
        for number in 0..TRIES {
            if let Some(kind) = self.fails_at {
                setting.ports = setting.ports.at_call(kind, number, Fault::Refuse);
            }
        }
        if let Some((call, fault)) = fault {
            let script = match call.script {
                Script::Repository => &mut setting.primary,
                Script::WorkBucket => &mut setting.work,
                Script::Copy => &mut setting.copy,
                Script::Ports => &mut setting.ports,
            };
            *script = std::mem::take(script).at_call(&call.kind, call.number, fault);
        }
        setting
    }

    /// The calls that a run of this story makes, those before its own failure left out.
    async fn calls(&self) -> Vec<Call> {
        let scenario = Scenario::new(self.setting(None, Gate::default()));
        let outcome = scenario.run("run-1").await;
        assert_eq!(outcome.is_err(), self.fails_at.is_some(), "{}: {outcome:?}", self.name);
        let made = |script| calls_of(&scenario, script);
        let skipped = match self.fails_at {
            Some(_) => self.calls_before_the_failure().await,
            None => BTreeMap::new(),
        };
        let is_after = |call: &Call| {
            skipped.get(&(call.script, call.kind.clone())).is_none_or(|before| call.number >= *before)
        };
        SCRIPTS.into_iter().flat_map(made).filter(is_after).collect()
    }

    /// How often each kind of call was made when the failing one was refused for the last time.
    async fn calls_before_the_failure(&self) -> BTreeMap<(Script, String), usize> {
        let scenario = Scenario::new(self.setting(None, Gate::default()));
        scenario.attempt("run-1").await.unwrap_err();
        let counted = |script| {
            let calls = scripted(&scenario, script).calls().into_iter();
            calls.map(move |(kind, count)| ((script, kind), count))
        };
        SCRIPTS.into_iter().flat_map(counted).collect()
    }
}

fn scripted(scenario: &Scenario, script: Script) -> &Faults {
    match script {
        Script::Repository => &scenario.faults[0],
        Script::WorkBucket => &scenario.faults[1],
        Script::Copy => &scenario.faults[2],
        Script::Ports => &scenario.ports.faults,
    }
}

fn calls_of(scenario: &Scenario, script: Script) -> Vec<Call> {
    let counts = scripted(scenario, script).calls().into_iter();
    counts
        .flat_map(|(kind, count)| (0..count).map(move |number| Call { script, kind: kind.clone(), number }))
        .collect()
}

fn fault(kind: &str, gate: &Gate) -> Fault {
    match kind {
        "refused" => Fault::Refuse,
        "done and reported as failed" => Fault::DoAndReportFailure,
        "late" => Fault::AnswerLate(Duration::from_secs(60)),
        _ => Fault::HoldAnswer(gate.clone()),
    }
}

/// Points of each operation, and how many of them needed a second run.
#[derive(Default)]
struct Covered {
    points: BTreeMap<String, usize>,
    second_runs: usize,
}

/// The first run that begins after the fault succeeds. A race may leave the fault to the second run.
async fn converges(scenario: &Arc<Scenario>, call: &Call, at: &str) {
    for run in ["run-2", "run-3"] {
        let calls = scripted(scenario, call.script).calls();
        let is_over = calls.get(&call.kind).is_some_and(|made| *made > call.number);
        let again = scenario.run(run).await;
        if again.is_ok() {
            return;
        }
        assert!(!is_over, "{at}: {run} is no better: {again:?}");
    }
    panic!("{at}: no run succeeds");
}

impl Covered {
    async fn sweep(&mut self, story: &Story, is_swept: impl Fn(&Call) -> bool) {
        for call in story.calls().await.into_iter().filter(is_swept) {
            for kind in KINDS {
                let gate = Gate::default();
                let fault = fault(kind, &gate);
                let scenario = Scenario::new(story.setting(Some((&call, fault)), gate));
                let at = format!("{}: {call:?} {kind}", story.name);
                let first = scenario.run("run-1").await;
                assert!(first.is_err() || story.fails_at.is_none(), "{at}: a bad run looks good");
                if first.is_err() {
                    self.second_runs += 1;
                    converges(&scenario, &call, &at).await;
                }
                assert_eq!(scenario.check().await, ALL_IS_WELL, "{at}: {first:?}");
                *self.points.entry(call.operation()).or_default() += 1;
            }
        }
    }

    fn print(&self, what: &str) {
        let total: usize = self.points.values().sum();
        println!("fault sweep, {what}: {total} points, of which {} needed a second run", self.second_runs);
        let mut ports: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (operation, points) in &self.points {
            let (port, call) = operation.split_once('.').unwrap();
            ports.entry(port).or_default().push(format!("{call} {points}"));
        }
        for (port, calls) in ports {
            println!("  {port}: {}", calls.join(", "));
        }
    }
}

async fn sweep_good_run(what: &str, is_swept: impl Fn(&Call) -> bool) {
    let mut covered = Covered::default();
    covered.sweep(&GOOD_RUN, is_swept).await;
    covered.print(what);
    assert!(!covered.points.is_empty(), "nothing was swept");
}

async fn sweep_ports(what: &str, ports: &[&str]) {
    sweep_good_run(what, |call| {
        call.script == Script::Ports && ports.contains(&call.kind.split('.').next().unwrap())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_repository_converges() {
    sweep_good_run("repository", |call| call.script == Script::Repository).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_work_bucket_converges() {
    sweep_good_run("work bucket", |call| call.script == Script::WorkBucket).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_copys_repository_converges() {
    sweep_good_run("copy's repository", |call| call.script == Script::Copy).await;
}

const SOURCE: [&str; 3] = ["Source", "HeldSnapshot", "RowReader"];
const TARGET: [&str; 2] = ["Target", "RowWriter"];
const CATALOG: [&str; 6] = ["Policies", "Leases", "Executions", "Copies", "Tests", "AlertLog"];
const SERVICES: [&str; 4] = ["KeyHolder", "Secrets", "Instances", "Notices"];

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_of_the_source_converges() {
    sweep_ports("source", &SOURCE).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_of_the_target_converges() {
    sweep_ports("target", &TARGET).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_of_the_catalog_converges() {
    sweep_ports("catalog", &CATALOG).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_word_of_the_snapshots_holders_converges() {
    sweep_ports("holders", &["Holds"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_of_keys_secrets_instances_and_notices_converges() {
    sweep_ports("services", &SERVICES).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_fault_anywhere_on_the_way_down_converges() {
    let mut covered = Covered::default();
    for story in &BAD_RUNS {
        covered.sweep(story, |_| true).await;
    }
    covered.print("the way down from a bad run");
}

const OF_A_CAPTURE: &str = "no backup's run makes it; capture_run has tests of runs that die around it";

/// Operations that no run makes, and why.
const NOT_IN_A_RUN: [(&str, &str); 20] = [
    ("CaptureLog.capture_facts", OF_A_CAPTURE),
    ("CaptureLog.note_captured", OF_A_CAPTURE),
    ("CaptureLog.note_chain", OF_A_CAPTURE),
    (
        "CaptureLog.note_copy_failure",
        "copies of changes are no part of a backup's run; copy_run has tests of them",
    ),
    ("CaptureLog.note_position", OF_A_CAPTURE),
    ("CaptureLog.note_probe", "as CaptureLog.note_copy_failure"),
    ("CaptureLog.note_slot", "as GovernedSlot.look"),
    ("CaptureLog.position", OF_A_CAPTURE),
    ("CaptureLog.probed", "as CaptureLog.note_copy_failure"),
    ("GovernedSlot.look", "the governor is no part of a run; it has tests of its own"),
    ("GovernedSlot.release_tables", "as GovernedSlot.look"),
    ("GovernedSlot.drop_slot", "as GovernedSlot.look"),
    ("ChangeSource.unprotect", "a person gives a source free; capture has a test of what follows"),
    ("Clock.sleep", "cannot fail"),
    ("Executions.count_retry", "no step counts retries"),
    ("HeldSnapshot.give_way", "nobody waits behind the twin's readers; source_limits has a test of it"),
    ("Target.finish", "the command line ends a restore; a throwaway instance is dropped instead"),
    (
        "Target.provided",
        "a plain server's provider keeps nothing; a test of the command line plays one that does",
    ),
    ("Target.restore_globals", "only the command line does, when it is asked to"),
    ("Target.take_provided", "as Target.provided"),
];

/// `Leases.renew` for each call of each port, as the source of the ports names them.
fn operations_of_all_ports() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ports")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut port = String::new();
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let name = |rest: &str| {
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
                };
                if let Some(rest) = line.strip_prefix("pub trait ") {
                    port = name(rest);
                } else if let Some(rest) = line.strip_prefix("    async fn ") {
                    found.insert(format!("{port}.{}", name(rest)));
                }
            }
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn the_sweep_knows_every_operation_of_every_port() {
    let mut swept = BTreeSet::new();
    for story in BAD_RUNS.iter().chain([&GOOD_RUN]) {
        swept.extend(story.calls().await.iter().map(Call::operation));
    }
    swept.extend(crate::capture::operations().await);
    swept.extend(crate::applying::operations().await);
    swept.extend(crate::schema_replay::operations().await);
    let left_out: BTreeSet<String> =
        NOT_IN_A_RUN.iter().map(|(operation, _)| (*operation).to_owned()).collect();
    assert_eq!(swept.intersection(&left_out).collect::<Vec<_>>(), [""; 0], "swept, and said not to be");
    swept.extend(left_out);
    assert_eq!(swept, operations_of_all_ports());
    let ports: BTreeSet<&str> = swept.iter().map(|operation| operation.split('.').next().unwrap()).collect();
    let named = SOURCE.iter().chain(&TARGET).chain(&CATALOG).chain(&SERVICES);
    let named: BTreeSet<&str> = named
        .copied()
        .chain([
            "CaptureLog",
            "ChangeApplier",
            "ChangeTarget",
            "ChangeSource",
            "ChangeStream",
            "GovernedSlot",
            "Holds",
            "Repository",
            "SchemaTarget",
            "Clock",
        ])
        .collect();
    assert_eq!(ports, named, "a port is in no sweep");
}
