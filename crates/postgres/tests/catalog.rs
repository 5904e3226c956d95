//! What the catalog in Postgres keeps beyond its contract: rows, roles, migrations, declarations, lost connections.
#![allow(clippy::unwrap_used)]

mod catalog_bench;

use catalog_bench::{DECLARATION, Fresh};
use keepsake_domain::{
    Classified, ConnectionUrl, Explanation, FailureClass, InstanceName, Lineage, Lsn, Notice, NoticeKind,
    Severity, Timestamp, Verdict, chain,
};
use keepsake_postgres::catalog::{ApplyError, Change, ChangeAction, Declaration, PostgresCatalog};
use keepsake_steps::ports::{
    AlertLog, CaptureLog, CatalogError, CompletedBackup, Copies, CopyRecord, CopyState, Execution,
    Executions, FailureRecord, Leases, Policies, ProbeRecord, TestOutcome, Tests,
};
use keepsake_testkit::catalog_suite::samples;
use std::time::Duration;

const POLICY: &str = "wedsync-nightly";

async fn sealed(catalog: &PostgresCatalog) -> Execution {
    let policy = catalog.policy(POLICY).await.unwrap();
    samples::sealed(catalog, &policy).await
}

async fn tested(catalog: &PostgresCatalog, run: &Execution, verdict: Verdict) {
    let instance = InstanceName::for_backup(run.backup_id);
    let test = catalog.begin_test(run.backup_id, &instance, Timestamp::now()).await.unwrap();
    let outcome = TestOutcome {
        verdict,
        certificate: Some(samples::certificate(run.backup_id, verdict)),
        errors: vec!["target said postgres://u:hunter2@h/d".to_owned()],
        completed_at: Timestamp::now(),
    };
    catalog.finish_test(test.test_id, &outcome).await.unwrap();
}

fn done() -> CompletedBackup {
    CompletedBackup { completed_at: Timestamp::now() }
}

#[tokio::test]
async fn migrating_twice_and_at_once_applies_each_migration_once() {
    let fresh = Fresh::empty().await;
    let url = fresh.url(None);
    let (one, other) = tokio::join!(PostgresCatalog::migrate(&url), PostgresCatalog::migrate(&url));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_empty() != other.is_empty(), "{one:?} {other:?}");
    assert!(one.iter().chain(&other).any(|name| name.contains("roles")), "{one:?} {other:?}");
    assert_eq!(PostgresCatalog::migrate(&url).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn every_guard_of_the_database_holds() {
    let fresh = Fresh::migrated().await;
    let checks = include_str!("../../../migrations/checks/guards.sql");
    let outcome = fresh.sql(None).await.batch_execute(checks).await;
    assert!(outcome.is_ok(), "{:?}", outcome.map_err(|error| chain(&error)));
}

#[tokio::test]
async fn a_policy_is_read_as_it_was_declared() {
    let fresh = Fresh::declared().await;
    let policy = fresh.catalog("function").await.policy(POLICY).await.unwrap();
    assert_eq!(policy.source.connection_secret, "env:WEDSYNC_URL");
    assert_eq!(policy.source.provider, keepsake_steps::ports::Provider::Supabase);
    assert_eq!(
        (policy.primary.repository.as_str(), policy.primary.region.as_str()),
        ("s3://suite/main", "eu-central-1")
    );
    assert_eq!(policy.copies.iter().map(|copy| copy.region.as_str()).collect::<Vec<_>>(), ["eu-west-1"]);
    assert_eq!(
        (policy.kms_key_id.as_str(), policy.compression, policy.relay_seconds),
        ("alias/suite", keepsake_archive::ZSTD_LEVEL, 780)
    );
    assert_eq!((policy.part_size_bytes, policy.max_parallel_jobs), (268_435_456, 2));
    assert!(policy.is_active && policy.test_restore && !policy.notify_success);
    let default =
        "select column_default from information_schema.columns where column_name = 'compression_level'";
    assert_eq!(fresh.text_of(default).await, keepsake_archive::ZSTD_LEVEL.to_string());
}

#[tokio::test]
async fn the_rpo_of_a_copy_is_the_age_that_was_read_back_in_whole_seconds_and_nothing_before_that() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    let policy = catalog.policy(POLICY).await.unwrap();
    let (source, copy) = (policy.source.id, policy.copies[0].location_id);
    let shown = async || {
        let sql = "select coalesce(rpo_seconds::text, 'unknown') from keepsake.change_positions";
        fresh.text_of(sql).await
    };
    let failure = FailureRecord {
        class: FailureClass::Permanent,
        message: "the bucket does not exist".to_owned(),
        state: Some("CopyChanges".to_owned()),
        failed_at: Timestamp::now(),
    };
    catalog.note_copy_failure(source, copy, &failure).await.unwrap();
    assert_eq!(shown().await, "unknown", "a copy that was never read back is no copy without loss");
    let mut probed_at: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    // Ages in microseconds; below zero the source's clock is ahead.
    for (age, seconds) in [(6_500_000, "7"), (0, "0"), (1, "1"), (-3_000_000, "0"), (86_400_000_000, "86400")]
    {
        probed_at += Duration::from_secs(1);
        let newest_at = Timestamp::from_microsecond(probed_at.as_microsecond() - age).unwrap();
        let probe = ProbeRecord { newest_lsn: Lsn(200), newest_at, probed_at };
        catalog.note_probe(source, copy, &probe).await.unwrap();
        assert_eq!(shown().await, seconds, "{age}");
    }
    catalog.note_copy_failure(source, copy, &failure).await.unwrap();
    assert_eq!(shown().await, "86400", "it stands until it is read back again");
}

#[tokio::test]
async fn applying_again_changes_nothing_and_each_change_is_audited() {
    let fresh = Fresh::migrated().await;
    let catalog = fresh.catalog("admin").await;
    let declared = Declaration::parse(DECLARATION).unwrap();
    let made = catalog.apply(&declared, "ann").await.unwrap();
    let names: Vec<_> =
        made.iter().map(|change| (change.kind, change.name.as_str(), change.action)).collect();
    assert_eq!(
        names,
        [
            ("source", "wedsync", ChangeAction::Created),
            ("location", "main", ChangeAction::Created),
            ("location", "copy", ChangeAction::Created),
            ("location", "folder", ChangeAction::Created),
            ("policy", POLICY, ChangeAction::Created),
        ]
    );
    assert_eq!(catalog.apply(&declared, "ann").await.unwrap(), []);

    let mut changed = declared.clone();
    changed.policies[0].copies = vec!["folder".to_owned(), "copy".to_owned()];
    changed.sources.clear();
    let updated = Change { kind: "policy", name: POLICY.to_owned(), action: ChangeAction::Updated };
    assert_eq!(catalog.apply(&changed, "bob").await.unwrap(), std::slice::from_ref(&updated));
    changed.policies[0].retention_daily = 30;
    changed.policies[0].rpo_minutes = 60;
    assert_eq!(catalog.apply(&changed, "bob").await.unwrap(), [updated]);

    let policy = catalog.policy(POLICY).await.unwrap();
    assert_eq!(
        policy.copies.iter().map(|copy| copy.region.as_str()).collect::<Vec<_>>(),
        ["local", "eu-west-1"]
    );
    let kept = "select retention_daily || ' ' || rpo || ' ' || rto from keepsake.backup_policies";
    assert_eq!(fresh.text_of(kept).await, "30 01:00:00 04:00:00");
    let audited = "select string_agg(actor || ' ' || action || ' ' || subject, ', ' order by id) from keepsake.audit_log";
    assert_eq!(
        fresh.text_of(audited).await,
        "ann catalog.create source wedsync, ann catalog.create location main, ann catalog.create location copy, \
         ann catalog.create location folder, ann catalog.create policy wedsync-nightly, \
         bob catalog.update policy wedsync-nightly, bob catalog.update policy wedsync-nightly"
    );
    assert_eq!(fresh.text_of("select coalesce(keepsake.audit_verify()::text, 'whole')").await, "whole");
}

#[tokio::test]
async fn a_declaration_is_applied_whole_or_not_at_all() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("admin").await;
    let mut declared = Declaration::parse(DECLARATION).unwrap();
    declared.sources[0].connection_secret = "env:OTHER".to_owned();
    declared.policies[0].primary = "nowhere".to_owned();
    let refused = catalog.apply(&declared, "ann").await.unwrap_err();
    assert!(
        matches!(&refused, ApplyError::Invalid(_)) && refused.to_string().contains("nowhere"),
        "{refused}"
    );
    declared.policies[0].primary = "main".to_owned();
    declared.policies[0].priority_level = 99;
    let refused = catalog.apply(&declared, "ann").await.unwrap_err();
    assert!(matches!(&refused, ApplyError::Catalog(CatalogError::Transition { .. })), "{refused:?}");
    assert_eq!(refused.class(), FailureClass::Permanent);
    assert!(refused.explanation().next.contains("catalog apply"), "{}", refused.explanation().next);
    assert_eq!(fresh.text_of("select connection_secret from keepsake.sources").await, "env:WEDSYNC_URL");
}

#[tokio::test]
async fn a_policy_at_a_level_that_never_sealed_comes_to_the_highest_that_does() {
    let fresh = Fresh::declared().await;
    let sql = fresh.sql(None).await;
    let as_before = "alter table keepsake.backup_policies drop constraint policies_compression_level_range,
        add constraint policies_compression_level_range check (compression_level between 1 and 22);
        update keepsake.backup_policies set compression_level = 22";
    sql.batch_execute(as_before).await.unwrap();
    let migration = include_str!("../../../migrations/V10__compression_levels_that_seal.sql");
    sql.batch_execute(migration).await.unwrap();
    assert_eq!(fresh.text_of("select compression_level::text from keepsake.backup_policies").await, "19");
    let again = sql.batch_execute("update keepsake.backup_policies set compression_level = 20").await;
    assert!(again.is_err());
}

#[tokio::test]
async fn what_comes_after_its_run_ended_is_told_to_start_anew_and_not_to_migrate() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    let policy = catalog.policy(POLICY).await.unwrap();
    let run = samples::opened(&catalog, &policy).await;
    let failure = FailureRecord {
        class: FailureClass::Permanent,
        message: "stopped".to_owned(),
        state: Some("Begin".to_owned()),
        failed_at: Timestamp::now(),
    };
    catalog.fail(run.id, &failure).await.unwrap();
    let lineage = Lineage { system_identifier: 1, timeline: 1, database_oid: 1 };
    let late = catalog.note_lineage(run.id, &lineage).await.unwrap_err();
    assert!(matches!(&late, CatalogError::Transition { .. }), "{late:?}");
    let next = late.explanation().next;
    assert!(next.contains("start the policy again") && !next.contains("migrate"), "{next}");
}

#[tokio::test]
async fn a_function_has_no_right_to_rewrite_what_happened_or_to_decide() {
    let fresh = Fresh::declared().await;
    let function = fresh.catalog("function").await;
    sealed(&function).await;
    let sql = fresh.sql(Some("function")).await;
    for statement in [
        "delete from keepsake.backup_executions",
        "delete from keepsake.backup_snapshots",
        "delete from keepsake.backup_tests",
        "delete from keepsake.audit_log",
        "update keepsake.audit_log set reason = 'x'",
        "truncate keepsake.audit_log",
        "update keepsake.backup_policies set is_active = false",
        "update keepsake.sources set connection_secret = 'env:EVIL'",
        "insert into keepsake.policy_locations values (gen_random_uuid(), gen_random_uuid(), 3)",
    ] {
        let error = sql.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{statement}: {}", chain(&error));
    }
    let mut declared = Declaration::parse(DECLARATION).unwrap();
    declared.policies[0].is_active = false;
    let refused = function.apply(&declared, "eve").await.unwrap_err();
    assert!(matches!(refused, ApplyError::Catalog(CatalogError::Refused { .. })), "{refused:?}");
    let viewer = fresh.catalog("viewer").await.acquire("policy", "eve", Duration::from_secs(1)).await;
    assert!(matches!(viewer, Err(CatalogError::Refused { .. })), "{viewer:?}");
}

#[tokio::test]
async fn a_viewer_sees_a_whole_run_with_everything_that_hangs_on_it() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    let policy = catalog.policy(POLICY).await.unwrap();
    let run = sealed(&catalog).await;
    let copy = |state, progress, checksum: Option<&str>| CopyRecord {
        backup_id: run.backup_id,
        location_id: policy.copies[0].location_id,
        region: "eu-west-1".to_owned(),
        state,
        progress,
        checksum: checksum.map(str::to_owned),
        error: None,
        at: Timestamp::now(),
    };
    for record in [
        copy(CopyState::Copying, 0.0, None),
        copy(CopyState::Copying, 0.0, None),
        copy(CopyState::Verified, 1.0, Some("ab")),
    ] {
        catalog.record_copy(&record).await.unwrap();
    }
    tested(&catalog, &run, Verdict::Passed).await;
    catalog.count_retry(run.id).await.unwrap();
    catalog.complete(run.id, &done()).await.unwrap();
    let notice = notice(&run.execution_id);
    assert!(catalog.announce(&run.execution_id, &notice, "arn:topic").await.unwrap());
    catalog.delivered(&run.execution_id, &notice, "message-1").await.unwrap();

    let seen = fresh.catalog("viewer").await.recent_executions(10).await.unwrap();
    assert_eq!(seen.len(), 1);
    let seen = &seen[0];
    assert_eq!((seen.status.as_str(), seen.integrity_status.as_str()), ("completed", "passed"));
    assert_eq!(
        (seen.policy.as_deref(), seen.source.as_str(), seen.retry_count),
        (Some(POLICY), "wedsync", 1)
    );
    assert_eq!((seen.raw_bytes, seen.stored_bytes, seen.files_backed_up), (Some(3500), Some(610), Some(6)));
    assert_eq!(
        seen.transfer_rate_bytes_per_second,
        Some(350),
        "3,500 bytes from the snapshot to the seal, 10 s"
    );
    let snapshot = seen.snapshot.as_ref().unwrap();
    assert_eq!((snapshot.tables, snapshot.rows, snapshot.wal_lsn.as_deref()), (2, 35, Some("16/B374D848")));
    assert_eq!((snapshot.validation_status.as_str(), snapshot.verified_at.is_some()), ("valid", true));
    let copy = &seen.copies[0];
    assert_eq!((copy.location.as_str(), copy.status.as_str(), copy.attempts), ("copy", "verified", 2));
    assert_eq!((copy.checksum.as_deref(), copy.verified_at.is_some()), (Some("ab"), true));
    let tests: Vec<_> =
        seen.tests.iter().map(|test| (test.test_type.as_str(), test.verdict.as_str())).collect();
    assert_eq!(tests, [("integrity_check", "passed"), ("restore_test", "passed")]);
    let restore = &seen.tests[1];
    assert_eq!((restore.data_verified["rows"], restore.recovery_time_by_phase["rows"]), (35, 1.5));
    assert_eq!(
        restore.errors,
        ["target said postgres://***@h/d"],
        "the database's last line against credentials"
    );
    assert_eq!(
        (seen.alerts[0].status.as_str(), seen.alerts[0].message_id.as_deref()),
        ("sent", Some("message-1"))
    );
    let row = "select tenant_count is null and location_id is not null and storage_location = 's3://suite/main' \
               and encryption_key_id like 'arn:aws:kms:%' and row_counts = '{\"public.guests\": 30, \"public.vendors\": 5}' \
               from keepsake.backup_snapshots";
    let is_whole: bool = fresh.sql(None).await.query_one(row, &[]).await.unwrap().get(0);
    assert!(is_whole);
}

fn notice(execution_id: &str) -> Notice {
    Notice {
        kind: NoticeKind::BackupCompleted,
        severity: Severity::Info,
        source: "wedsync".to_owned(),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: "the backup stands".to_owned(),
        explanation: Explanation { at_risk: "nothing".to_owned(), next: "keepsake show".to_owned() },
    }
}

#[tokio::test]
async fn nothing_learned_is_nothing_proven() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    for verdict in [Verdict::Inconclusive, Verdict::Failed] {
        let run = sealed(&catalog).await;
        tested(&catalog, &run, verdict).await;
        let refused = catalog.complete(run.id, &done()).await;
        assert!(matches!(refused, Err(CatalogError::Transition { .. })), "{verdict:?}: {refused:?}");
        tested(&catalog, &run, Verdict::Passed).await;
        catalog.complete(run.id, &done()).await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_is_kept_with_its_class_and_state_and_without_credentials() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    let policy = catalog.policy(POLICY).await.unwrap();
    let run = samples::opened(&catalog, &policy).await;
    let failure = FailureRecord {
        class: FailureClass::Transient,
        message: format!("dial postgres://u:hunter2@h/d {}", "x".repeat(5_000)),
        state: Some("Dump".to_owned()),
        // Another machine's clock, behind the one that began the run.
        failed_at: Timestamp::now() - Duration::from_secs(3600),
    };
    catalog.fail(run.id, &failure).await.unwrap();
    let row = "select status || ' ' || error_class || ' ' || left(error_message, 28) || ' ' || length(error_message) || ' ' \
               || (error_details ->> 'state') || ' ' || (completed_at >= started_at) from keepsake.backup_executions";
    assert_eq!(fresh.text_of(row).await, "failed Transient dial postgres://***@h/d xxxx 3994 Dump true");
}

#[tokio::test]
async fn a_connection_that_was_cut_is_opened_again() {
    let fresh = Fresh::declared().await;
    let catalog = fresh.catalog("function").await;
    for _ in 0..3 {
        let cut = "select count(pg_terminate_backend(pid, 5000))::text from pg_stat_activity \
                   where datname = current_database() and application_name = 'keepsake-catalog' \
                   and usename = 'keepsake_suite_function'";
        assert_eq!(fresh.text_of(cut).await, "1");
        catalog.policy(POLICY).await.unwrap();
    }
}

#[tokio::test]
async fn a_catalog_that_is_not_there_is_transient_and_names_no_password() {
    // Port 1 is reserved; nothing listens.
    let url: ConnectionUrl = "postgres://u:hunter2@127.0.0.1:1/catalog".parse().unwrap();
    let error = PostgresCatalog::connect(url).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(!chain(&error).contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_was_never_migrated_says_so() {
    let fresh = Fresh::empty().await;
    let catalog = PostgresCatalog::connect(fresh.url(None)).await.unwrap();
    let error = catalog.policy(POLICY).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.explanation().next.contains("catalog migrate"), "{}", error.explanation().next);
}
