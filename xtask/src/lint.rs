//! `cargo x lint`: asl-validator, cfn-lint and `sam validate --lint` over state machines, templates and samconfig.toml, and
//! cargo-deny over the tree of dependencies.
//!
//! cfn-lint runs on the template as written and as SAM translates it: it finds more in the second, and names lines only
//! in the first.

use crate::{say, setup};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const REGION: &str = "eu-central-1";
/// The template that SAM translates, and the plain one of the second region.
const SAM_TEMPLATE: &str = "infra/template.yaml";
const TEMPLATES: [&str; 2] = [SAM_TEMPLATE, "infra/dr-region.yaml"];

/// Runs `cargo x lint`.
///
/// # Errors
/// With all that the linters found.
pub fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("unknown arguments {arguments:?}; usage: cargo x lint");
    }
    setup::ensure()?;
    let mut findings = Vec::new();
    for path in definitions()? {
        say(&format!("asl-validator {}", path.display()));
        let program = setup::local().join("npm/node_modules/.bin/asl-validator");
        note(&mut findings, Command::new(program).arg("--json-path").arg(path))?;
    }
    for template in TEMPLATES {
        say(&format!("cfn-lint {template}"));
        note(&mut findings, sam_program("cfn-lint").args(["--regions", REGION, "--", template]))?;
    }
    say(&format!("cfn-lint {SAM_TEMPLATE} as SAM translates it"));
    let translated = translate()?;
    note(&mut findings, sam_program("cfn-lint").args(["--regions", REGION, "--"]).arg(&translated))?;
    for template in TEMPLATES {
        say(&format!("sam validate --lint --template {template}"));
        note(&mut findings, sam_program("sam").args(["validate", "--lint", "--template", template]))?;
    }
    say("cargo-deny bans, licenses, sources");
    let deny = setup::cargo_deny()?;
    note(
        &mut findings,
        Command::new(deny).args(["check", "bans", "licenses", "sources"]).current_dir(setup::root()),
    )?;
    say("samconfig.toml");
    findings.extend(samconfig()?);
    if findings.is_empty() {
        say("the linters found nothing");
        return Ok(());
    }
    bail!("the linters found:\n{}", findings.join("\n"))
}

fn definitions() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(setup::root().join("statemachines"))? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(".asl.json")) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("there are no state machines to check");
    }
    Ok(found)
}

/// A program of the SAM environment, without network or account.
fn sam_program(name: &str) -> Command {
    let bin = setup::local().join("sam/bin");
    let mut command = Command::new(bin.join(name));
    let mut path = std::ffi::OsString::from(&bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(setup::root()).env("PATH", path).env("SAM_CLI_TELEMETRY", "0");
    command
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Runs a linter; what a failing one printed is a finding.
fn note(findings: &mut Vec<String>, linter: &mut Command) -> Result<()> {
    let output = linter.output().with_context(|| format!("start {:?}", linter.get_program()))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        findings.push(format!("{linter:?}\n{out}{err}"));
    }
    Ok(())
}

/// Writes the translated template to `target/lint`.
fn translate() -> Result<PathBuf> {
    let output = sam_program("python").args(["infra/lint/translate.py", SAM_TEMPLATE]).output()?;
    if !output.status.success() {
        bail!("SAM cannot translate {SAM_TEMPLATE}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let folder = setup::root().join("target/lint");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("template.json");
    std::fs::write(&path, output.stdout)?;
    Ok(path)
}

/// What samconfig.toml lacks. SAM ignores what it does not understand.
fn samconfig() -> Result<Vec<String>> {
    let root = setup::root();
    let text = std::fs::read_to_string(root.join("samconfig.toml")).context("read samconfig.toml")?;
    let mut findings = Vec::new();
    for needed in ["version = 0.1", "[default.deploy.parameters]", "[local.deploy.parameters]"] {
        if !text.lines().any(|line| line.trim() == needed) {
            findings.push(format!("samconfig.toml: {needed} is missing"));
        }
    }
    for line in text.lines().filter(|line| line.starts_with("template_file")) {
        let file = line.split('"').nth(1).unwrap_or_default();
        if !Path::new(&root).join(file).is_file() {
            findings.push(format!("samconfig.toml: there is no {file}"));
        }
    }
    Ok(findings)
}
