//! `cargo x state-sweep` and `cargo x kill-sweep [--rounds N] [--seed N]`: everything that can fail fails, and the next
//! run succeeds. The fault sweep over ports needs no parts of its own: it is a test of `keepsake-steps`.

use crate::cloud::{LocalCloud, Parts};
use crate::setup;
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

/// The program is killed at random moments; every test run does a few rounds of it.
///
/// # Errors
/// Something half-done looked done, or a next run failed; the seed that is printed repeats it.
pub fn kills(arguments: &[String]) -> Result<()> {
    setup::ensure()?;
    let cloud = LocalCloud::start(Parts::All)?;
    let outcome = kill_rounds(&cloud, arguments);
    cloud.stop()?;
    outcome
}

fn kill_rounds(cloud: &LocalCloud, arguments: &[String]) -> Result<()> {
    let mut command = cloud.command(env!("CARGO"));
    command.env("KEEPSAKE_KILL_ROUNDS", "200");
    for pair in arguments.chunks(2) {
        match pair {
            [option, value] if option == "--rounds" => command.env("KEEPSAKE_KILL_ROUNDS", value),
            [option, value] if option == "--seed" => command.env("KEEPSAKE_KILL_SEED", value),
            _ => bail!("usage: cargo x kill-sweep [--rounds N] [--seed N]"),
        };
    }
    command.env("KEEPSAKE_TEST_SOURCE_URL", cloud.postgres_url("source")?);
    command.env("KEEPSAKE_TEST_TARGET_URL", cloud.postgres_url("catalog")?);
    // The whole workspace, so that nothing is built with other features than for the tests.
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--test",
        "command_line",
        "kill_sweep",
        "--",
        "--nocapture",
    ]);
    if command.current_dir(setup::root()).status().context("cannot start cargo test")?.success() {
        Ok(())
    } else {
        bail!("a killed run did harm")
    }
}
