use super::*;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::ports::SourceError;

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_whole_and_in_the_order_of_their_commits() {
    let db = Database::source().await;
    db.run(
        "CREATE TABLE guests (id integer PRIMARY KEY, name text, note text);
         ALTER TABLE guests ALTER note SET STORAGE EXTERNAL;
         CREATE TABLE full_rows (n integer, v text); ALTER TABLE full_rows REPLICA IDENTITY FULL;
         CREATE TABLE parted (n integer PRIMARY KEY) PARTITION BY RANGE (n);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
         INSERT INTO guests VALUES (1, 'before', NULL)",
    )
    .await;
    let (changes, protection) = protected(&db).await;
    let mut stream = open(&changes, protection.lsn).await;
    let (first, second) = (db.client().await, db.client().await);
    first
        .batch_execute("BEGIN; INSERT INTO guests VALUES (2, 'began first', repeat('x', 5000))")
        .await
        .unwrap();
    second
        .batch_execute("BEGIN; INSERT INTO guests VALUES (3, 'commits first', NULL); COMMIT")
        .await
        .unwrap();
    first
        .batch_execute(
            "SAVEPOINT s; INSERT INTO guests VALUES (4, 'undone', NULL); ROLLBACK TO s;
             UPDATE guests SET name = 'Änne' WHERE id = 2; COMMIT;
             BEGIN; INSERT INTO guests VALUES (5, 'undone', NULL); ROLLBACK;
             UPDATE guests SET id = 20 WHERE id = 2; DELETE FROM guests WHERE id = 1;
             INSERT INTO full_rows VALUES (1, NULL); UPDATE full_rows SET v = 'a'; DELETE FROM full_rows;
             SELECT pg_logical_emit_message(true, 'app', 'hello');
             INSERT INTO parted VALUES (1); UPDATE parted SET n = 11; TRUNCATE guests, parted",
        )
        .await
        .unwrap();
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    let wanted = [
        "BEGIN",
        "INSERT public.guests N 3|commits first|NULL",
        "COMMIT",
        "BEGIN",
        "INSERT public.guests N 2|began first|5000 bytes of x",
        "UPDATE public.guests N 2|Änne|UNCHANGED",
        "COMMIT",
        "BEGIN",
        "UPDATE public.guests K 2|NULL|NULL N 20|Änne|UNCHANGED",
        "DELETE public.guests K 1|NULL|NULL",
        "INSERT public.full_rows N 1|NULL",
        "UPDATE public.full_rows O 1|NULL N 1|a",
        "DELETE public.full_rows O 1|a",
        "MESSAGE app hello",
        "INSERT public.parted_1 N 1",
        "DELETE public.parted_1 K 1",
        "INSERT public.parted_2 N 11",
        "TRUNCATE public.guests, public.parted_1, public.parted_2",
        "COMMIT",
    ];
    assert_eq!(lines, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_confirmed_is_sent_again_and_what_was_confirmed_never() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let (changes, protection) = protected(&db).await;
    let insert = |n: u32| format!("INSERT INTO t VALUES ({n})");
    let line = |n: u32| ["BEGIN".to_owned(), format!("INSERT public.t N {n}"), "COMMIT".to_owned()];
    db.run(&insert(1)).await;
    let mut stream = open(&changes, protection.lsn).await;
    let (lines, behind_one) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, line(1));
    // Unconfirmed, and the connection is lost.
    drop(stream);
    db.run(&insert(2)).await;
    let mut stream = open_when_free(&changes, protection.lsn).await;
    let (lines, behind_two) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, [line(1), line(2)].concat());
    stream.confirm(behind_one).await.unwrap();
    // An older position takes nothing back.
    stream.confirm(protection.lsn).await.unwrap();
    stream.end().await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    assert_eq!(confirmed(&changes).await, behind_one);
    let mut stream = open(&changes, protection.lsn).await;
    assert_eq!(drained(&changes, stream.as_mut()).await.0, line(2));
    // Who knows that more stands goes on behind it, confirmed or not.
    stream.end().await.unwrap();
    let mut stream = open(&changes, behind_two).await;
    assert_eq!(drained(&changes, stream.as_mut()).await.0, Vec::<String>::new());
    stream.confirm(behind_two).await.unwrap();
    stream.end().await.unwrap();
    assert_eq!(confirmed(&changes).await, behind_two);
}

/// The server notices that a dropped connection is gone when it next looks.
async fn open_when_free(changes: &PostgresChanges, from: Lsn) -> Box<dyn ChangeStream> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match changes.stream(from).await {
            Ok(stream) => return stream,
            Err(SourceError::SlotBusy { .. }) if std::time::Instant::now() < until => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{}", all_text(&error)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_not_streamed_cannot_be_confirmed() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let (changes, protection) = protected(&db).await;
    let mut stream = open(&changes, protection.lsn).await;
    let (_, reached) = drained(&changes, stream.as_mut()).await;
    db.run("INSERT INTO t VALUES (1)").await;
    let error = stream.confirm(Lsn(reached.0 + 1)).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    stream.confirm(reached).await.unwrap();
    stream.end().await.unwrap();
    assert_eq!(confirmed(&changes).await, reached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_streams_from_is_in_use_until_he_ends() {
    let db = Database::source().await;
    let (changes, protection) = protected(&db).await;
    let stream = open(&changes, protection.lsn).await;
    assert!(changes.capture_state().await.unwrap().slot.unwrap().active_pid.is_some());
    let Err(error) = changes.stream(protection.lsn).await else { panic!("two streams of one slot") };
    assert!(matches!(error, SourceError::SlotBusy { .. }), "{}", all_text(&error));
    assert_eq!(error.class(), FailureClass::Transient);
    let error = changes.unprotect().await.unwrap_err();
    assert!(matches!(error, SourceError::SlotBusy { .. }), "{}", all_text(&error));
    stream.end().await.unwrap();
    open(&changes, protection.lsn).await.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_encrypted_and_its_login_bound_to_the_channel_where_the_url_wants_it() {
    let mut db = Database::source().await;
    let role = db.role("REPLICATION").await;
    db.run(&format!("GRANT CREATE ON DATABASE {} TO {role}", db.name)).await;
    for (options, is_encrypted) in [
        ("sslmode=require&channel_binding=require", true),
        ("sslmode=prefer&options=-c%20work_mem%3D5MB", true),
        ("sslmode=disable", false),
    ] {
        let url = format!("{}?{options}", db.url_as(&role, PASSWORD).expose());
        let changes = PostgresChanges::new(url.parse().unwrap(), &db.name);
        let protection = changes.protect(&ProtectWishes::default()).await.unwrap();
        let stream = open(&changes, protection.lsn).await;
        let pid = changes.capture_state().await.unwrap().slot.unwrap().active_pid.unwrap();
        let row = db.client().await.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = $1", &[&pid]).await;
        assert_eq!(row.unwrap().get::<_, bool>(0), is_encrypted, "{options}");
        stream.end().await.unwrap();
    }
    let wrong = PostgresChanges::new(db.url_as(&role, "wrong-horse"), &db.name);
    let error = wrong.capture_state().await.unwrap_err();
    assert!(matches!(error, SourceError::LoginRefused { .. }), "{}", all_text(&error));
    assert!(!all_text(&error).contains("wrong-horse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_many_megabytes_arrives_whole() {
    let db = Database::source().await;
    db.run("CREATE TABLE long (n integer PRIMARY KEY, v text)").await;
    let (changes, protection) = protected(&db).await;
    db.run("INSERT INTO long VALUES (1, repeat('x', 60000000)), (2, 'short')").await;
    let mut stream = open(&changes, protection.lsn).await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines[1..3], ["INSERT public.long N 1|60000000 bytes of x", "INSERT public.long N 2|short"]);
}

/// A slow upload must not end the session: the server, stuck with what nobody reads, hears from us all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_hears_from_a_stream_that_nobody_reads() {
    let db = Database::source().await;
    db.run("CREATE TABLE long (n integer PRIMARY KEY, v text)").await;
    let (changes, protection) = protected(&db).await;
    db.run("INSERT INTO long VALUES (1, repeat('x', 60000000))").await;
    let mut stream = open(&changes, protection.lsn).await;
    let client = db.client().await;
    let pid = changes.capture_state().await.unwrap().slot.unwrap().active_pid.unwrap();
    let heard = async || {
        let sql = "SELECT extract(epoch FROM reply_time)::float8 FROM pg_stat_replication WHERE pid = $1";
        client.query_one(sql, &[&pid]).await.unwrap().get::<_, Option<f64>>(0).unwrap_or_default()
    };
    // Six words of ours fit into the server's patience; two are waited for here.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let (mut last, mut words) = (heard().await, 0);
    while words < 2 {
        assert!(std::time::Instant::now() < until, "the server heard nothing");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = heard().await;
        words += u32::from(now > last);
        last = now;
    }
    assert_eq!(drained(&changes, stream.as_mut()).await.0[1], "INSERT public.long N 1|60000000 bytes of x");
}
