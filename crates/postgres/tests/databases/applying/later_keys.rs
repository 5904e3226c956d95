//! Keys of a table that a statement made again: no row of a batch is refused for a value that another one leaves in it.

use super::pair::{Pair, differing};
use crate::support::*;
use keepsake_domain::{RecoveryTarget, SchemaEffect, SchemaStatement, TableName};
use keepsake_steps::BATCH_BYTES;
use keepsake_steps::ports::{ChangeTarget, SchemaSection, Source, Target};

fn new_table() -> SchemaStatement {
    let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let table = TableName { schema: "public".to_owned(), name: "ranks".to_owned() };
    SchemaStatement {
        command: "CREATE TABLE".to_owned(),
        objects: owned(&["table public.ranks", "index public.ranks_pkey", "index public.\"Only One\""]),
        role: "postgres".to_owned(),
        search_path: "public".to_owned(),
        statement: "CREATE TABLE ranks (id integer PRIMARY KEY, rank integer, words text,
            CONSTRAINT \"Only One\" UNIQUE (rank))"
            .to_owned(),
        effect: SchemaEffect::NewTable { table, columns: owned(&["id", "rank", "words"]) },
    }
}

async fn keys(db: &Database) -> Vec<String> {
    let sql = "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'ranks'::regclass AND contype IN ('p', 'u') ORDER BY 1";
    db.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_new_table_exchange_their_keys_and_keep_what_is_large_and_its_keys_stand_behind_them() {
    let mut pair = Pair::with("CREATE TABLE plain (id integer PRIMARY KEY)").await;
    let source = source_at(pair.source.url());
    let held = source.take_snapshot().await.unwrap();
    let (_, archive) = schema_of(&source, held.name()).await;
    held.end().await.unwrap();
    pair.make_table("ranks", &["id", "rank", "words"], new_table()).await;
    pair.source
        .run(
            "ALTER TABLE ranks ALTER words SET STORAGE EXTERNAL;
             INSERT INTO ranks SELECT n, n, repeat(md5(n::text), 200) FROM generate_series(1, 20) n",
        )
        .await;
    pair.catch_up(RecoveryTarget::Latest, BATCH_BYTES).await.unwrap();
    for column in ["rank", "id"] {
        pair.source
            .run(&format!(
                "BEGIN; UPDATE ranks SET {column} = 0 WHERE {column} = 1; UPDATE ranks SET {column} = 1 WHERE {column} = 2;
                 UPDATE ranks SET {column} = 2 WHERE {column} = 0; COMMIT"
            ))
            .await;
        let applied = pair.catch_up(RecoveryTarget::Latest, BATCH_BYTES).await;
        applied.unwrap_or_else(|error| panic!("{column}: {}", all_text(&error)));
    }
    let target = target_at(pair.target.url());
    target.end_changes(&[]).await.unwrap();
    let archive = archive.unwrap();
    for _ in 0..2 {
        let restored = target.restore_schema(SchemaSection::PostData, stream(archive.clone(), true), 2).await;
        restored.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    }
    let (content, expected) = (pair.target_content().await, pair.source_content().await);
    assert_eq!(differing(&expected, &content), Vec::<String>::new());
    assert_eq!(keys(&pair.target).await, keys(&pair.source).await);
}
