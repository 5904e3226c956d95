//! `cargo x <command>`: everything that a developer or a newcomer runs in this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its terminal")]

mod asl_cases;
mod bench;
mod cloud;
mod demo;
mod deployment;
mod execution;
mod functions;
mod lint;
mod sample;
mod setup;
mod subscriber;
mod sweeps;
mod test;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "cargo x <setup|demo|test|cloud|asl-cases|state-sweep|kill-sweep|sample|bench|lint|functions|golden> [options]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match command.as_deref() {
        Some("setup") => setup::run(&rest),
        Some("cloud") => cloud::run(&rest),
        Some("asl-cases") => asl_cases::run(&rest),
        Some("demo") => demo::run(&rest),
        Some("test") => test::run(&rest),
        Some("functions") => functions::run(&setup::root(), &rest),
        Some("state-sweep") => sweeps::states(),
        Some("kill-sweep") => sweeps::kills(&rest),
        Some("golden") => golden(&rest),
        Some("lint") => lint::run(&rest),
        Some("sample") => sample::run(&rest),
        Some("bench") => bench::run(&rest),
        _ => bail!("usage: {USAGE}"),
    }
}

/// `cargo x golden NAME`: keeps an archive of today's format in `tests/golden/NAME`.
fn golden(arguments: &[String]) -> Result<()> {
    let [name] = arguments else { bail!("usage: cargo x golden NAME, a name that tests/golden has not") };
    test::run_with(test::Needs::Servers, &[("KEEPSAKE_GOLDEN", name.clone())], &golden_test())
}

fn golden_test() -> Vec<String> {
    let words = "--workspace --test command_line -- --ignored --exact golden::makes_a_golden_archive";
    words.split(' ').map(str::to_owned).collect()
}

/// Tells what happens next, before it happens.
fn say(what: &str) {
    println!("► {what}");
}
