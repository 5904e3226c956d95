//! The state machines, the template and the functions fit together. Linters see none of what is checked here.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "statemachines/asl.rs"]
mod asl;
#[path = "statemachines/template.rs"]
mod template;

use asl::{Machine, State};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What may be retried: our one transient class, and calls that Lambda itself lost.
const RETRIED: &[&str] = &[
    "Keepsake.Transient",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    // A process that died or ran out of its time: every step may run twice and goes on from what stands.
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
];

/// Of a state that starts another machine: Step Functions had no room or lost the call, and nothing was started.
/// Source: "Start a new AWS Step Functions state machine from a running execution" in the developer guide, read 2026-11-21;
/// the last two are named as those of Lambda are, and no page lists them.
const RETRIED_STARTS: &[&str] = &[
    "StepFunctions.ExecutionLimitExceeded",
    "StepFunctions.AWSStepFunctionsException",
    "StepFunctions.SdkClientException",
];

/// Of a Distributed Map: the list of its items was not read, and no item was begun. S3 may have been busy.
const RETRIED_LISTS: &[&str] = &["States.ItemReaderFailed"];

/// What a state tries again.
fn retried(state: &State<'_>) -> Vec<&'static str> {
    match (state.kind(), state.value["Resource"].as_str().unwrap_or_default()) {
        ("Map", _) => RETRIED_LISTS.to_vec(),
        (_, resource) if resource.contains("startExecution") => [RETRIED, RETRIED_STARTS].concat(),
        _ => RETRIED.to_vec(),
    }
}

fn each_task(check: impl Fn(&Machine, &State<'_>)) {
    for machine in asl::all() {
        for state in machine.states().iter().filter(|state| state.kind() == "Task") {
            check(&machine, state);
        }
    }
}

#[test]
fn every_state_can_be_reached() {
    for machine in asl::all() {
        for scope in machine.scopes() {
            let reached = scope.reachable_from(scope.start());
            let all: BTreeSet<&str> = scope.names().collect();
            assert_eq!(reached, all, "{}", machine.name);
        }
    }
}

#[test]
fn every_task_has_a_timeout_a_retry_a_catch_and_a_comment_on_its_repeat() {
    each_task(|machine, state| {
        let at = format!("{}: {}", machine.name, state.name);
        assert!(
            state.value["TimeoutSeconds"].as_u64().is_some_and(|seconds| seconds > 0),
            "{at}: no timeout"
        );
        let retry = &state.value["Retry"][0];
        for bound in ["IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds"] {
            assert!(retry[bound].as_u64().is_some_and(|value| value > 0), "{at}: no {bound}");
        }
        assert_eq!(retry["JitterStrategy"], "FULL", "{at}");
        assert_eq!(state.value["Catch"][0]["ErrorEquals"], serde_json::json!(["States.ALL"]), "{at}");
        assert!(
            state.value["Comment"].as_str().unwrap_or_default().contains("epeat"),
            "{at}: what does a repeat do?"
        );
    });
}

#[test]
fn a_busy_service_is_asked_again_wherever_a_machine_is_started_or_a_list_is_read() {
    let mut asked = BTreeMap::new();
    for machine in asl::all() {
        for state in machine.states() {
            let starts = state.value["Resource"].as_str().is_some_and(|it| it.contains("startExecution"));
            if !starts && state.value.get("ItemReader").is_none() {
                continue;
            }
            let named = state.value["Retry"][0]["ErrorEquals"].as_array();
            let named: Vec<&str> = named.into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(named, retried(&state), "{}: {}", machine.name, state.name);
            *asked.entry(state.kind().to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(asked, BTreeMap::from([("Map".to_owned(), 4), ("Task".to_owned(), 2)]));
}

#[test]
fn only_transient_errors_are_retried_and_no_error_name_is_unknown() {
    let known = vec!["States.ALL"];
    for machine in asl::all() {
        for state in machine.states() {
            for (part, allowed) in [("Retry", retried(&state)), ("Catch", known.clone())] {
                for handler in state.value[part].as_array().into_iter().flatten() {
                    for error in handler["ErrorEquals"].as_array().unwrap() {
                        let name = error.as_str().unwrap();
                        assert!(
                            allowed.contains(&name),
                            "{}: {}: {part} of {name}",
                            machine.name,
                            state.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_state_waits_longer_than_its_function_may_run() {
    let timeouts = template::function_timeouts();
    each_task(|machine, state| {
        if let Some(function) = state.function() {
            let waits = state.value["TimeoutSeconds"].as_u64().unwrap();
            let runs = timeouts[&function];
            assert!(
                waits > runs,
                "{}: {} waits {waits} s, {function} may run {runs} s",
                machine.name,
                state.name
            );
        }
    });
}

#[test]
fn substitutions_are_declared_and_used() {
    for machine in asl::all() {
        let declared = template::substitutions(&machine.name);
        assert!(!declared.is_empty(), "{}: the template declares none", machine.name);
        assert_eq!(machine.substitutions(), declared, "{}", machine.name);
    }
}

#[test]
fn functions_of_the_template_are_binaries_and_all_are_used() {
    let in_template: BTreeSet<String> = template::function_folders();
    assert_eq!(in_template, template::binaries());
    let mut used: BTreeSet<String> = asl::all().iter().flat_map(Machine::functions).collect();
    used.extend(template::called_by_events());
    assert_eq!(used, template::function_timeouts().into_keys().collect());
}

#[test]
fn every_function_has_an_example_event() {
    for name in template::binaries() {
        let path = template::root().join(format!("functions/events/{name}.json"));
        let event: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(event.is_object(), "{}", path.display());
    }
}

#[test]
fn every_variable_is_assigned_on_each_way_to_its_use() {
    for machine in asl::all() {
        machine.assert_variables_are_assigned();
    }
}

#[test]
fn no_variable_of_an_inner_scope_hides_an_outer_one() {
    for machine in asl::all() {
        let scopes = machine.scopes();
        let outer = scopes[0].assigned();
        for scope in &scopes[1..] {
            let hidden: Vec<_> = scope.assigned().intersection(&outer).cloned().collect();
            assert!(hidden.is_empty(), "{}: {hidden:?}", machine.name);
        }
    }
}

#[test]
fn machines_have_a_time_limit_and_speak_jsonata() {
    for machine in asl::all() {
        assert!(machine.value["TimeoutSeconds"].as_u64().is_some(), "{}", machine.name);
        assert_eq!(machine.value["QueryLanguage"], "JSONata", "{}", machine.name);
    }
}

#[test]
fn only_features_are_used_that_the_local_engine_is_proven_to_have() {
    let path = template::root().join("crates/testkit/localcloud/features.json");
    let proven: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let list = |value: &Value| -> BTreeSet<String> {
        value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    for machine in asl::all() {
        for state in machine.states() {
            let at = format!("{}: {}", machine.name, state.name);
            assert!(list(&proven["state_types"]).contains(state.kind()), "{at}");
            let fields = list(&proven["fields"][state.kind()]);
            for field in state.value.as_object().unwrap().keys().filter(|field| *field != "Comment") {
                assert!(fields.contains(field), "{at}: field {field}");
            }
            if let Some(resource) = state.value["Resource"].as_str() {
                assert!(list(&proven["resources"]).contains(resource), "{at}: {resource}");
            }
        }
        let unproven: Vec<_> =
            machine.jsonata_functions().difference(&list(&proven["jsonata_functions"])).cloned().collect();
        assert!(unproven.is_empty(), "{}: {unproven:?}", machine.name);
    }
}

#[test]
fn the_throwaway_instance_is_dropped_on_every_path() {
    let machines: BTreeMap<String, Machine> =
        asl::all().into_iter().map(|machine| (machine.name.clone(), machine)).collect();
    let machine = &machines["test-restore"];
    let scope = &machine.scopes()[0];
    let without_drop = scope.ends_reachable_without("ProvisionInstance", "DropInstance");
    assert_eq!(without_drop, BTreeSet::new(), "ends that leave an instance behind");
}

#[test]
fn a_failed_backup_is_recorded_and_told_before_it_ends() {
    let machine = asl::all().into_iter().find(|machine| machine.name == "backup").unwrap();
    let scope = &machine.scopes()[0];
    for state in ["RecordFailure", "AlertFailure"] {
        let ends = scope.ends_reachable_without(scope.start(), state);
        assert_eq!(ends, BTreeSet::from(["Completed"]), "ends without {state}");
    }
}

#[test]
fn a_failed_capture_is_recorded_and_told_before_it_ends() {
    let machine = asl::all().into_iter().find(|machine| machine.name == "incremental").unwrap();
    let scope = &machine.scopes()[0];
    for state in ["RecordFailure", "AlertFailure"] {
        let ends = scope.ends_reachable_without(scope.start(), state);
        assert_eq!(ends, BTreeSet::from(["Completed", "Skipped"]), "ends without {state}");
    }
}

#[test]
fn nobody_but_a_restore_may_open_a_key_and_the_probe_of_a_copy_only_the_replica_there() {
    let openers = template::statements_with("kms:Decrypt");
    let names: Vec<&str> = openers.iter().map(|(resource, _)| resource.as_str()).collect();
    assert_eq!(names, ["ProbeRpoFunction", "RestoreFunction"]);
    let (_, probe) = &openers[0];
    let not_here = ["StringNotEquals:", "aws:RequestedRegion: !Ref AWS::Region"];
    assert!(not_here.iter().all(|line| probe.iter().any(|found| found == line)), "{probe:?}");
}

#[test]
fn a_copy_that_fails_is_noted_and_fails_no_capture() {
    let machine = asl::all().into_iter().find(|machine| machine.name == "incremental").unwrap();
    let scope = &machine.scopes()[0];
    for state in ["CopyChanges", "ProbeRpo", "RecordCopyFailure"] {
        let ends = scope.ends_reachable_without(state, "Record");
        let without_record = scope.ends_reachable_without(state, "Capture");
        assert!(!ends.contains("Completed") && without_record.contains("Completed"), "{state}: {ends:?}");
    }
    for state in ["CopyChanges", "ProbeRpo"] {
        let caught = &machine.value["States"][state]["Catch"][0]["Next"];
        assert_eq!(caught, "RecordCopyFailure", "{state}");
    }
}

/// A place that is away must not hold captures up for longer than a relay goes on.
#[test]
fn a_copy_that_takes_its_time_is_not_tried_again_before_the_next_captures() {
    let machine = asl::all().into_iter().find(|machine| machine.name == "incremental").unwrap();
    let mut waits = 0;
    for state in ["CopyChanges", "ProbeRpo"] {
        let value = &machine.value["States"][state];
        waits += value["TimeoutSeconds"].as_u64().unwrap();
        let retried = value["Retry"][0]["ErrorEquals"].as_array().unwrap();
        for late in ["Keepsake.Transient", "Sandbox.Timedout", "Lambda.Unknown", "States.Timeout"] {
            assert!(retried.iter().all(|error| error != late), "{state}: {late}");
        }
    }
    assert!(waits <= 8 * 60, "{waits} s");
}

#[test]
fn no_run_completes_on_a_copy_that_was_begun_and_not_finished() {
    let machine = asl::all().into_iter().find(|machine| machine.name == "backup").unwrap();
    let scope = &machine.scopes()[0];
    let ends = scope.ends_reachable_without("ReplicatePrepare", "ReplicateFinish");
    assert_eq!(ends, BTreeSet::from(["Failed"]), "ends without ReplicateFinish");
}

#[test]
fn the_schedules_default_has_six_fields_and_a_five_field_cron_is_refused() {
    let default = template::parameter("ScheduleExpression", "Default");
    let fields = default.trim_start_matches("cron(").trim_end_matches(')').split(' ').count();
    assert_eq!(fields, 6, "{default}");
    assert!(
        template::parameter("ScheduleExpression", "AllowedPattern")
            .contains("cron\\([^\\s()]+( [^\\s()]+){5}\\)")
    );
}

#[test]
fn only_two_functions_may_delete_an_instance_and_only_one_of_our_name_and_tags() {
    let deleters = template::statements_with("rds:DeleteDBInstance");
    let functions: Vec<&str> = deleters.iter().map(|(function, _)| function.as_str()).collect();
    assert_eq!(functions, ["DropInstanceFunction", "RecordFailureFunction"]);
    let ours = "- !Sub 'arn:${AWS::Partition}:rds:${AWS::Region}:${AWS::AccountId}:db:keepsake-test-*'";
    for (function, statement) in &deleters {
        let resources = statement.iter().skip_while(|line| *line != "Resource:").skip(1);
        let resources: Vec<&String> = resources.take_while(|line| line.starts_with("- ")).collect();
        assert_eq!(resources, [ours], "{function}");
        for condition in
            ["aws:ResourceTag/keepsake:purpose: test-restore", "aws:ResourceTag/keepsake:backup-id: 'false'"]
        {
            assert!(statement.iter().any(|line| line == condition), "{function}: {condition}");
        }
    }
}

#[test]
fn no_function_may_delete_from_a_bucket() {
    assert!(!template::statements_with("s3:PutObject").is_empty());
    for action in ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:Delete*", "s3:*"] {
        assert!(template::statements_with(action).is_empty(), "{action}");
    }
}
