//! `cargo x test`: every test, on the real parts, alone.

use crate::cloud::{LocalCloud, Parts};
use crate::deployment::Deployment;
use crate::subscriber::Subscriber;
use crate::{asl_cases, functions, say, setup, sweeps};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// What tests need beside the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: they run the program.
    Servers,
    /// The functions, the state machines and whoever hears their notices.
    Deployment,
}

/// Runs `cargo x test [arguments for cargo test]`.
pub fn run(arguments: &[String]) -> Result<()> {
    run_with(Needs::Deployment, &[], arguments)
}

/// The same with more variables in the tests' environment.
pub fn run_with(needs: Needs, variables: &[(&str, String)], arguments: &[String]) -> Result<()> {
    setup::ensure()?;
    // All targets, as `cargo test` builds them: programs and tests then share every crate.
    functions::build_workspace(&setup::root(), "--all-targets")?;
    say("starting the local cloud");
    let cloud = LocalCloud::start(Parts::AllMajors)?;
    let outcome = run_in(&cloud, needs, variables, arguments);
    if outcome.is_err() {
        keep_logs(&cloud);
    }
    cloud.stop()?;
    outcome
}

fn run_in(
    cloud: &LocalCloud,
    needs: Needs,
    variables: &[(&str, String)],
    arguments: &[String],
) -> Result<()> {
    let mut command = cloud.command(env!("CARGO"));
    // Listens until the tests have ended.
    let _subscriber = match needs {
        Needs::Servers => None,
        Needs::Deployment => Some(deploy(cloud, &mut command)?),
    };
    command.env("KEEPSAKE_TEST_SOURCE_URL", cloud.postgres_url("source")?);
    // Another cluster than the source's, so that roles and settings do not stand there by chance.
    command.env("KEEPSAKE_TEST_TARGET_URL", cloud.postgres_url("catalog")?);
    command.env("KEEPSAKE_TEST_CATALOG_URL", cloud.postgres_url("catalog")?);
    command.env("KEEPSAKE_TEST_PG_BIN", setup::client_bin(15));
    for major in setup::OTHER_MAJORS {
        let (cluster, variable) = (format!("postgres-{major}"), format!("KEEPSAKE_TEST_POSTGRES_{major}"));
        command.env(format!("{variable}_URL"), cloud.postgres_url(&cluster)?);
        // For a server of a test's own.
        let programs = cloud.describe()["postgres"][&cluster]["programs"].as_str();
        command.env(format!("{variable}_BIN"), programs.context("a cluster has programs")?);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    cargo_test(command, arguments)?;
    if arguments.is_empty() {
        say("running the cases of the state machine engine");
        asl_cases::run(&[])?;
        say("failing and repeating every state of every machine");
        sweeps::states()?;
    }
    Ok(())
}

fn deploy(cloud: &LocalCloud, tests: &mut Command) -> Result<Subscriber> {
    let subscriber = Subscriber::start(cloud.run_dir())?;
    let deployment = Deployment::deploy(cloud, subscriber.url())?;
    let describe = cloud.run_dir().join("deployment.json");
    std::fs::write(&describe, serde_json::to_vec_pretty(&deployment.describe())?)?;
    tests.env("KEEPSAKE_DEPLOYMENT", &describe).env("KEEPSAKE_NOTICES", subscriber.file());
    Ok(subscriber)
}

fn cargo_test(mut command: Command, arguments: &[String]) -> Result<()> {
    let all = ["--workspace".to_owned()];
    let arguments = if arguments.is_empty() { &all } else { arguments };
    command.args(["test", "--locked", "--no-fail-fast"]).args(arguments).current_dir(setup::root());
    if command.status().context("cannot start cargo test")?.success() {
        Ok(())
    } else {
        bail!("tests failed")
    }
}

/// The run folder goes with the cloud; what explains a failure stays.
fn keep_logs(cloud: &LocalCloud) {
    let kept = setup::local().join("last-failure");
    let copied = Command::new("cp").arg("-r").arg("--").arg(cloud.run_dir()).arg(&kept).status();
    if copied.is_ok_and(|status| status.success()) {
        say(&format!("logs were kept in {}", kept.display()));
    }
}
