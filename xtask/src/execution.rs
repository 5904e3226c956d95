//! One execution of a state machine, watched state by state.

use crate::cloud::LocalCloud;
use crate::deployment::aws;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How an execution ended.
pub struct Ended {
    /// Its id.
    pub arn: String,
    /// SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
    pub status: String,
    /// The error's name and cause, if it failed.
    pub failure: Option<(String, String)>,
    /// The last state that was entered.
    pub last_state: String,
}

/// Waits until the machine has an execution that is not in `known`.
pub fn wait_for_start(cloud: &LocalCloud, machine: &str, known: &BTreeSet<String>) -> Result<String> {
    let begun = Instant::now();
    // A schedule's time has whole seconds and the scheduler looks once a second; the flexible window is shut here.
    while begun.elapsed() < Duration::from_secs(60) {
        for arn in list(cloud, machine)? {
            if !known.contains(&arn) {
                return Ok(arn);
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    bail!(
        "the schedule started nothing within 60 s; look at the local cloud's log in {}",
        cloud.run_dir().display()
    )
}

/// Executions of a machine.
pub fn list(cloud: &LocalCloud, machine: &str) -> Result<BTreeSet<String>> {
    let listed = aws(cloud, &["stepfunctions", "list-executions", "--state-machine-arn", machine])?;
    let executions = listed["executions"].as_array().cloned().unwrap_or_default();
    Ok(executions.iter().filter_map(|one| one["executionArn"].as_str().map(str::to_owned)).collect())
}

/// Shows each state with the time at which it was entered, also those of the nested execution, in the order of these
/// times, until the execution ends.
pub fn watch(cloud: &LocalCloud, arn: &str, nested_machine: &str, patience: Duration) -> Result<Ended> {
    let begun = Instant::now();
    let before = list(cloud, nested_machine)?;
    let mut shown = BTreeSet::new();
    while begun.elapsed() < patience {
        // What was entered before this moment is in every history that is read after it, so nothing earlier follows.
        let complete_until = seconds_since_epoch()?;
        let described = aws(cloud, &["stepfunctions", "describe-execution", "--execution-arn", arn])?;
        let mut entered = states(&history(cloud, arn)?, "  ");
        let last_state = entered.last().map(|state| state.name.clone()).unwrap_or_default();
        if let Some(child) = list(cloud, nested_machine)?.difference(&before).next() {
            entered.extend(states(&history(cloud, child)?, "    test restore: "));
        }
        let status = described["status"].as_str().unwrap_or_default().to_owned();
        let has_ended = status != "RUNNING" && !status.is_empty();
        let until = if has_ended { f64::INFINITY } else { complete_until };
        let origin = described["startDate"].as_f64().unwrap_or(complete_until);
        for line in new_lines(entered, origin, until, &mut shown) {
            println!("{line}");
        }
        if has_ended {
            let text = |name: &str| described[name].as_str().unwrap_or_default().to_owned();
            let failure = (status != "SUCCEEDED").then(|| (text("error"), text("cause")));
            return Ok(Ended { arn: arn.to_owned(), status, failure, last_state });
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("execution {arn} did not end within {} s", patience.as_secs())
}

fn seconds_since_epoch() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("a clock behind 1970")?.as_secs_f64())
}

fn history(cloud: &LocalCloud, arn: &str) -> Result<Vec<Value>> {
    let answer = aws(cloud, &["stepfunctions", "get-execution-history", "--execution-arn", arn]);
    let answer = answer.context("read the execution's history")?;
    Ok(answer["events"].as_array().cloned().unwrap_or_default())
}

/// A state that was entered.
#[derive(Clone)]
struct Entered {
    /// Seconds since 1970, by the history.
    at: f64,
    indent: &'static str,
    name: String,
}

/// The states of a history, in its order.
fn states(history: &[Value], indent: &'static str) -> Vec<Entered> {
    let entered = history.iter().filter_map(|event| {
        let name = event["stateEnteredEventDetails"]["name"].as_str()?.to_owned();
        Some(Entered { at: event["timestamp"].as_f64().unwrap_or_default(), indent, name })
    });
    entered.collect()
}

/// Lines of the states entered before `until` that were not shown yet, by time; states of a polling loop once.
fn new_lines(
    mut entered: Vec<Entered>,
    origin: f64,
    until: f64,
    shown: &mut BTreeSet<(&'static str, String)>,
) -> Vec<String> {
    // A stable sort: states of one history that share a time keep its order.
    entered.sort_by(|one, other| one.at.total_cmp(&other.at));
    let new = entered.into_iter().filter(|state| state.at < until);
    let new = new.filter(|state| shown.insert((state.indent, state.name.clone())));
    new.map(|state| format!("{}{:>6.1} s  {}", state.indent, (state.at - origin).max(0.0), state.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn history(states: &[(f64, &str)]) -> Vec<Value> {
        let event =
            |(at, name): &(f64, &str)| json!({"timestamp": at, "stateEnteredEventDetails": {"name": name}});
        states.iter().map(event).collect()
    }

    #[test]
    fn states_of_both_histories_come_in_the_order_of_their_times_each_once() {
        let parent = states(&history(&[(100.0, "Open"), (101.5, "TestRestore"), (104.0, "Record")]), "");
        let nested = states(&history(&[(102.0, "Wait"), (103.0, "Wait"), (103.5, "Passed")]), "  ");
        let all = [parent, nested].concat();
        let mut shown = BTreeSet::new();
        let first = new_lines(all.clone(), 100.0, 103.2, &mut shown);
        assert_eq!(first, ["   0.0 s  Open", "   1.5 s  TestRestore", "     2.0 s  Wait"]);
        let rest = new_lines(all, 100.0, f64::INFINITY, &mut shown);
        assert_eq!(rest, ["     3.5 s  Passed", "   4.0 s  Record"]);
    }
}
