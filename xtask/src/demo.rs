//! `cargo x demo`: one scheduled backup of the WedSync sample, end to end on this machine, and a mistake that is undone by
//! a restore to the moment before it; with a report of both.

mod mistake;
mod report;

use crate::cloud::{LocalCloud, Parts};
use crate::deployment::{Deployment, aws};
use crate::subscriber::Subscriber;
use crate::{deployment, execution, functions, sample, say, setup};
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// A demo of scale 1 takes about half a minute; a scale of 20 some minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What was asked for.
struct Options {
    scale: u32,
    keep: bool,
}

/// Runs `cargo x demo [--scale N] [--keep]`.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = options(arguments)?;
    setup::ensure()?;
    functions::build_workspace(&setup::root(), "--bins")?;
    say("starting the local cloud");
    let cloud = LocalCloud::start(Parts::All)?;
    let outcome = show(&cloud, &options);
    if options.keep {
        let folder = cloud.detach()?;
        say(&format!("everything still runs, see {}; end it with: cargo x cloud --stop", folder.display()));
    } else {
        cloud.stop()?;
        say("everything was stopped and removed");
    }
    outcome
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { scale: 1, keep: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--keep" => options.keep = true,
            "--scale" => {
                let scale = rest.next().and_then(|scale| scale.parse().ok()).filter(|scale| *scale > 0);
                options.scale = scale.context("--scale takes a whole number from 1")?;
            }
            other => bail!("unknown argument {other}; usage: cargo x demo [--scale N] [--keep]"),
        }
    }
    Ok(options)
}

fn show(cloud: &LocalCloud, options: &Options) -> Result<()> {
    let subscriber = Subscriber::start(cloud.run_dir())?;
    let deployment = Deployment::deploy(cloud, subscriber.url())?;
    say(&format!("loading the WedSync sample at scale {}", options.scale));
    sample::load(cloud.postgres_url("source")?, options.scale, 1)?;
    let protected = mistake::Protected::begin(cloud, &deployment)?;
    let ended = fire(cloud, &deployment)?;
    if ended.status != "SUCCEEDED" {
        return Err(failure(cloud, &ended));
    }
    let notice = wait_for_notice(&subscriber)?;
    report::print(cloud, &deployment, &ended, &notice)?;
    protected.undo_a_mistake()?;
    if options.keep {
        return report::further(cloud, &deployment, &ended);
    }
    println!("\nTo look further, cargo x demo --keep leaves everything running and says how.");
    Ok(())
}

/// Moves the deployed schedule to the next seconds, so that it is the schedule that starts the run.
fn fire(cloud: &LocalCloud, deployment: &Deployment) -> Result<execution::Ended> {
    let machine = deployment.output("BackupStateMachineArn")?;
    let known = execution::list(cloud, machine)?;
    let schedule = deployment.output("ScheduleName")?;
    say(&format!("firing the schedule {schedule}: moving it from cron(0 2 * * ? *) to two seconds from now"));
    deployment::fire_schedule(cloud, schedule)?;
    let arn = execution::wait_for_start(cloud, machine, &known)?;
    say(&format!("the schedule started {arn}"));
    execution::watch(cloud, &arn, deployment.output("TestRestoreStateMachineArn")?, PATIENCE)
}

/// SNS delivers within a second here; a busy machine gets half a minute.
fn wait_for_notice(subscriber: &Subscriber) -> Result<(String, serde_json::Value)> {
    for _ in 0..60 {
        if let Some(notice) = subscriber.notices()?.pop() {
            return Ok(notice);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("the backup completed and no notice came; look at {}", subscriber.file().display())
}

fn failure(cloud: &LocalCloud, ended: &execution::Ended) -> anyhow::Error {
    let (error, cause) = ended.failure.clone().unwrap_or_default();
    let log = cloud.describe()["logs"]["ministack"].as_str().unwrap_or_default().to_owned();
    let kept = std::env::temp_dir().join("keepsake-demo.log");
    // The run folder is removed with the cloud; the log must survive it.
    let log = std::fs::copy(&log, &kept).map_or(log, |_| kept.display().to_string());
    let listing = aws(cloud, &["stepfunctions", "describe-execution", "--execution-arn", &ended.arn]);
    let input = listing.map(|value| value["input"].to_string()).unwrap_or_default();
    anyhow::anyhow!(
        "the execution ended as {}\n  state: {}\n  error: {error}\n  cause: {cause}\n  input: {input}\n  log:   {log}",
        ended.status,
        ended.last_state,
    )
}
