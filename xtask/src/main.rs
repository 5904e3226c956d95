//! `cargo x <command>`: everything that a developer or a newcomer runs in this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its terminal")]

mod asl_cases;
mod cloud;
mod sample;
mod setup;

use anyhow::{Result, bail};

const USAGE: &str = "cargo x <setup|demo|test|cloud|asl-cases|sample|lint|functions> [options]";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match command.as_deref() {
        Some("setup") => setup::run(&rest),
        Some("cloud") => cloud::run(&rest),
        Some("asl-cases") => asl_cases::run(&rest),
        Some("sample") => sample::run(&rest),
        _ => bail!("usage: {USAGE}"),
    }
}
