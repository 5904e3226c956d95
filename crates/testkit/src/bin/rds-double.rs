//! The RDS double as a process of its own. Prints `listening on URL` when it does; ends, with all its clusters, on
//! SIGTERM, on Ctrl-C, and with `--watch-stdin` at the end of its standard input.
//!
//! usage: rds-double --listen 127.0.0.1:PORT --root DIR --pg-bin DIR [--pg-bin DIR]... [--endpoint-url URL]
//!        [--create-delay-ms N] [--watch-stdin]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its terminal")]

use anyhow::{Context, Result, bail};
use keepsake_testkit::rds::{RdsDouble, RdsOptions};
use std::io::Read;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let (options, watch_stdin) = options(std::env::args().skip(1))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let double = RdsDouble::start(options).await?;
    println!("listening on {}", double.endpoint_url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = end_of_input(), if watch_stdin => {}
    }
    double.stop().await;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<(RdsOptions, bool)> {
    let (mut listen, mut root, mut watch_stdin) = (None, None, false);
    let (mut pg_bins, mut create_delay, mut secrets_endpoint) = (Vec::new(), Duration::ZERO, None);
    while let Some(name) = arguments.next() {
        if name == "--watch-stdin" {
            watch_stdin = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => listen = Some(value.parse().context("--listen takes ADDRESS:PORT")?),
            "--root" => root = Some(value.into()),
            "--pg-bin" => pg_bins.push(value.into()),
            "--endpoint-url" => secrets_endpoint = Some(value),
            "--create-delay-ms" => create_delay = Duration::from_millis(value.parse()?),
            other => bail!("unknown option {other}"),
        }
    }
    let (listen, root) = (listen.context("--listen is missing")?, root.context("--root is missing")?);
    Ok((RdsOptions { listen, root, pg_bins, create_delay, secrets_endpoint }, watch_stdin))
}

/// Waits for the end of standard input in a thread of its own, which ends with the process at the latest.
async fn end_of_input() {
    let (ended, seen) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
        // The receiver is gone only when the process is ending anyway.
        let _gone = ended.send(());
    });
    let _ended = seen.await;
}
