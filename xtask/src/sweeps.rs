//! `cargo x state-sweep` and `cargo x kill-sweep [--functions] [--rounds N] [--seed N]`: everything that can fail fails, and the next
//! run succeeds. The fault sweep over ports needs no parts of its own: it is a test of `keepsake-steps`.

use crate::setup;
use crate::test::{self, Needs};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Every state of every machine fails and runs twice, on the local engine with scripted functions.
///
/// # Errors
/// A run left something behind, or a state is never entered.
pub fn states() -> Result<()> {
    setup::ensure()?;
    let mut python = Command::new(setup::local().join("venv/bin/python"));
    python.arg("-B").arg(setup::sources().join("state_sweep.py")).arg(setup::root().join("statemachines"));
    if !python.status().context("cannot start python")?.success() {
        bail!("the state machines do not hold");
    }
    Ok(())
}

/// The program is killed at random moments, or with `--functions` the functions of running backups in the local cloud;
/// every test run does a few rounds of both.
///
/// # Errors
/// Something half-done looked done, or a next run failed; the seed that is printed repeats it.
pub fn kills(arguments: &[String]) -> Result<()> {
    let mut variables = vec![("KEEPSAKE_KILL_ROUNDS", "200".to_owned())];
    let (mut suite, mut needs) = ("command_line", Needs::Servers);
    let mut arguments = arguments.iter();
    while let Some(option) = arguments.next() {
        match (option.as_str(), arguments.as_slice().first()) {
            ("--functions", _) => (suite, needs) = ("end_to_end", Needs::Deployment),
            ("--rounds", Some(value)) => variables.push(("KEEPSAKE_KILL_ROUNDS", value.clone())),
            ("--seed", Some(value)) => variables.push(("KEEPSAKE_KILL_SEED", value.clone())),
            _ => bail!("usage: cargo x kill-sweep [--functions] [--rounds N] [--seed N]"),
        }
        if option != "--functions" {
            arguments.next();
        }
    }
    // The whole workspace, so that nothing is built with other features than for the tests.
    let words = ["--workspace", "--test", suite, "kill_sweep", "--", "--nocapture"];
    test::run_with(needs, &variables, &words.map(str::to_owned))
        .context("a killed run did harm, or could not be tried")
}
