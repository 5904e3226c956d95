use super::*;
use keepsake_steps::ports::SourceError;

/// Everything in the catalogs that protecting a database may touch.
async fn traces(db: &Database) -> Vec<String> {
    let sql = "SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
        UNION ALL SELECT 'publication ' || pubname FROM pg_publication
        UNION ALL SELECT 'published ' || prrelid::regclass FROM pg_publication_rel
        UNION ALL SELECT 'comment ' || description FROM pg_description WHERE classoid = 'pg_publication'::regclass
        UNION ALL SELECT 'identity of ' || oid::regclass || ' ' || relreplident::text FROM pg_class
            WHERE relkind IN ('r', 'p') AND oid >= 16384
        UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
        UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_'
        UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'object ' || oid FROM pg_class WHERE oid >= 16384 ORDER BY 1";
    db.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn protecting_and_unprotecting_twice_leaves_no_trace() {
    let db = Database::source().await;
    // An identity whose index was dropped means the same as none, and none is what it gets back.
    db.run(&format!("{}; DROP TABLE index_gone", harm::SHAPES)).await;
    let changes = changes_of(&db);
    let before = (traces(&db).await, changes.boundary().await.unwrap().schema_fingerprint);
    assert_eq!(changes.unprotect().await.unwrap().removed, Vec::<String>::new());
    let wishes = ProtectWishes { identity_full: true, ..ProtectWishes::default() };
    let first = changes.protect(&wishes).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    let protected = traces(&db).await;
    let second = changes.protect(&wishes).await.unwrap();
    assert_eq!((first.is_new, second.is_new), (true, false));
    assert_eq!((&first.published, &first.not_captured), (&second.published, &second.not_captured));
    assert_eq!(traces(&db).await, protected);
    let state = changes.capture_state().await.unwrap();
    assert_eq!(state.published, first.published);
    assert_eq!(
        state.slot.as_ref().map(|slot| (slot.name.clone(), slot.lost.clone())),
        Some((slot_of(&db), None))
    );
    assert_eq!((first.slot, first.lsn), (slot_of(&db), state.slot.unwrap().confirmed_lsn));

    let removed = changes.unprotect().await.unwrap().removed;
    for wanted in [
        format!("replication slot {}", slot_of(&db)),
        format!("publication {}", slot_of(&db)),
        "replica identity of public.bare".to_owned(),
        "event triggers and schema keepsake_capture".to_owned(),
    ] {
        assert!(removed.contains(&wanted), "{wanted} is not in {removed:?}");
    }
    assert_eq!(changes.unprotect().await.unwrap().removed, Vec::<String>::new());
    assert_eq!((traces(&db).await, changes.boundary().await.unwrap().schema_fingerprint), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_new_join_and_those_that_are_gone_disturb_nobody() {
    let db = Database::source().await;
    db.run("CREATE TABLE a (n integer PRIMARY KEY); CREATE TABLE b (n integer PRIMARY KEY)").await;
    let (changes, first) = protected(&db).await;
    db.run("CREATE TABLE c (n integer PRIMARY KEY); DROP TABLE a; ALTER TABLE b RENAME TO d").await;
    let (_, second) = protected(&db).await;
    assert_eq!((second.is_new, second.lsn), (false, first.lsn));
    let names: Vec<&str> = second.published.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["c", "d"]);
    db.run("INSERT INTO c VALUES (1); INSERT INTO d VALUES (2)").await;
    let mut stream = open(&changes, first.lsn).await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, ["BEGIN", "INSERT public.c N 1", "INSERT public.d N 2", "COMMIT"]);
}

/// Between the two the server forgot which tables were published, so nothing from before can be streamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_publication_was_dropped_is_made_anew_and_says_so() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let (changes, first) = protected(&db).await;
    db.run(&format!("INSERT INTO t VALUES (1); DROP PUBLICATION {}; INSERT INTO t VALUES (2)", slot_of(&db)))
        .await;
    let (_, second) = protected(&db).await;
    assert!(second.is_new && second.lsn > first.lsn);
    db.run("INSERT INTO t VALUES (3)").await;
    let mut stream = open(&changes, second.lsn).await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, ["BEGIN", "INSERT public.t N 3", "COMMIT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_dropped_is_told_as_lost_and_made_anew() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let (changes, first) = protected(&db).await;
    db.client().await.query("SELECT pg_drop_replication_slot($1)", &[&slot_of(&db)]).await.unwrap();
    assert_eq!(changes.capture_state().await.unwrap().slot, None);
    let Err(error) = changes.stream(first.lsn).await else { panic!("a stream without slot") };
    assert!(matches!(error, SourceError::SlotLost { .. }), "{}", all_text(&error));
    assert!(protected(&db).await.1.is_new);
}

/// A change of an identity needs the strongest lock; whoever comes behind us waits for it too.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_stops_protecting_after_two_seconds_and_nothing_stays_behind() {
    let db = Database::source().await;
    db.run("CREATE TABLE a (n integer); CREATE TABLE b (n integer)").await;
    let before = traces(&db).await;
    let user = db.client().await;
    user.batch_execute("BEGIN; SELECT * FROM b").await.unwrap();
    let changes = changes_of(&db);
    let error = changes
        .protect(&ProtectWishes { identity_full: true, ..ProtectWishes::default() })
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SourceError::LockNotGranted { what, .. } if what == "table public.b"),
        "{}",
        all_text(&error)
    );
    assert_eq!(traces(&db).await, before);
    user.batch_execute("COMMIT").await.unwrap();
    changes.protect(&ProtectWishes { identity_full: true, ..ProtectWishes::default() }).await.unwrap();
}

/// `relreplident` of each table, with the index where it is by one.
async fn identities(db: &Database) -> Vec<String> {
    let sql = "SELECT format('%s %s %s', c.relname, c.relreplident, i.indexrelid::regclass) FROM pg_class c
        LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident WHERE c.relkind = 'r' AND c.oid >= 16384 ORDER BY 1";
    db.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The stream would leave the generated columns of these indexes out, so they are no identity to capture by.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_by_an_index_is_set_back_with_its_index_and_stays_whole_where_the_index_is_gone() {
    let db = Database::source().await;
    db.run(
        "CREATE TABLE a (n integer, g integer GENERATED ALWAYS AS (n * 2) STORED NOT NULL);
        CREATE UNIQUE INDEX \"of 'A\" ON a (g) INCLUDE (n); ALTER TABLE a REPLICA IDENTITY USING INDEX \"of 'A\";
        CREATE TABLE b (n integer, g integer GENERATED ALWAYS AS (n * 2) STORED NOT NULL);
        CREATE UNIQUE INDEX b_g ON b (g); ALTER TABLE b REPLICA IDENTITY USING INDEX b_g; CREATE TABLE c (n integer)",
    )
    .await;
    let before = identities(&db).await;
    assert_eq!(before, ["a i \"of 'A\"", "b i b_g", "c d "]);
    let (changes, wishes) =
        (changes_of(&db), ProtectWishes { identity_full: true, ..ProtectWishes::default() });
    let user = db.client().await;
    user.batch_execute("BEGIN; SELECT * FROM c").await.unwrap();
    changes.protect(&wishes).await.unwrap_err();
    assert_eq!(identities(&db).await, before, "protecting failed");
    user.batch_execute("COMMIT").await.unwrap();
    changes.protect(&wishes).await.unwrap();
    changes.unprotect().await.unwrap();
    assert_eq!(identities(&db).await, before);

    changes.protect(&wishes).await.unwrap();
    // Of the same name, and no identity any more.
    db.run("DROP INDEX b_g; CREATE INDEX b_g ON b (g)").await;
    let removed = changes.unprotect().await.unwrap().removed;
    assert_eq!(identities(&db).await, ["a i \"of 'A\"", "b f ", "c d "]);
    let told = "replica identity of public.b not set back: it stays FULL, because index \"b_g\" is gone";
    assert!(removed.iter().any(|line| line == told), "{removed:?}");
}

/// Between the first identity that is set back and the end, which a lock may put off for long.
#[tokio::test(flavor = "multi_thread")]
async fn no_users_statement_fails_while_protection_is_taken_away() {
    let db = Database::source().await;
    db.run("CREATE TABLE a (n integer); CREATE TABLE b (n integer); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
        .await;
    let before = traces(&db).await;
    let wishes = ProtectWishes { identity_full: true, ..ProtectWishes::default() };
    let changes = changes_of(&db);
    changes.protect(&wishes).await.unwrap();
    let user = db.client().await;
    user.batch_execute("BEGIN; SELECT * FROM b").await.unwrap();
    let error = changes.unprotect().await.unwrap_err();
    assert!(matches!(&error, SourceError::LockNotGranted { .. }), "{}", all_text(&error));
    db.run("UPDATE a SET n = 2; DELETE FROM a").await;
    // Half given free is not wanted, and a capture that comes now does not bring it back.
    assert!(!changes.capture_state().await.unwrap().is_wanted);
    let renewal = ProtectWishes { only_if_wanted: true, ..ProtectWishes::default() };
    let error = changes.protect(&renewal).await.unwrap_err();
    assert!(matches!(&error, SourceError::CannotCapture { .. }), "{}", all_text(&error));
    user.batch_execute("COMMIT").await.unwrap();
    changes.unprotect().await.unwrap();
    assert_eq!(traces(&db).await, before);
    changes.protect(&renewal).await.unwrap_err();
    assert_eq!(traces(&db).await, before);
}

/// Who protects again what was half given free has it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_half_given_free_can_be_protected_again() {
    let db = Database::source().await;
    db.run("CREATE TABLE a (n integer); CREATE TABLE b (n integer)").await;
    let wishes = ProtectWishes { identity_full: true, ..ProtectWishes::default() };
    let changes = changes_of(&db);
    changes.protect(&wishes).await.unwrap();
    let user = db.client().await;
    user.batch_execute("BEGIN; SELECT * FROM b").await.unwrap();
    changes.unprotect().await.unwrap_err();
    user.batch_execute("COMMIT").await.unwrap();
    let again = changes.protect(&wishes).await.unwrap();
    assert!(
        again.is_new && again.not_captured.is_empty() && changes.capture_state().await.unwrap().is_wanted
    );
    db.run("INSERT INTO a VALUES (1); UPDATE a SET n = 2").await;
    let mut stream = open(&changes, again.lsn).await;
    assert_eq!(
        drained(&changes, stream.as_mut()).await.0,
        ["BEGIN", "INSERT public.a N 1", "UPDATE public.a O 1 N 2", "COMMIT"]
    );
}

/// A capture that found the slot gone makes it again, which waits for a transaction; meanwhile the source is given free.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_being_made_while_the_source_is_given_free_does_not_stay() {
    let db = Database::source().await;
    let before = traces(&db).await;
    let (changes, _) = protected(&db).await;
    db.client().await.query("SELECT pg_drop_replication_slot($1)", &[&slot_of(&db)]).await.unwrap();
    let user = db.client().await;
    user.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let renewing = changes.clone();
    let renewal = tokio::spawn(async move {
        renewing.protect(&ProtectWishes { only_if_wanted: true, ..ProtectWishes::default() }).await
    });
    let begins = async {
        while !traces(&db).await.contains(&format!("slot {}", slot_of(&db))) {
            assert!(!renewal.is_finished(), "it waits for the user's transaction");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), begins).await.expect("the slot is begun");
    db.run(&format!("DROP PUBLICATION {}", slot_of(&db))).await;
    user.batch_execute("COMMIT").await.unwrap();
    let error = renewal.await.unwrap().unwrap_err();
    assert!(matches!(&error, SourceError::CannotCapture { .. }), "{}", all_text(&error));
    assert_eq!(traces(&db).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boundary_has_the_sequences_and_a_snapshot_behind_all_that_committed() {
    let db = Database::source().await;
    db.run("CREATE SEQUENCE s; SELECT nextval('s'), nextval('s'); CREATE SEQUENCE \"T\"").await;
    let client = db.client().await;
    let xid: String = client.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let boundary = changes_of(&db).boundary().await.unwrap();
    let values: Vec<(String, i64, bool)> = boundary
        .sequences
        .iter()
        .map(|one| (one.sequence.name.clone(), one.last_value, one.is_called))
        .collect();
    assert_eq!(values, [("T".to_owned(), 1, false), ("s".to_owned(), 2, true)]);
    assert!(boundary.snapshot.sees(xid.parse().unwrap()), "{:?}", boundary.snapshot);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boundary_ends_above_every_transaction_that_had_begun() {
    let db = Database::source().await;
    let user = db.client().await;
    user.batch_execute("BEGIN").await.unwrap();
    let xid: String = user.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let xid: u64 = xid.parse().unwrap();
    let boundary = changes_of(&db).boundary().await.unwrap();
    assert!(xid < boundary.snapshot.xmax && !boundary.snapshot.sees(xid), "{xid}: {:?}", boundary.snapshot);
    user.batch_execute("COMMIT").await.unwrap();
}
