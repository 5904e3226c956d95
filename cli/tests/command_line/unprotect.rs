//! `keepsake unprotect`: nothing of ours stays on the source.

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::{ChangeSource, ProtectWishes};

fn unprotect(source: &Database, name: &str, more: &[&str]) -> Ended {
    let mut arguments = vec!["unprotect", "--source", "env:SOURCE", "--name", name];
    arguments.extend(more);
    ended(command(&arguments).env("SOURCE", source.url()))
}

fn protect(source: &Database, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let changes = PostgresChanges::new(source.url().parse().unwrap(), name);
    runtime
        .block_on(changes.protect(&ProtectWishes { identity_full: true, ..ProtectWishes::default() }))
        .unwrap();
}

/// Slots, publications, replica identities, event triggers and schemas of the database.
fn traces(source: &Database) -> String {
    source.sql(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()
         UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT evtname FROM pg_event_trigger
         UNION ALL SELECT nspname FROM pg_namespace
         UNION ALL SELECT relname || ' ' || relreplident::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384 ORDER BY 1",
    )
}

#[test]
fn unprotecting_takes_everything_off_the_source_and_a_second_time_finds_nothing() {
    let source = Database::empty(Server::Source);
    source.sql("CREATE TABLE bare (n int); CREATE TABLE keyed (n int PRIMARY KEY)");
    let (before, name) = (traces(&source), source.name.replace('_', "-"));
    protect(&source, &name);
    assert_ne!(traces(&source), before);
    let slot = format!("keepsake_{}", source.name);
    // Another name's is not touched.
    assert!(unprotect(&source, "other", &[]).ok().stdout.contains("holds nothing of other"));
    let answer = unprotect(&source, &name, &["--json"]).ok().json();
    let removed: Vec<&str> =
        answer["removed"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let (slot, publication) = (format!("replication slot {slot}"), format!("publication {slot}"));
    let watch = "event triggers and schema keepsake_capture";
    assert_eq!(removed, [slot.as_str(), "replica identity of public.bare", publication.as_str(), watch]);
    assert_eq!(traces(&source), before);
    assert!(unprotect(&source, &name, &[]).ok().stdout.contains("holds nothing"));
    protect(&source, &name);
    let told = unprotect(&source, &name, &[]).ok().stdout;
    assert!(told.contains(&publication) && told.contains("replica identity of public.bare"), "{told}");
    assert_eq!(traces(&source), before);
}

#[test]
fn a_name_that_is_none_is_refused_before_the_source_is_asked() {
    let source = Database::empty(Server::Source);
    let refused = unprotect(&source, "../x", &[]);
    assert!(refused.stderr.contains("give another --name"), "{}", refused.stderr);
}
