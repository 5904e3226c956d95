//! `cargo x asl-cases [word]...`: shows that the local engine does what AWS documents for Step Functions.

use anyhow::{Result, bail};

use crate::cloud::{LocalCloud, Parts};
use crate::setup;

/// Runs the cases whose file or claim contains a word; all without one. `--write` writes features.json anew.
///
/// # Errors
/// A case fails, or features.json lists anything else than what the cases use.
pub fn run(arguments: &[String]) -> Result<()> {
    setup::ensure()?;
    let cloud = LocalCloud::start(Parts::Aws)?;
    let mut python = cloud.command(setup::local().join("venv/bin/python"));
    let status = python.arg("-B").arg(setup::sources().join("run_cases.py")).args(arguments).status()?;
    cloud.stop()?;
    if !status.success() {
        bail!("the local engine does not do what the cases say");
    }
    Ok(())
}
