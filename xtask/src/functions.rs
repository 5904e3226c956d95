//! `cargo x functions`: builds the Lambda binaries and lays each where `infra/template.yaml` looks for it.

use crate::say;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names of the functions: the files in `functions/src/bin`.
pub fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("functions/src/bin"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs `cargo x functions [--release]`.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let release = match arguments {
        [] => false,
        [flag] if flag == "--release" => true,
        other => bail!("unknown arguments {other:?}; usage: cargo x functions [--release]"),
    };
    let folder = build(root, release)?;
    say(&format!("functions are in {}", folder.display()));
    Ok(())
}

/// Builds all functions and lays `target/lambda/<name>/bootstrap`. Returns `target/lambda`.
fn build(root: &Path, release: bool) -> Result<PathBuf> {
    say("building the functions");
    let mut arguments = vec!["--package", "keepsake-functions", "--bins"];
    if release {
        arguments.push("--release");
    }
    cargo_build(root, &arguments)?;
    lay_all(root, release)
}

/// Builds the command line; answers its program.
///
/// # Errors
/// It does not build; Cargo has said what.
pub fn build_keepsake(root: &Path, release: bool) -> Result<PathBuf> {
    // Unoptimised it is the program of the tests, with the features that the whole workspace gives its crates.
    let (which, folder): (&[&str], _) = if release {
        (&["--package", "keepsake", "--release"], "release")
    } else {
        (&["--workspace"], "debug")
    };
    say("building keepsake");
    cargo_build(root, &[which, &["--bin", "keepsake"]].concat())?;
    Ok(target_folder(root).join(folder).join("keepsake"))
}

/// Builds every program of the workspace at once. One call: with a package at a time, Cargo would build much of the
/// tree again for each one's features.
///
/// # Errors
/// Something does not build; Cargo has said what.
pub fn build_workspace(root: &Path, targets: &str) -> Result<PathBuf> {
    say("building the workspace; from nothing this takes some minutes");
    cargo_build(root, &["--workspace", targets])?;
    lay_all(root, false)
}

fn cargo_build(root: &Path, arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked"]).args(arguments).current_dir(root);
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("the workspace does not build; cargo's words are above");
    }
    Ok(())
}

fn lay_all(root: &Path, release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    let target = target_folder(root);
    // Where the template looks, also when Cargo builds elsewhere.
    let folder = root.join("target/lambda");
    for name in names(root)? {
        lay(&target.join(profile).join(&name), &folder.join(&name), release)?;
    }
    Ok(folder)
}

/// Where Cargo builds to.
pub fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn lay(binary: &Path, folder: &Path, release: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    let bootstrap = folder.join("bootstrap");
    let fresh = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if fresh(&bootstrap).ok() >= fresh(binary).ok() {
        return Ok(());
    }
    fs::copy(binary, &bootstrap).with_context(|| format!("cannot copy {}", binary.display()))?;
    if !release {
        // A development binary is four times as large with its symbols; the zip of 18 of them is what deploying waits for.
        let stripped = Command::new("strip").arg(&bootstrap).status();
        if !stripped.is_ok_and(|status| status.success()) {
            say("strip is missing; the functions stay large");
        }
    }
    Ok(())
}
