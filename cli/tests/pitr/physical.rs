//! Postgres's own recovery to a target, and the proof that this judge can tell two databases apart.

use crate::commits::lsn;
use crate::content::Content;
use crate::source::{SETTINGS, Source};
use crate::target::Target;
use keepsake_testkit::cluster::{Cluster, Major, as_server_user, finish, until};
use keepsake_testkit::environment;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Replays the archived WAL over the physical copy until the target, and promotes; the copy is gone when this is dropped.
pub fn recover(source: &Source, target: &Target, name: &str) -> Cluster {
    let data = source.folder.path().join(name);
    finish(as_server_user("/bin/cp").arg("--archive").arg(source.folder.path().join("base")).arg(&data));
    finish(as_server_user("/usr/bin/touch").arg(data.join("recovery.signal")));
    let restore = format!("restore_command=cp {}/%f \"%p\"", source.archive().display());
    let targets = target.settings();
    let mut settings = SETTINGS.to_vec();
    settings.extend([restore.as_str(), "recovery_target_action=promote", "archive_mode=off"]);
    settings.extend(targets.iter().map(String::as_str));
    let cluster = source.major.run(&data, &settings);
    until("the copy is promoted", || cluster.sql("SELECT pg_is_in_recovery()") == "f");
    // What was prepared and not committed at the target still holds its locks.
    for gid in cluster.sql("SELECT gid FROM pg_prepared_xacts").lines() {
        cluster.sql(&format!("ROLLBACK PREPARED '{gid}'"));
    }
    cluster
}

#[test]
fn two_ways_of_postgres_to_one_target_are_equal_and_every_change_of_a_copy_is_found() {
    let seed = environment::seed("KEEPSAKE_PITR_SEED");
    eprintln!("the judge of point-in-time recovery: KEEPSAKE_PITR_SEED={seed}");
    let source = Source::new(Major::DEBIAN);
    source.base_backup();
    let start = source.lsn();
    source.load(seed, 120).finish();
    let ends = source.ends_since(&start);
    let commits: Vec<_> = ends.iter().filter(|end| end.is_commit).collect();
    assert!(commits.len() > 100, "only {} commits", commits.len());
    assert!(commits.iter().all(|commit| commit.lsn >= lsn(&start)));
    let mut random = StdRng::seed_from_u64(seed);
    let target = Target::draw(&mut random, &ends[ends.len() / 4..]);
    let last = target.last(&ends).expect("a commit before a quarter of the load's end");
    eprintln!("{target:?} ends behind {last:?}");

    let by_target = recover(&source, &target, "by-target");
    let by_lsn = recover(&source, &Target::Lsn { lsn: last.lsn, inclusive: true }, "by-lsn");
    let (one, other) = (Content::of(&by_target.url()), Content::of(&by_lsn.url()));
    assert_eq!(one.differences(&other), [""; 0], "{target:?}");
    let end = Content::of(&source.cluster.url());
    assert!(
        last.lsn == commits[commits.len() - 1].lsn || !end.differences(&one).is_empty(),
        "{last:?} is not the end"
    );

    // Each change is of a table that the load may leave empty nowhere.
    for (change, found) in [
        ("DELETE FROM untouched WHERE id = 7", "table untouched"),
        ("UPDATE untouched SET v = v || ' ' WHERE id = 8", "table untouched"),
        ("INSERT INTO keyless VALUES (0, 'one more', 0)", "table keyless"),
        ("DROP TABLE typed", "table typed"),
        ("SELECT setval('accounts_id_seq', 1)", "sequence accounts_id_seq"),
    ] {
        by_lsn.sql(change);
        let differences = one.differences(&Content::of(&by_lsn.url()));
        assert!(differences.iter().any(|one| one.starts_with(found)), "{change}: {differences:?}");
    }
}
