//! What is never told. In a process of its own: tracing remembers, for all threads, which log lines nobody wanted when
//! they were first reached, so a test beside this one could silence what is searched here.
#![allow(clippy::unwrap_used, clippy::panic)]

use keepsake_testkit::scenario::{MARKER, Scenario, Setting};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_row_nor_a_key_is_logged_or_told_in_a_good_run_and_a_bad_one() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let scenario = Scenario::new(Setting::default());
    scenario.run("good").await.unwrap();
    scenario.source.fail_with(keepsake_testkit::SourceFault::SchemaDump(keepsake_testkit::Break {
        after_bytes: 3,
        is_silent: false,
    }));
    let failed = scenario.run("bad").await.unwrap_err();
    // The stored bytes of all three stores are searched by the check.
    assert_eq!(scenario.check().await, Vec::<String>::new());
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("part uploaded") && logged.contains("holding the snapshot"), "{logged}");
    let told =
        format!("{logged}{:?}{}{:?}", scenario.notices.published(), failed.text, scenario.catalog.runs());
    for secret in [MARKER, "AGE-SECRET-KEY-1", "postgres://"] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}
