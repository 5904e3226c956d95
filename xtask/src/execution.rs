//! One execution of a state machine, watched state by state.

use crate::cloud::LocalCloud;
use crate::deployment::aws;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

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

/// Shows each state as it is entered, also those of nested executions, until the execution ends.
pub fn watch(cloud: &LocalCloud, arn: &str, nested_machine: &str, patience: Duration) -> Result<Ended> {
    let begun = Instant::now();
    let before = list(cloud, nested_machine)?;
    let mut shown = Shown { begun, events: 0, last_state: String::new(), quiet: BTreeSet::new() };
    let mut nested: Option<(String, Shown)> = None;
    while begun.elapsed() < patience {
        let described = aws(cloud, &["stepfunctions", "describe-execution", "--execution-arn", arn])?;
        let history = history(cloud, arn)?;
        shown.print(&history, "  ");
        if nested.is_none()
            && let Some(child) = list(cloud, nested_machine)?.difference(&before).next()
        {
            let inner = Shown { begun, events: 0, last_state: String::new(), quiet: BTreeSet::new() };
            nested = Some((child.clone(), inner));
        }
        if let Some((child, inner)) = &mut nested {
            inner.print(&self::history(cloud, child)?, "    test restore: ");
        }
        let status = described["status"].as_str().unwrap_or_default();
        if status != "RUNNING" && !status.is_empty() {
            let text = |name: &str| described[name].as_str().unwrap_or_default().to_owned();
            let failure = (status != "SUCCEEDED").then(|| (text("error"), text("cause")));
            let status = status.to_owned();
            return Ok(Ended { arn: arn.to_owned(), status, failure, last_state: shown.last_state });
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("execution {arn} did not end within {} s", patience.as_secs())
}

fn history(cloud: &LocalCloud, arn: &str) -> Result<Vec<Value>> {
    let answer = aws(cloud, &["stepfunctions", "get-execution-history", "--execution-arn", arn]);
    let answer = answer.context("read the execution's history")?;
    Ok(answer["events"].as_array().cloned().unwrap_or_default())
}

struct Shown {
    begun: Instant,
    events: usize,
    last_state: String,
    quiet: BTreeSet<String>,
}

impl Shown {
    /// Prints states that were entered since the last look. States of a polling loop are shown once.
    fn print(&mut self, history: &[Value], indent: &str) {
        for event in history.iter().skip(self.events) {
            let Some(name) = event["stateEnteredEventDetails"]["name"].as_str() else { continue };
            self.last_state = name.to_owned();
            if self.quiet.insert(name.to_owned()) {
                println!("{indent}{:>6.1} s  {name}", self.begun.elapsed().as_secs_f64());
            }
        }
        self.events = history.len().max(self.events);
    }
}
