//! `cargo x <command>`: everything that a developer or a newcomer runs in this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its terminal")]

mod sample;

use anyhow::{Result, bail};

const USAGE: &str = "cargo x <setup|demo|test|sample|lint|functions> [options]";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match command.as_deref() {
        Some("sample") => sample::run(&rest),
        _ => bail!("usage: {USAGE}"),
    }
}
