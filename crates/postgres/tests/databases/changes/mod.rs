//! Capturing changes, on real servers.

mod aligned;
mod decode;
mod fingerprint;
mod governed;
mod harm;
mod protect;
mod refused;
mod schema_watch;
mod server;
mod stream;
mod versions;

use crate::support::*;
use decode::Decoder;
use keepsake_domain::Lsn;
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::{ChangeMessage, ChangeSource, ChangeStream, ProtectWishes, Protection};

/// A database's changes; the source is called as the database, whose name is its own.
fn changes_of(db: &Database) -> PostgresChanges {
    PostgresChanges::new(db.url(), &db.name)
}

fn slot_of(db: &Database) -> String {
    format!("keepsake_{}", db.name)
}

async fn protected(db: &Database) -> (PostgresChanges, Protection) {
    let changes = changes_of(db);
    let protection = changes.protect(&ProtectWishes::default()).await;
    (changes, protection.unwrap_or_else(|error| panic!("{}", all_text(&error))))
}

/// As where no event trigger may be made.
async fn unwatched(db: &Database) {
    db.run("DROP EVENT TRIGGER keepsake_capture_start; DROP EVENT TRIGGER keepsake_capture_ddl; DROP EVENT TRIGGER keepsake_capture_drop")
        .await;
}

async fn open(changes: &PostgresChanges, from: Lsn) -> Box<dyn ChangeStream> {
    changes.stream(from).await.unwrap_or_else(|error| panic!("{}", all_text(&error)))
}

/// Every change that was committed before now, as lines, and where the stream stands behind them.
async fn drained(changes: &PostgresChanges, stream: &mut dyn ChangeStream) -> (Vec<String>, Lsn) {
    let (decoder, lsn) = decoded(changes, stream).await;
    (decoder.lines(), lsn)
}

async fn decoded(changes: &PostgresChanges, stream: &mut dyn ChangeStream) -> (Decoder, Lsn) {
    let mark = changes.mark().await.unwrap().lsn;
    let mut decoder = Decoder::default();
    loop {
        match stream.next().await.unwrap_or_else(|error| panic!("{}", all_text(&error))) {
            ChangeMessage::Wal { start, payload, .. } => decoder.take(start, &payload),
            ChangeMessage::Keepalive { end } if end >= mark => return (decoder, end),
            ChangeMessage::Keepalive { .. } => {}
        }
    }
}

/// How far the slot was confirmed.
async fn confirmed(changes: &PostgresChanges) -> Lsn {
    changes.capture_state().await.unwrap().slot.expect("a slot").confirmed_lsn
}
