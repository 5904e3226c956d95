//! Ctrl-C and SIGTERM: the command's future is dropped, which ends its connections, uploads and child processes.

use crate::failure::Failure;
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Runs a command until it ends or a signal comes. `at_risk` says what an interruption means.
///
/// # Errors
/// The command's failure, or that it was interrupted.
pub async fn unless_interrupted<T>(
    command: impl Future<Output = Result<T, Failure>>,
    at_risk: &str,
) -> Result<T, Failure> {
    tokio::select! {
        outcome = command => outcome,
        () = received(SignalKind::interrupt()) => Err(Failure::interrupted(SIGINT, at_risk)),
        () = received(SignalKind::terminate()) => Err(Failure::interrupted(SIGTERM, at_risk)),
    }
}

/// Never ends where the signal cannot be listened to; its default action then ends the process.
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
