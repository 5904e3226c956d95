use crate::support::*;
use keepsake_domain::{Classified, ConnectionUrl, FailureClass};
use keepsake_postgres::{PgBin, PostgresSource};
use keepsake_steps::ports::{Provider, Source, SourceError, Target, TargetError};
use std::os::unix::fs::PermissionsExt;

/// The source's error in preflight, checked to carry no password.
async fn preflight_error(url: ConnectionUrl) -> SourceError {
    let error = source_at(url).preflight(6).await.expect_err("preflight must fail");
    assert!(!all_text(&error).contains(PASSWORD), "a credential in {}", all_text(&error));
    assert!(!error.explanation().next.is_empty() && !error.explanation().next.contains(PASSWORD));
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_refused_login_without_the_password() {
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    let error = preflight_error(source_db.url_as(&role, &format!("{PASSWORD}-not"))).await;
    assert!(matches!(error, SourceError::LoginRefused { .. }), "{}", all_text(&error));
    assert_eq!(error.class(), FailureClass::Permanent);
    let target = target_at(source_db.url_as(&role, &format!("{PASSWORD}-not")));
    let error = target.begin(BACKUP).await.unwrap_err();
    assert!(matches!(error, TargetError::LoginRefused { .. }), "{}", all_text(&error));
    assert!(!all_text(&error).contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_a_refused_login() {
    let source_db = Database::source().await;
    let url = source_db.url().expose().replace(&source_db.name, "no_such_database");
    let error = preflight_error(url.parse().unwrap()).await;
    assert!(matches!(error, SourceError::LoginRefused { .. }), "{}", all_text(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_named_and_not_retried() {
    let url = format!("postgres://u:{PASSWORD}@keepsake-nobody.invalid:5432/d");
    let error = preflight_error(url.parse().unwrap()).await;
    assert!(matches!(error, SourceError::UnknownHost { .. }), "{}", all_text(&error));
    assert_eq!(error.to_string(), "unknown host in keepsake-nobody.invalid:5432/d");
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_may_come_back() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://u:{PASSWORD}@127.0.0.1:{port}/d");
    let error = preflight_error(url.parse().unwrap()).await;
    assert!(matches!(error, SourceError::Unreachable { .. }), "{}", all_text(&error));
    assert_eq!(error.class(), FailureClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_when_tls_is_required() {
    let source_db = Database::source().await;
    let url = format!("{}?sslmode=verify-full", source_db.url().expose());
    let error = preflight_error(url.parse().unwrap()).await;
    assert!(matches!(error, SourceError::Statement { .. }), "{}", all_text(&error));
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_and_a_sequence_without_rights_are_named() {
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    source_db
        .run(&format!(
            "CREATE TABLE open (n integer); CREATE TABLE closed (n integer); CREATE SEQUENCE shut;
             CREATE SCHEMA hidden; CREATE TABLE hidden.t (n integer); GRANT SELECT ON open, hidden.t TO {role};
             SELECT lo_create(42)"
        ))
        .await;
    let url = source_db.url_as(&role, PASSWORD);
    match preflight_error(url.clone()).await {
        SourceError::NotReadable { role: named, objects } => {
            assert_eq!(named, role);
            assert_eq!(
                objects,
                ["sequence public.shut", "table hidden.t", "table public.closed", "large object 42"]
            );
        }
        other => panic!("{}", all_text(&other)),
    }
    // What the explanation advises is enough.
    source_db
        .run(&format!("GRANT pg_read_all_data TO {role}; GRANT SELECT ON LARGE OBJECT 42 TO {role}"))
        .await;
    let source = source_at(url);
    source.preflight(6).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    let held = source.take_snapshot().await.unwrap();
    let (content, _) = content_of(&source, held.name()).await;
    assert_eq!(content.len(), 3);
    let (dumped, bytes) = schema_of(&source, held.name()).await;
    dumped.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    assert!(bytes.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_without_rights_fails_without_an_end_and_without_the_password() {
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    source_db.run("CREATE TABLE closed (n integer)").await;
    let source = source_at(source_db.url_as(&role, PASSWORD));
    let held = source.take_snapshot().await.unwrap();
    let (dumped, bytes) = schema_of(&source, held.name()).await;
    let error = dumped.unwrap_err();
    assert!(matches!(error, SourceError::ClientFailed { .. }), "{}", all_text(&error));
    assert!(error.to_string().contains("permission denied for table closed"), "{error}");
    assert!(!all_text(&error).contains(PASSWORD));
    assert!(bytes.is_none(), "an end was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_level_security_that_would_hide_rows_is_an_error() {
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    source_db
        .run(&format!(
            "CREATE TABLE secured (n integer); INSERT INTO secured VALUES (1), (2);
             ALTER TABLE secured ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON secured USING (n = 1);
             GRANT SELECT ON secured TO {role}"
        ))
        .await;
    let url = source_db.url_as(&role, PASSWORD);
    match preflight_error(url.clone()).await {
        SourceError::HiddenRows { tables, .. } => assert_eq!(tables, ["public.secured"]),
        other => panic!("{}", all_text(&other)),
    }
    // Even without preflight nothing is silently left out.
    let source = source_at(url.clone());
    let held = source.take_snapshot().await.unwrap();
    let tables = source.shape(held.name()).await.unwrap().tables;
    let part = keepsake_domain::cut(&tables, fine()).remove(0);
    let mut reader = source.reader(held.name()).await.unwrap();
    let (to, from) = keepsake_steps::ports::chunks();
    let (copied, bytes) = tokio::join!(
        async {
            let to = to;
            reader.copy_out(&part, &to).await
        },
        collect(from)
    );
    assert!(copied.is_err() && bytes.is_none());

    source_db.run(&format!("ALTER ROLE {role} BYPASSRLS")).await;
    source_at(url).preflight(6).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_access_to_the_wal_position_names_the_function() {
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    source_db.run("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC").await;
    match preflight_error(source_db.url_as(&role, PASSWORD)).await {
        SourceError::NoWalAccess { functions, .. } => assert_eq!(functions, ["pg_current_wal_lsn()"]),
        other => panic!("{}", all_text(&other)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_of_a_source_are_told_in_one_run_each_with_its_remedy() {
    use keepsake_domain::Classified;
    let mut source_db = Database::source().await;
    let role = source_db.role("").await;
    source_db
        .run(&format!(
            "CREATE TABLE closed (n integer); CREATE TABLE veiled (n integer); GRANT SELECT ON veiled TO {role};
             ALTER TABLE veiled ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON veiled USING (n = 1);
             REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn(), pg_export_snapshot() FROM PUBLIC"
        ))
        .await;
    let error = preflight_error(source_db.url_as(&role, PASSWORD)).await;
    assert!(
        matches!(&error, SourceError::Several { problems } if problems.len() == 3),
        "{}",
        all_text(&error)
    );
    let (told, next) = (error.to_string(), error.explanation().next);
    for text in ["public.closed", "public.veiled", "pg_current_wal_lsn()", "pg_export_snapshot()"] {
        assert!(told.contains(text), "\"{text}\" is not in: {told}");
    }
    for text in ["GRANT pg_read_all_data", "BYPASSRLS", "GRANT EXECUTE ON FUNCTION"] {
        assert!(next.contains(text), "\"{text}\" is not in: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_older_than_the_server_is_named_with_both_versions() {
    let source_db = Database::source().await;
    let folder = std::env::temp_dir().join(format!("keepsake-pg-bin-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let old = folder.join("pg_dump");
    std::fs::write(&old, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n").unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    let source = PostgresSource::new(source_db.url(), Provider::Plain, PgBin::new(&folder));
    let error = source.preflight(6).await.unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    match &error {
        SourceError::Version { server, reason } => {
            assert!(server.contains('.') && reason.contains("9.6.24"), "{error}");
        }
        other => panic!("{}", all_text(other)),
    }
    let nowhere = PostgresSource::new(source_db.url(), Provider::Plain, PgBin::new("/nowhere"));
    let error = nowhere.preflight(6).await.unwrap_err();
    assert!(error.to_string().contains("not found in /nowhere"), "{error}");
}
